"""What the ledger tells of late about passes, target by target."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.seen import seen_passes
from cleanup_pipeline.model.words import StopReason

from .records import CUTOFF, PLAN, REPORT, outcome

LONG_AGO = datetime.now(UTC) - timedelta(days=2)


def clean(ledger: Ledger, run: str, *, deleted: tuple[int, ...] = (5, 6), **of_pass: object) -> None:
    ledger.begin_pass(run, "sessions", **of_pass)  # type: ignore[arg-type]
    ledger.record_plan(run, PLAN)
    for shard, count in enumerate(deleted):
        ledger.begin_shard(run, PLAN, shard, at_most=count)
        ledger.record_shard(run, outcome(shard, count))
    ledger.record_target(run, replace(REPORT, seconds=4.0, survivors=3))
    ledger.close_pass(run, "succeeded")


def test_a_pass_is_told_with_its_shards_added_up(ledger: Ledger) -> None:
    clean(ledger, "one")
    (seen,) = seen_passes(ledger, LONG_AGO)
    assert (seen.run_id, seen.target, seen.strategy, seen.cutoff) == ("one", "web", "index_walk", CUTOFF)
    assert (seen.shards, seen.deleted, seen.batches, seen.failed) == (2, 11, 2, 0)
    assert (seen.seconds, seen.deleting, seen.paused) == (4.0, 3.0, 0.0)
    assert (seen.expired_found, seen.survivors) == (40, 3)
    assert (seen.records_before, seen.bytes_before) == (45, 8192)
    assert seen.pass_ended is not None and seen.pass_ended >= seen.pass_started


def test_what_cost_nothing_or_was_no_usual_pass_is_left_out(ledger: Ledger) -> None:
    clean(ledger, "dry", dry_run=True)
    clean(ledger, "window", backfill="b")
    clean(ledger, "old", started_at=LONG_AGO - timedelta(days=1))
    ledger.begin_pass("skipped", "sessions")
    ledger.record_plan("skipped", PLAN)
    ledger.record_target("skipped", replace(REPORT, stop_reason=StopReason.SKIPPED))
    ledger.begin_pass("runs", "sessions")
    ledger.record_plan("runs", PLAN)
    assert seen_passes(ledger, LONG_AGO) == []
    clean(ledger, "usual")
    assert [each.run_id for each in seen_passes(ledger, LONG_AGO)] == ["usual"]


def test_failed_shards_are_told(ledger: Ledger) -> None:
    clean(ledger, "one")
    ledger.record_shard("one", replace(outcome(1, 6), error="broken", stop_reason=StopReason.ERROR))
    assert seen_passes(ledger, LONG_AGO)[0].failed == 1


def test_the_oldest_come_first(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    for run, hours in (("b", 2), ("c", 1), ("a", 3)):
        clean(ledger, run, started_at=now - timedelta(hours=hours))
    assert [each.run_id for each in seen_passes(ledger, LONG_AGO)] == ["a", "b", "c"]
