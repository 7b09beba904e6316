"""What is asked of the ledger about single operations."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, text

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.operations import WitnessRow
from cleanup_pipeline.ledger.tables import witnesses
from cleanup_pipeline.model.words import StopReason

from .records import PLAN, REPORT, outcome

LONG_AGO = datetime.now(UTC) - timedelta(days=2)


def test_recent(ledger: Ledger) -> None:
    for number in range(4):
        run = f"r{number}"
        ledger.begin_pass(run, "sessions", dry_run=number == 3)
        ledger.begin_shard(run, PLAN, 0, at_most=9)
        for shard in (0, 1):
            tally = replace(outcome(shard, 5).tally, waited_seconds=0.5)
            ledger.record_shard(run, replace(outcome(shard, 5), tally=tally))
        reason = StopReason.SKIPPED if number == 2 else StopReason.GOVERNOR
        ledger.record_target(
            run,
            replace(REPORT, survivors=number, seconds=float(number), stop_reason=reason, error="x" if number else None),
        )
    newest, oldest = ledger.operations.recent("web", 9)
    assert (newest.survivors, newest.seconds, newest.stop_reason, newest.failed) == (1, 1.0, "governor", True)
    assert (newest.waited_seconds, newest.busy_seconds, newest.slowed) == (1.0, 3.0, {"lag": 4})
    assert (oldest.survivors, oldest.failed) == (0, False)
    assert len(ledger.operations.recent("web", 1)) == 1
    assert ledger.operations.recent("other", 9) == []


def test_failures(ledger: Ledger) -> None:
    def end(run: str, error: str | None, status: str | None, **more: object) -> None:
        ledger.begin_pass(run, str(more.get("pass_name", "sessions")), dry_run=bool(more.get("dry")))
        for target in ("web", "app"):
            ledger.record_plan(run, replace(PLAN, target=target))
        ledger.record_target(run, replace(REPORT, error=error))
        if status:
            ledger.close_pass(run, status)

    end("green", None, "succeeded")
    end("red", "broken", "partial")
    end("runs", "broken", None)
    end("dry", "broken", "partial", dry=True)
    end("other", "broken", "partial", pass_name="other")
    # `app` was planned and never reported.
    assert ledger.operations.failures("sessions", LONG_AGO) == (4, 3)
    assert ledger.operations.failures("sessions", datetime.now(UTC)) == (0, 0)
    assert ledger.operations.failures("nothing", LONG_AGO) == (0, 0)


def test_last_end(ledger: Ledger) -> None:
    assert ledger.operations.last_end("sessions", dry=True) == (None, None)
    starts = [LONG_AGO + timedelta(hours=n) for n in range(5)]
    for number, (status, dry) in enumerate(
        [("succeeded", False), ("failed", False), ("dry_run", True), ("lost", False), (None, False)]
    ):
        ledger.begin_pass(f"r{number}", "sessions", dry_run=dry, started_at=starts[number])
        if status:
            ledger.close_pass(f"r{number}", status, ended_at=starts[number] + timedelta(minutes=1))
    minute = timedelta(minutes=1)
    assert ledger.operations.last_end("sessions", dry=False) == (starts[1] + minute, starts[0])
    assert ledger.operations.last_end("sessions", dry=True) == (starts[2] + minute, starts[0])


def test_witness(ledger: Ledger) -> None:
    assert ledger.operations.witness("web") is None
    with ledger.place.writing() as connection:
        for hours in (1, 2):
            connection.execute(
                insert(witnesses).values(
                    target="web",
                    checked_at=LONG_AGO + timedelta(hours=hours),
                    known=hours == 2,
                    oldest_survivor=LONG_AGO,
                    objective_seconds=60.0,
                )
            )
    assert ledger.operations.witness("web") == WitnessRow(LONG_AGO + timedelta(hours=2), True, LONG_AGO, 60.0)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_they_are_answered_from_an_index(ledger: Ledger) -> None:
    with ledger.place.reading() as connection:
        seen = list[str]()
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(seen.append)
    ledger.operations.recent("web", 9)
    ledger.operations.failures("sessions", LONG_AGO)
    ledger.operations.last_end("sessions", dry=False)
    ledger.operations.witness("web")
    ledger.outbox.claim("ops", LONG_AGO)
    with ledger.place.reading() as connection:
        questions = [each for each in seen if each.startswith("SELECT")]
        assert len(questions) >= 6
        for question in questions:
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {question.replace(':', chr(92) + ':')}")).all()
            assert not any("SCAN cleanup_" in str(step) for step in plan), (question, plan)
