"""What a witness makes of what it finds: well, not well, unknown, or nothing to be judged."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from cleanup_pipeline.model.outcome import Remains
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.run_window import RunWindow
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.observability.witness import Judgement, Look, Past, judge, patience_of

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
WEB = Target(
    "web", "main", StoreType.POSTGRES, "sessions", "session", TableSource("s"), ColumnExpiry("e"), grace=24 * HOUR
)
FINE = Past(last_success=NOW - HOUR, first_known=NOW - 99 * HOUR)
NOTHING = Remains(0, None, known=True)


def judged(remains: Remains = NOTHING, past: Past = FINE, target: Target = WEB, fault: str | None = None) -> Judgement:
    return judge(target, HOUR, Look(NOW, remains, fault), past, NOW)


def dead_for(length: timedelta, count: int | None = 5) -> Remains:
    return Remains(count, NOW - length, known=True)


@pytest.mark.parametrize(
    ("remains", "well"),
    [
        (NOTHING, True),
        # The objective is counted from when a record falls due: its expiry and its grace.
        (dead_for(24 * HOUR + 2 * HOUR), True),
        (dead_for(24 * HOUR + 2 * HOUR + SECOND), False),
        (dead_for(24 * HOUR + 3 * HOUR, None), False),
        (dead_for(24 * HOUR + HOUR, None), True),
        (Remains(None, None, known=False), None),
    ],
)
def test_the_oldest_survivor_against_two_intervals(remains: Remains, well: bool | None) -> None:
    found = judged(remains)
    assert (found.row.old_enough, found.row.fresh, found.row.survivors) == (well, True, remains.count)
    assert (found.failed, found.unknown) == (well is False, well is None)
    assert found.row.objective_seconds == 7200


def test_an_objective_of_its_own_and_hours_in_which_nothing_may_run() -> None:
    strict = replace(WEB, objective=timedelta(minutes=10))
    assert judged(dead_for(24 * HOUR + timedelta(minutes=11)), target=strict).row.old_enough is False
    nightly = replace(WEB, pace=Pace(run_window=RunWindow(time(23), time(3))))
    assert patience_of(nightly, HOUR) == 22 * HOUR
    assert judged(dead_for(24 * HOUR + 22 * HOUR), target=nightly).row.old_enough is True


@pytest.mark.parametrize(
    ("past", "well", "says"),
    [
        (Past(NOW - 2 * HOUR, NOW - 99 * HOUR), True, "last cleaned without fault 2h ago"),
        (Past(NOW - 3 * HOUR, NOW - 99 * HOUR), False, "last cleaned without fault 3h ago (at most 2h)"),
        (Past(None, None), True, "never cleaned without fault yet; known for 0s, it has 2h"),
        (Past(None, NOW - HOUR), True, "never cleaned without fault yet; known for 1h"),
        (Past(None, NOW - 3 * HOUR), False, "never cleaned without fault in the 3h that it is known"),
        (Past(fault="the ledger is away"), None, "unknown: the ledger is away"),
    ],
)
def test_a_success_within_two_intervals(past: Past, well: bool | None, says: str) -> None:
    found = judged(past=past)
    assert found.row.fresh is well and found.about_freshness.startswith(says)
    assert (found.failed, found.unknown) == (well is False, well is None)


@pytest.mark.parametrize(
    ("count", "removed", "well"),
    [(0, [], True), (10, [3, 5, 4], True), (11, [3, 5, 4], False), (1, [], False), (None, [5], None)],
)
def test_records_without_an_instant_are_judged_by_their_number(
    count: int | None, removed: list[int], well: bool | None
) -> None:
    found = judged(Remains(count, None, known=True), replace(FINE, removed=removed))
    assert found.row.old_enough is well and found.row.oldest_survivor is None
    assert count == 0 or "no instant at which they die" in found.about_survivors


def test_what_cannot_be_found_out_is_unknown() -> None:
    found = judged(Remains(None, None, known=False), fault="stores.main: cannot be reached")
    assert (found.row.old_enough, found.failed, found.unknown) == (None, False, True)
    assert "cannot be reached" in found.about_survivors


def test_what_rests_is_not_judged() -> None:
    found = judge(WEB, HOUR, None, Past(None, NOW - 999 * HOUR), NOW, resting="paused by x")
    assert (found.row.old_enough, found.row.fresh, found.failed, found.unknown) == (None, None, False, False)
    assert found.row.reason == "not judged: paused by x"
