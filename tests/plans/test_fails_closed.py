"""A plan that knows its records one by one, and cannot follow them any more, is refused: the cutoff alone never decides
in its place."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from cleanup_pipeline.dagster_defs.canaries import Cage
from cleanup_pipeline.ledger.plan_tables import planned
from cleanup_pipeline.model.outline import Sighting
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.stores.base import BatchTimeoutError
from tests.plans.conftest import Furnish, House
from tests.plans.places import HOUR, Place, fill


def backdated(place: Place, name: str = "backdated") -> None:
    place.put([name], datetime.now(UTC) - 50 * HOUR)


def too_slow(*_: object) -> Iterator[Sighting]:
    raise BatchTimeoutError("slow", setting="s", remedy="r")


def test_what_cannot_be_followed_is_refused(house: House, furnish: Furnish, monkeypatch: pytest.MonkeyPatch) -> None:
    place = furnish("postgres")
    fill(place)
    plan_id, _ = house.plan()
    backdated(place)
    before = place.ids()

    def refused(why: str) -> None:
        report = house.run(plan=plan_id)
        assert report.status is PassStatus.FAILED and place.ids() == before
        assert why in str(report.targets[0].error) and "make a new plan" in str(report.targets[0].error)

    with monkeypatch.context() as patch:
        patch.setenv("CLEANUP_PLAN_KEY", "x" * 40)
        refused("another key (CLEANUP_PLAN_KEY)")
    with monkeypatch.context() as patch:
        patch.setattr("cleanup_pipeline.stores.postgres.naming.all_of", too_slow)
        refused("too many records to look at each again in time")
    with house.ledger.place.writing() as connection:
        connection.execute(update(planned).where(planned.c.plan_id == plan_id).values(cover=None))
    refused("is not kept any more")


def test_a_plan_of_nothing_removes_nothing(house: House, furnish: Furnish) -> None:
    place = furnish("redis")
    place.put(["live"], datetime.now(UTC) + HOUR)
    plan_id, plan = house.plan()
    assert plan.census.expired == 0
    backdated(place)
    report = house.run(plan=plan_id)
    assert (report.targets[0].deleted, place.ids()) == (0, {"live", "backdated"})


@pytest.mark.parametrize("store", ["postgres", "redis", "mongo"])
def test_one_that_comes_between_the_look_and_the_batch_stays(
    house: House, furnish: Furnish, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    place = furnish(store)
    fill(place)
    plan_id, _ = house.plan()
    stand = Cage.stand

    def later(self: Cage, plan: Plan) -> None:
        backdated(place)
        stand(self, plan)

    monkeypatch.setattr(Cage, "stand", later)
    report = house.run(plan=plan_id)
    [target] = report.targets
    assert (report.status, target.deleted, target.survivors) == (PassStatus.SUCCEEDED, 30, 0)
    assert "backdated" in place.ids()


def test_a_shard_that_cannot_look_is_red(house: House, furnish: Furnish, monkeypatch: pytest.MonkeyPatch) -> None:
    place = furnish("postgres")
    fill(place)
    plan_id, _ = house.plan()
    before = place.ids()
    stand = Cage.stand

    def later(self: Cage, plan: Plan) -> None:
        monkeypatch.setattr("cleanup_pipeline.stores.postgres.naming.all_of", too_slow)
        stand(self, plan)

    monkeypatch.setattr(Cage, "stand", later)
    report = house.run(plan=plan_id)
    assert report.status is PassStatus.FAILED and place.ids() == before
    assert "too many records to look at each again" in str(report.targets[0].error)
