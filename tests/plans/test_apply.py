"""A plan is made, the data changes, and `apply` keeps to the plan: on all three stores, to the record."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from sqlalchemy import update

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.engine.applying import facets_of
from cleanup_pipeline.ledger.plan_tables import planned, plans
from cleanup_pipeline.model.brake import BrakeName
from cleanup_pipeline.model.outline import Drift, Why
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.stores.open import open_store
from tests.e2e.support import wait_for
from tests.plans.conftest import Furnish, House
from tests.plans.places import HOUR, fill

STORES = ["postgres", "redis", "mongo"]


@pytest.mark.parametrize("store", STORES)
def test_it_keeps_to_the_plan(house: House, furnish: Furnish, store: str) -> None:
    place = furnish(store)
    fill(place)
    plan_id, plan = house.plan()
    assert plan.census.expired == 30 and plan.dry_run and plan.outline is not None

    now = datetime.now(UTC)
    place.remove(["hours0", "hours1", "days0"])
    place.put(["days1", "days2"], now + HOUR)
    place.put(["days3"], None)
    # Written after the plan, with an expiry before its cutoff; and a name that is a pattern in Redis.
    place.put(["backdated", "[a*"], now - 50 * HOUR)
    place.put(["fresh1", "fresh2", "fresh3", "fresh4"], now + HOUR)
    before = place.ids()
    # Died after the plan: the cutoff was the store's clock, and Redis' expiries are whole seconds.
    died = plan.cutoff + timedelta(seconds=1)
    place.put(["died1", "died2", "died3"], died)
    wait_for("the instant at which they die", lambda: datetime.now(UTC) > died)

    dry = house.run(plan=plan_id, dry_run=True)
    assert dry.status is PassStatus.DRY_RUN and place.ids() == before | {"died1", "died2", "died3"}

    report = house.run(plan=plan_id)
    expected = Drift(planned=30, there=24, gone=3, revived=3, arrived=2, new=5)
    assert house.drift(dry) == house.drift(report) == expected
    [target] = report.targets
    assert (report.status, target.deleted, target.survivors) == (PassStatus.SUCCEEDED, 24, 0)
    assert target.cutoff == plan.cutoff
    kept = {"days1", "days2", "days3", "backdated", "[a*", "died1", "died2", "died3", "never", "odd"}
    assert place.ids() == kept | {f"live{n}" for n in range(5)} | {f"fresh{n}" for n in range(1, 5)}

    row = house.ledger.plans.find(plan_id)
    assert row is not None and row.state(now) == "applied" and row.targets[0].applied_run == report.run_id
    assert row.targets[0].drift is not None and row.targets[0].drift["revived"] == 3
    left = place.ids()
    again = house.run(plan=plan_id)
    assert "was applied already, in run" in str(again.targets[0].error) and place.ids() == left


@pytest.mark.parametrize("store", STORES)
def test_what_it_shows(house: House, furnish: Furnish, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = furnish(store)
    fill(place)
    plan_id, plan = house.plan()
    outline = plan.outline
    assert outline is not None and outline.notes == ()
    assert [band.count for band in outline.bands] == [0, 10, 20, 0, 0]
    clients = {"app": 20, "web": 10} if store != "redis" else None
    assert (outline.clients and {each.client: each.count for each in outline.clients.top}) == clients
    counts = {why: sum(each.why is why for each in outline.sample) for why in Why}
    assert counts == dict(zip(Why, (3, 3, 3, 1, 1), strict=True))
    # The two sides of the line, by what each record says itself.
    ages = [plan.cutoff - each.dies for each in outline.sample if each.dies]
    assert [round(age / HOUR) for age in ages] == [72] * 3 + [2] * 3 + [-1] * 3
    assert plan.estimate is not None and (plan.estimate.batches, plan.estimate.passes) == (5, 0)

    # The same by another way: what a table that is too large to be read through shows, by index.
    monkeypatch.setattr("cleanup_pipeline.engine.outlining.MOST_READ", 3)
    _, by_line = house.plan()
    assert by_line.outline is not None
    if store == "redis":
        assert by_line.outline.bands == () and "of 3 records that were read" in by_line.outline.notes[-1]
    else:
        assert (by_line.outline.bands, by_line.outline.clients) == (outline.bands, outline.clients)
        assert {each.why for each in by_line.outline.sample} == set(Why)
        assert by_line.outline.notes == ("more than 3 records, too many to name each",)

    # A plan moves no figure, and names nobody.
    opened = house.ledger
    assert (opened.history(), opened.totals_by_target(), opened.last_success(target="web")) == ([], {}, None)
    text = (house.folder / "ledger.db").read_bytes() + (house.folder / "ledger.db-wal").read_bytes()
    assert plan_id.encode() in text
    assert not [each for each in place.ids() if each.encode() in text and each not in {"never", "odd"}]
    assert house.instance.get_runs() == []


def test_hashes_are_stable_and_keyed(house: House, furnish: Furnish, monkeypatch: pytest.MonkeyPatch) -> None:
    place = furnish("postgres")
    fill(place)

    def shown() -> set[str]:
        outline = house.plan()[1].outline
        assert outline is not None
        return {each.id for each in outline.sample if each.why is Why.NEXT}

    first = shown()
    assert shown() == first and all(len(each) == 16 for each in first)
    monkeypatch.setenv("CLEANUP_PLAN_KEY", "a key of somebody's own")
    plan_id, _ = house.plan()
    assert not shown() & first
    # Another key knows no record again, and says so instead of guessing.
    monkeypatch.setenv("CLEANUP_PLAN_KEY", "a key of somebody else")
    drift = house.drift(house.run(plan=plan_id, dry_run=True))
    assert (drift.there, drift.gone, drift.revived, drift.arrived) == (30, None, None, None)
    assert "another key (CLEANUP_PLAN_KEY)" in drift.notes[0]


def test_changed_settings_refuse(house: House, furnish: Furnish) -> None:
    place = furnish("postgres")
    fill(place)
    plan_id, _ = house.plan()
    before = place.ids()
    report = house.run(house.settings(_with(place.target, "grace: 1h, where: {app: app}")), plan_id)
    assert f"plan {plan_id} is not applied: grace, where changed since it was made" in str(report.targets[0].error)
    assert report.status is PassStatus.FAILED and place.ids() == before


def test_what_changes_what_goes(house: House, furnish: Furnish) -> None:
    """Each setting by which other records would go is a facet of its own, and no other is."""
    place = furnish("postgres")
    base = place.target.replace("expires: {column: expires_at}, ", "")
    store = open_store(house.settings().stores["main"])

    def facets(target: str) -> dict[str, str]:
        return facets_of(house.settings(target).targets[0], store)

    with closing(store):
        first = facets(place.target)
        for target, changed in (
            (_with(base, "expires: {column: died_at}"), {"expires"}),
            (place.target.replace("table: web", "table: app"), {"source"}),
            (_with(place.target, "guards: [{column: app, in: [app]}]"), {"guards"}),
            (_with(place.target, "set_null: [app]"), {"set_null"}),
            (_with(place.target, "children: delete_first"), {"children"}),
            (_with(place.target, "mode: delete, batch_size: 3, pause: 1s, max_shards: 2, vacuum: true"), set()),
        ):
            found = facets(target)
            assert {name for name in first if found[name] != first[name]} == changed


def _with(target: str, change: str) -> str:
    return f"{target[:-1]}, {change}}}"


def test_another_database_under_the_same_name_refuses(house: House, furnish: Furnish, postgres_url: str) -> None:
    fill(furnish("postgres"))
    plan_id, _ = house.plan()
    house.urls = {"CLEANUP_POSTGRES_URL": postgres_url.replace("127.0.0.1", "localhost")}
    report = house.run(plan=plan_id)
    assert "not applied: store changed since" in str(report.targets[0].error)


def test_a_plan_is_made_at_any_hour(house: House, furnish: Furnish) -> None:
    place = furnish("postgres")
    fill(place)
    at = datetime.now(UTC) + timedelta(hours=6)
    closed = _with(place.target, f"run_window: '{at:%H:%M}-{at + HOUR:%H:%M} UTC'")
    for target, said in ((closed, True), (place.target, False)):
        _, plan = house.plan(house.settings(target))
        assert plan.census.expired and ("window-closed" in {each.code for each in plan.findings}) is said


def test_an_expired_plan_refuses(house: House, furnish: Furnish) -> None:
    place = furnish("postgres")
    fill(place)
    plan_id, _ = house.plan()
    before = place.ids()
    with house.ledger.place.writing() as connection:
        late = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(plans).where(plans.c.id == plan_id).values(expires_at=late))
    report = house.run(plan=plan_id)
    assert "not applied: it was good until" in str(report.targets[0].error) and place.ids() == before
    # What it covered is not kept for longer than somebody can apply it.
    house.plan()
    assert house.ledger.plans.planned(plan_id, "web") is not None
    assert house.ledger.plans.planned(plan_id, "web").cover is None  # type: ignore[union-attr]


def test_no_plan_no_ledger_and_the_plan_of_a_pass(
    house: House, furnish: Furnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = furnish("postgres")
    fill(place)
    plan_id, _ = house.plan()
    before = place.ids()
    assert "there is no plan 0123456789" in str(house.run(plan="0123456789").targets[0].error)
    dry = house.run()
    own = house.instance.get_run_by_id(dry.run_id or "")
    assert own is not None
    assert "there is no plan" in str(house.run(plan=own.tags[names.PLAN_TAG]).targets[0].error)
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://nobody@127.0.0.1:9/none")
    assert f"it alone knows what plan {plan_id} covers" in str(house.run(plan=plan_id).targets[0].error)
    assert place.ids() == before


def test_a_brake_holds_it_and_leaves_the_plan_open(house: House, furnish: Furnish) -> None:
    place = furnish("postgres")
    fill(place)
    for n in range(110):
        place.odd(f"odd{n}")
    plan_id, _ = house.plan()
    report = house.run(plan=plan_id)
    [target] = report.targets
    assert target.stop_reason is StopReason.BRAKED and "brake unreadable" in str(target.error)
    row = house.ledger.plans.find(plan_id)
    assert row is not None and row.state(datetime.now(UTC)) == "open"
    [held] = house.ledger.brakes.release("web", "ann@host", once=True, now=datetime.now(UTC))
    assert held.brake.name == BrakeName.UNREADABLE
    assert house.run(plan=plan_id).targets[0].deleted == 30


def test_too_many_that_came_after_it(house: House, furnish: Furnish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleanup_pipeline.engine.applying.MOST_SPARED", 2)
    place = furnish("postgres")
    fill(place)
    plan_id, _ = house.plan()
    place.put(["a", "b", "c"], datetime.now(UTC) - 9 * HOUR)
    before = place.ids()
    report = house.run(plan=plan_id)
    assert "3 records came after it with an expiry before its cutoff" in str(report.targets[0].error)
    assert place.ids() == before


def test_a_sample_where_there_are_too_many_to_keep(
    house: House, furnish: Furnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2,000 records 400 are followed: the split is an estimate, called one, and near the truth."""
    monkeypatch.setattr("cleanup_pipeline.engine.cover.MOST", 400)
    monkeypatch.setattr("cleanup_pipeline.engine.cover.Collector.__init__.__defaults__", (400,))
    place = furnish("postgres")
    place.put([f"s{n}" for n in range(2000)], datetime.now(UTC) - HOUR)
    plan_id, _ = house.plan()
    place.remove([f"s{n}" for n in range(500)])
    place.put([f"s{n}" for n in range(500, 1000)], datetime.now(UTC) + HOUR)
    drift = house.drift(house.run(plan=plan_id, dry_run=True))
    assert drift.estimated and drift.planned == 2000
    # Five standard errors of a share of a quarter among 400.
    assert abs((drift.gone or 0) - 500) < 220 and abs((drift.revived or 0) - 500) < 220
    assert (drift.there or 0) + (drift.gone or 0) + (drift.revived or 0) == 2000


