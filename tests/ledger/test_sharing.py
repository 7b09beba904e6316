"""How many shards are at work, over all processes: what a common budget is divided by."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.sharing import SILENT, at_work
from tests.ledger.records import PLAN, outcome


def test_shards_at_work_are_counted_by_store_and_not_once_they_ended(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    assert at_work(ledger.place, now) == {}
    for run in ("r1", "r2", "r3"):
        ledger.begin_pass(run, "sessions")
        ledger.begin_shard(run, PLAN, 0, at_most=0)
    ledger.begin_shard("r1", replace(PLAN, target="other", store="cache"), 0, at_most=0)
    assert at_work(ledger.place, now) == {PLAN.store: 3, "cache": 1}
    ledger.record_shard("r1", outcome(0, 20))
    ledger.close_pass("r3", "failed")
    assert at_work(ledger.place, now) == {PLAN.store: 1, "cache": 1}


def test_a_pass_that_went_silent_counts_no_more(ledger: Ledger) -> None:
    ledger.begin_pass("r1", "sessions")
    ledger.begin_shard("r1", PLAN, 0, at_most=0)
    later = datetime.now(UTC) + SILENT + timedelta(seconds=5)
    assert at_work(ledger.place, later) == {}
    ledger.heartbeat("r1")
    assert at_work(ledger.place, later - timedelta(minutes=1)) == {PLAN.store: 1}
