"""Passes, totals, and when something was last cleaned."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.ledger import Ledger, Totals
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.words import StopReason
from tests.ledger.records import PLAN, REPORT, outcome

BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_the_newest_first(ledger: Ledger) -> None:
    for number in (2, 0, 1):
        ledger.begin_pass(f"r{number}", "sessions", started_at=BEGAN + number * MINUTE)
    ledger.begin_pass("t", "tokens", started_at=BEGAN + 9 * MINUTE)
    assert [row.run_id for row in ledger.history(3)] == ["t", "r2", "r1"]
    assert [row.run_id for row in ledger.history(2, "sessions")] == ["r2", "r1"]
    assert [row.run_id for row in ledger.history(since=BEGAN + 2 * MINUTE)] == ["t", "r2"]
    later_in_tokyo = (BEGAN + 2 * MINUTE).astimezone(tz=None)
    assert [row.run_id for row in ledger.history(since=later_in_tokyo)] == ["t", "r2"]


def test_totals_are_not_multiplied_by_targets(ledger: Ledger) -> None:
    for target in ("web", "api", "old"):
        plan = replace(PLAN, target=target)
        ledger.record_plan("r1", plan)
        for shard in (0, 1):
            ledger.record_shard("r1", outcome(shard, 10, target))
        ledger.record_target("r1", replace(REPORT, target=target, survivors=2))
    [row] = ledger.history()
    assert (row.deleted, row.at_most, row.survivors) == (60, 60, 6)
    assert ledger.totals_by_target() == dict.fromkeys(("web", "api", "old"), Totals(20, 20))
    assert (ledger.totals(), ledger.totals("web"), ledger.totals("none")) == (
        Totals(60, 60),
        Totals(20, 20),
        Totals(0, 0),
    )


def test_totals_since(ledger: Ledger) -> None:
    ledger.record_shard("r1", outcome(0, 10))
    ledger.begin_shard("r2", PLAN, 0, at_most=0)
    ledger.progress("r2", "web", 0, Tally(deleted=1), 5)
    detail = ledger.pass_of("r1")
    assert detail is not None and detail.shards[0].ended_at is not None
    ended_at = detail.shards[0].ended_at
    assert ledger.totals(since=ended_at) == Totals(11, 15)
    assert ledger.totals(since=ended_at + MINUTE) == Totals(1, 5)


def test_who_was_not_heard_of(ledger: Ledger) -> None:
    hour = timedelta(hours=1)
    ledger.begin_pass("quiet", "sessions", started_at=BEGAN)
    ledger.begin_pass("over", "sessions", started_at=BEGAN)
    ledger.close_pass("over", "succeeded")
    assert [row.run_id for row in ledger.running(-hour)] == ["quiet"]
    assert ledger.running(hour) == []
    before = ledger.running(-hour)[0].heartbeat_at
    ledger.heartbeat("quiet")
    assert ledger.running(-hour)[0].heartbeat_at > before
    ledger.mark_lost("quiet", "gone")
    assert ledger.running(-hour) == []


def run(ledger: Ledger, run_id: str, at: datetime, status: str = "succeeded", *, dry_run: bool = False) -> None:
    ledger.begin_pass(run_id, "sessions", started_at=at, dry_run=dry_run)
    ledger.close_pass(run_id, status, ended_at=at)


def test_the_last_success_of_a_pass(ledger: Ledger) -> None:
    assert ledger.last_success(pass_name="sessions") is None
    run(ledger, "r1", BEGAN)
    for number, status in enumerate(("partial", "failed", "skipped", "dry_run", "lost", "terminated")):
        run(ledger, status, BEGAN + (number + 1) * MINUTE, status)
    run(ledger, "dry", BEGAN + 9 * MINUTE, dry_run=True)
    assert ledger.last_success(pass_name="sessions") == BEGAN
    assert ledger.last_success(pass_name="tokens") is None
    run(ledger, "r2", BEGAN + 10 * MINUTE)
    assert ledger.last_success(pass_name="sessions") == BEGAN + 10 * MINUTE
    with pytest.raises(ValueError, match="needs a pass_name or a target"):
        ledger.last_success()


def test_the_last_success_of_a_target(ledger: Ledger) -> None:
    run(ledger, "r1", BEGAN, "partial")
    ledger.record_target("r1", REPORT)
    ledger.record_target("r1", replace(REPORT, target="bad", error="3 are left"))
    ledger.record_target("r1", replace(REPORT, target="off", stop_reason=StopReason.SKIPPED))
    ledger.record_plan("r1", replace(PLAN, target="planned"))
    succeeded = ledger.last_success(target="web")
    assert succeeded is not None
    for name in ("bad", "off", "planned"):
        assert ledger.last_success(target=name) is None
    assert ledger.last_success(target="web", pass_name="sessions") == succeeded
    assert ledger.last_success(target="web", pass_name="tokens") is None


def test_a_dry_run_moves_no_success(ledger: Ledger) -> None:
    ledger.begin_pass("whole", "sessions", dry_run=True)
    ledger.record_plan("whole", replace(PLAN, dry_run=True))
    ledger.record_target("whole", replace(REPORT, stop_reason=StopReason.DRY_RUN))
    ledger.close_pass("whole", "dry_run")
    # A target of its own in mode dry_run, in a pass that deletes elsewhere.
    ledger.begin_pass("part", "sessions")
    ledger.record_plan("part", replace(PLAN, dry_run=True))
    ledger.record_target("part", replace(REPORT, stop_reason=StopReason.DRY_RUN))
    assert ledger.last_success(target="web") is None and ledger.last_success(pass_name="sessions") is None
    assert ledger.outcomes("web", 5) == []
    # Whatever a report of something that was planned as dry says.
    ledger.record_target("part", REPORT)
    assert ledger.last_success(target="web") is None and ledger.outcomes("web", 5) == []
    ledger.record_target("real", REPORT)
    assert ledger.last_success(target="web") is not None
    assert ledger.outcomes("web", 5) == [("real", "exhausted", 0)]
