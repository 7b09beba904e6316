"""What is written: twice, in the wrong order, half, and by whoever comes too late."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.ledger import Ledger, Totals
from cleanup_pipeline.ledger.connect import RefusedError
from cleanup_pipeline.ledger.rows import PassDetail
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.plan import Storage
from cleanup_pipeline.model.words import StopReason
from tests.ledger.records import CENSUS, CUTOFF, PLAN, REPORT, everything, outcome

BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
STEPS: list[Callable[[Ledger], None]] = [
    lambda ledger: ledger.begin_pass(
        "r1",
        "sessions",
        window="2026-11-01T12:00",
        window_start=BEGAN - timedelta(hours=1),
        window_end=BEGAN,
        backfill="b1",
        parent_run_id="r0",
        root_run_id="r0",
        host="web-1",
        pid=42,
        started_at=BEGAN,
    ),
    lambda ledger: ledger.record_plan("r1", PLAN),
    lambda ledger: ledger.begin_shard("r1", PLAN, 0, at_most=0),
    lambda ledger: ledger.progress("r1", "web", 0, Tally(deleted=5), 15),
    lambda ledger: ledger.record_shard("r1", outcome(0, 20, cpu_seconds=0.5, note="stopped\nhere")),
    lambda ledger: ledger.record_shard("r1", outcome(1, 21, error="x" * 999)),
    lambda ledger: ledger.record_target("r1", replace(REPORT, storage_after=Storage(4096, 5, 0), bytes_freed=7)),
    lambda ledger: ledger.close_pass("r1", "succeeded", ended_at=BEGAN + timedelta(minutes=1)),
]


def whole(ledger: Ledger, run_id: str = "r1") -> PassDetail:
    found = ledger.pass_of(run_id)
    assert found is not None
    return found


def test_all_of_it_comes_back(ledger: Ledger) -> None:
    for step in STEPS:
        step(ledger)
    found = whole(ledger)
    row = found.row
    assert (row.pass_name, row.window, row.backfill, row.parent_run_id, row.root_run_id) == (
        "sessions",
        "2026-11-01T12:00",
        "b1",
        "r0",
        "r0",
    )
    assert (row.window_start, row.window_end) == (BEGAN - timedelta(hours=1), BEGAN)
    assert (row.host, row.pid, row.dry_run, row.status, row.reason) == ("web-1", 42, False, "succeeded", None)
    assert (row.started_at, row.ended_at) == (BEGAN, BEGAN + timedelta(minutes=1))
    assert row.started_at.tzinfo is UTC and row.heartbeat_at > row.started_at
    assert (row.deleted, row.at_most, row.survivors) == (41, 41, 0)
    [target] = found.targets
    assert (target.cutoff, target.since, target.oldest_expired) == (CUTOFF, PLAN.since, CENSUS.oldest_expired)
    assert (target.expired_found, target.without_expiry, target.unparsable) == (40, 1, 2)
    assert (target.survivors, target.survivors_known, target.stop_reason) == (0, True, "exhausted")
    assert (target.bytes_before, target.records_before, target.dead_records_before) == (8192, 45, 3)
    assert (target.bytes_after, target.records_after, target.dead_records_after) == (4096, 5, 0)
    assert (target.store, target.store_type, target.kind, target.bytes_freed) == ("main", "postgres", "session", 7)
    first, second = found.shards
    assert (first.deleted, first.at_most, first.stop_reason, first.cpu_seconds) == (20, 20, "exhausted", 0.5)
    assert (first.note, first.slowed, first.latency_ms) == ("stopped here", {"lag": 2}, (0, 1, *[0] * 10))
    assert (second.store, second.kind, second.error) == ("main", "session", "x" * 300)
    assert ledger.pass_of("r9") is None


def test_each_thing_twice_changes_nothing(ledger: Ledger) -> None:
    for step in STEPS:
        step(ledger)
        once = everything(ledger)
        step(ledger)
        assert everything(ledger) == once
    for step in STEPS:
        step(ledger)
    assert everything(ledger) == once


@pytest.mark.parametrize("step", range(1, len(STEPS)))
def test_a_record_of_a_pass_that_never_began_makes_the_pass(ledger: Ledger, step: int) -> None:
    STEPS[step](ledger)
    [row] = ledger.history()
    assert (row.run_id, row.pass_name) == ("r1", "")
    STEPS[0](ledger)
    [row] = ledger.history()
    assert (row.pass_name, row.host, row.started_at, row.backfill) == ("sessions", "web-1", BEGAN, "b1")


def test_what_is_known_of_a_pass_stays(ledger: Ledger) -> None:
    STEPS[0](ledger)
    ledger.begin_pass("r1", "sessions", host="web-2", dry_run=True)
    assert (whole(ledger).row.host, whole(ledger).row.dry_run) == ("web-1", False)


def test_a_pass_whose_process_is_gone(ledger: Ledger) -> None:
    ledger.begin_pass("r1", "sessions")
    ledger.begin_shard("r1", PLAN, 0, at_most=0)
    ledger.record_shard("r1", outcome(0, 100))
    ledger.begin_shard("r1", PLAN, 1, at_most=0)
    ledger.progress("r1", "web", 1, Tally(deleted=500), 750)
    ledger.mark_lost("r1", "the process is gone")
    found = whole(ledger)
    assert (found.row.status, found.row.reason, found.row.deleted, found.row.at_most) == (
        "lost",
        "the process is gone",
        600,
        850,
    )
    assert [(s.stop_reason, s.deleted, s.at_most) for s in found.shards] == [
        ("exhausted", 100, 100),
        ("lost", 500, 750),
    ]
    assert all(s.ended_at is not None for s in found.shards) and found.row.ended_at is not None


def test_a_shard_that_was_not_lost_after_all(ledger: Ledger) -> None:
    ledger.begin_shard("r1", PLAN, 0, at_most=0)
    ledger.mark_lost("r1", "not heard of")
    ledger.progress("r1", "web", 0, Tally(deleted=30), 40)
    assert ledger.totals() == Totals(30, 40)
    ledger.record_shard("r1", outcome(0, 35))
    ledger.progress("r1", "web", 0, Tally(deleted=1), 2)
    [shard] = whole(ledger).shards
    assert (shard.deleted, shard.at_most, shard.stop_reason) == (35, 35, "exhausted")
    ledger.mark_lost("r1", "again")
    assert whole(ledger).shards == (shard,)


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        ("succeeded", "skipped", "succeeded"),
        ("succeeded", "failed", "failed"),
        ("partial", "succeeded", "partial"),
        ("failed", "partial", "failed"),
        ("terminated", "failed", "terminated"),
        ("lost", "partial", "partial"),
        ("lost", "succeeded", "succeeded"),
        ("succeeded", "lost", "succeeded"),
        ("partial", "lost", "partial"),
    ],
)
def test_which_word_counts(ledger: Ledger, first: str, second: str, stays: str) -> None:
    ledger.close_pass("r1", first, "because", ended_at=BEGAN)
    ledger.close_pass("r1", second)
    row = whole(ledger).row
    assert (row.status, row.reason, row.ended_at) == (stays, "because", BEGAN)


def test_a_status_that_is_none(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="status 'done' is none of dry_run, failed,"):
        ledger.close_pass("r1", "done")
    assert ledger.history() == []


def test_an_instant_without_time_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(RefusedError, match=r"refused a value .*needs a time zone"):
        ledger.record_plan("r1", replace(PLAN, cutoff=CUTOFF.replace(tzinfo=None)))
    assert ledger.history() == []


def test_unknown_is_not_nothing(ledger: Ledger) -> None:
    ledger.record_target("r1", replace(REPORT, survivors=None, stop_reason=StopReason.DEADLINE))
    ledger.record_target("r1", replace(REPORT, target="other", survivors=3))
    ledger.begin_shard("r1", PLAN, 0, at_most=None)
    found = whole(ledger)
    assert (found.row.survivors, found.row.at_most, ledger.totals().at_most) == (None, None, None)
    assert {t.target: (t.survivors, t.survivors_known) for t in found.targets} == {
        "other": (3, True),
        "web": (None, False),
    }
    assert found.targets[0].bytes_freed is None and found.targets[0].expired_found is None
