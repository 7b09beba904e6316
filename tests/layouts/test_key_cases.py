"""Each MongoDB and Redis preset over records as its framework writes them, part by part."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.redis import references, sweep
from tests.layouts.case import targets_for
from tests.layouts.key_places import MongoPlace, Place, RedisPlace, clean
from tests.layouts.keys_case import KeyCase, case_names, fates, read_key_case

ALL = [(kind, name) for kind in (StoreType.MONGO, StoreType.REDIS) for name in case_names(kind)]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody signs in meanwhile."""
    monkeypatch.setattr(references, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(sweep, "SETTLE_SECONDS", 0)


@pytest.fixture(params=ALL, ids=[name for _, name in ALL])
def case(request: pytest.FixtureRequest) -> KeyCase:
    return read_key_case(*request.param, datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def place(case: KeyCase, request: pytest.FixtureRequest) -> Iterator[Place]:
    mongo = case.store_type is StoreType.MONGO
    url = request.getfixturevalue("mongo_url" if mongo else "redis_url")
    yield MongoPlace(url) if mongo else RedisPlace(url)


def test_what_has_to_go_goes_and_nothing_else(case: KeyCase, place: Place) -> None:
    targets = targets_for(layouts()[case.name], case.params, case.columns)
    written = place.write(case, targets)
    reports = clean(place, targets)
    assert fates(case, written, place.read(case, targets)) == (set(), set())
    assert all(not report.survivors and report.deleted == report.expired_found for report in reports.values())
    for what, wanted in case.counts.items():
        assert sum(getattr(report, what) or 0 for report in reports.values()) == wanted, what
    again = clean(place, targets)
    assert not any(report.deleted for report in again.values())


def test_the_naive_command_does_what_the_case_says(case: KeyCase, place: Place) -> None:
    targets = targets_for(layouts()[case.name], case.params, case.columns)
    for naive in case.naive:
        written = {key: record for key, record in place.write(case, targets).items() if record in case.records}
        place.do(naive.command, targets)
        killed, missed = fates(case, written, place.read(case, targets))
        assert killed == set(naive.kills), naive.command
        assert set(naive.misses) <= missed, naive.command


def test_every_preset_has_a_case_or_a_framework() -> None:
    covered = {name for _, name in ALL}
    for preset in layouts().values():
        if preset.must_keep and preset.store_type is not StoreType.POSTGRES:
            assert preset.name in covered, preset.name