def test_records_that_die_with_others_cannot_be_planned(house: House, furnish: Furnish) -> None:
    furnish("redis")
    settings = house.settings('{store: cache, keys: "user:*", expires: {members_of: "session:{member}"}}')
    plan_id, plan = house.plan(settings)
    assert plan.work.undated and plan.outline is not None
    assert plan.outline.notes == ("its records are members of keys, which are not named one by one",)
    assert plan.findings[-1].what.startswith("apply leaves it alone: its records die with others")
    report = house.run(settings, plan_id)
    assert (report.status, report.targets[0].stop_reason) == (PassStatus.SKIPPED, StopReason.SKIPPED)
    assert f"plan {plan_id} does not cover it: its records die with others" in report.targets[0].why
    row = house.ledger.plans.find(plan_id)
    assert row is not None and not row.targets[0].may_apply


def test_a_pass_is_its_own_plan(house: House, furnish: Furnish) -> None:
    place = furnish("postgres")
    fill(place)
    report = house.run(house.settings(_with(place.target, "mode: delete")))
    assert report.targets[0].deleted == 30 and report.run_id is not None
    run = house.instance.get_run_by_id(report.run_id)
    assert run is not None
    plan_id = run.tags[names.PLAN_TAG]
    row = house.ledger.plans.find(plan_id)
    assert row is not None and row.run_id == report.run_id and row.state(datetime.now(UTC)) == "a pass"
    assert (row.targets[0].expired, len(row.targets[0].body["outline"]["sample"])) == (30, 11)
    assert house.ledger.plans.of_runs([report.run_id]) == {report.run_id: plan_id}
    record = house.instance.get_latest_materialization_event(names.asset_key("web"))
    assert record is not None and record.asset_materialization is not None
    assert record.asset_materialization.metadata["plan_id"].value == plan_id
    events = [entry.dagster_event for entry in house.instance.all_logs(report.run_id)]
    outputs = [
        event.step_output_data.metadata
        for event in events
        if event is not None and event.is_successful_output and event.step_key == "web.scan"
    ]
    assert {"plan_id", "outline", "near_the_line"} <= set(outputs[0])
    # No cover: it is carried out at once. And it goes with history.
    with house.ledger.place.reading() as connection:
        assert connection.execute(planned.select()).mappings().one()["cover"] is None
    later = datetime.now(UTC) + timedelta(days=31)
    house.ledger.prune(timedelta(days=400), later)
    assert house.ledger.plans.find(plan_id) is None


def test_measured_history_is_what_an_estimate_goes_by(house: House, furnish: Furnish) -> None:
    place = furnish("postgres")
    place.put([f"s{n}" for n in range(1200)], datetime.now(UTC) - HOUR)
    settings = house.settings(_with(place.target, "mode: delete, batch_size: 100"))
    assert house.run(settings).targets[0].deleted == 1200
    place.put([f"t{n}" for n in range(300)], datetime.now(UTC) - HOUR)
    _, plan = house.plan(settings)
    measured = house.ledger.plans.measured("web")
    assert measured is not None and (measured.passes, measured.deleted) == (1, 1200)
    assert plan.estimate is not None
    assert (plan.estimate.passes, plan.estimate.batches) == (1, ceil(300 * measured.batches / 1200))
    assert plan.estimate.per_second == pytest.approx(1200 / measured.seconds)
    assert plan.estimate.seconds == pytest.approx(300 * measured.seconds / 1200)
