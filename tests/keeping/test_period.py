"""What was removed around a time: by which pass, how many, and nothing of a single one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.keeping import removals, segments
from cleanup_pipeline.keeping.asking import Asking
from cleanup_pipeline.keeping.period import Period, around, read_time
from cleanup_pipeline.keeping.places import Folder, PlaceError
from tests.keeping.test_removals import OLD, ask, records, write
from tests.keeping.test_removals import place as place

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
Look = Callable[..., list[tuple[str, int, int, int]]]


@pytest.fixture
def look(place: str, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Of three runs, at 12:00:00, 12:00:30 and 13:00:00."""
    for seconds, run, count in ((0, "run-1", 300), (30, "run-2", 200), (3600, "run-3", 100)):
        at = NOON.timestamp() + seconds
        monkeypatch.setattr(removals, "time", lambda at=at: at)
        write(place, records(count, start=seconds), run=run)
    monkeypatch.setattr(segments, "_SLICE", 70)

    def found(seconds: int, within: int) -> list[tuple[str, int, int, int]]:
        period = around(ask(place), "web", NOON + timedelta(seconds=seconds), timedelta(seconds=within))
        noon = int(NOON.timestamp())
        return [(part.origin["run"], part.records, part.first - noon, part.last - noon) for part in period.parts]

    return found


def test_a_period_is_counted_by_pass_with_both_its_ends(look: Look, place: str) -> None:
    assert look(15, 15) == [("run-1", 300, 0, 0), ("run-2", 200, 30, 30)]
    assert look(15, 14) == []
    assert look(0, 29) == [("run-1", 300, 0, 0)]
    assert look(1800, 1800) == [("run-1", 300, 0, 0), ("run-2", 200, 30, 30), ("run-3", 100, 3600, 3600)]
    period = around(ask(place), "web", NOON, timedelta(0))
    assert (period.parts[0].died_first, period.parts[0].died_last) == (0, 299_000)
    assert around(ask(place), "other", NOON, timedelta(0)) == Period(NOON, NOON, (), None, ())


def test_merging_and_no_key_change_nothing(look: Look, place: str) -> None:
    before = look(1800, 1800)
    asking = ask(place)
    asking.prune(timedelta(days=4000), 10**9, datetime.now(UTC))
    assert len([stored for stored in asking.folder.list("web") if stored.name.endswith(removals.SEGMENT)]) <= 1
    assert look(1800, 1800) == before
    without = around(Asking(asking.folder), "web", NOON, timedelta(seconds=29))
    assert [part.records for part in without.parts] == [300]


def test_shards_of_one_run_are_one(place: str) -> None:
    for _ in range(2):
        write(place, records(50))
    now = datetime.now(UTC)
    period = around(ask(place), "web", now, timedelta(minutes=5))
    assert [(part.records, part.perhaps) for part in period.parts] == [(100, 0)]
    assert period.records == 100 and period.since is not None


@pytest.mark.parametrize(
    ("at", "within", "says"),
    [
        ("today", "5m", "found today, expected a time such as"),
        ("2026-11-26", "soon", "found soon, expected a time such as 5m"),
        ("2026-11-26", "2d", "a day at most"),
        ("2026-11-26", "-1s", "a day at most"),
        ("0001-01-01", "5m", "found 0001-01-01"),
        ("9999-12-31", "1d", "found 9999-12-31"),
    ],
)
def test_what_is_no_time(at: str, within: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_time(at, within)


def test_a_time_is_utc_unless_it_says_otherwise() -> None:
    assert read_time("2026-11-26T12:00", "1h") == (NOON, timedelta(hours=1))
    assert read_time(" 2026-11-26T13:00+01:00 ", "0s") == (NOON, timedelta(0))


def test_a_hash_is_asked_for_like_what_it_is_of(place: str) -> None:
    write(place, records(20))
    asking = ask(place)
    nowhere = Asking(Folder(None), (OLD,))
    hashed = nowhere.hash_of_id("web", "id-5")
    assert "id-5" not in hashed
    assert asking.by_hash("web", hashed).entries == asking.by_id("web", "id-5").entries != ()
    owner = nowhere.hash_of_owner("user-5")
    assert asking.by_hash("web", f" {owner}\n").entries == asking.by_owner("web", "user-5").entries != ()
    with pytest.raises(ValueError, match="of a record of other, not of web"):
        asking.by_hash("web", nowhere.hash_of_id("other", "id-5"))
    assert asking.by_hash("web", hashed.replace("=", "=\n")).entries != ()
    for wrong in ("", "id-5", "id:", hashed[:-2], "id:web:1f2e=zz", owner.replace("owner", "user"), f"{hashed},"):
        with pytest.raises(ValueError, match="not a hash that"):
            asking.by_hash("web", wrong)


def test_what_was_merged_and_could_not_be_removed_is_counted_once(
    look: Look, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look(1800, 1800)
    asking = ask(place)

    def cut_off(_: Folder, __: str) -> None:
        raise PlaceError("cut off")

    def files() -> int:
        return len([stored for stored in asking.folder.list("web") if stored.name.endswith(removals.SEGMENT)])

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "remove", cut_off)
        with pytest.raises(PlaceError, match="cut off"):
            asking.prune(timedelta(days=4000), 10**9, datetime.now(UTC))
    assert files() == 4
    assert look(1800, 1800) == before
    assert len(asking.by_id("web", "id-3650").entries) == 1
    # Nothing that was erased is left in what was there twice.
    owned = len(asking.by_owner("web", "user-5").entries)
    assert asking.forget("user-5").records == owned > 0
    assert asking.by_owner("web", "user-5").entries == ()
    assert files() == 1
    asking.prune(timedelta(days=4000), 10**9, datetime.now(UTC))
    assert sum(records for _, records, *_ in look(1800, 1800)) == 600 - owned
