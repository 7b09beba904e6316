"""What the ledger knows for witnesses, and keeps of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from cleanup_pipeline.ledger import Ledger, WitnessRow
from cleanup_pipeline.ledger.tables import alerts, messages
from tests.ledger.records import PLAN, outcome

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ROW = WitnessRow(
    target="web",
    checked_at=NOW,
    pass_name="sessions",
    store="main",
    kind="session",
    run_id="r1",
    survivors=3,
    oldest_survivor=NOW - DAY,
    known=True,
    objective_seconds=7200.0,
    old_enough=False,
    fresh=None,
    last_success=None,
    reason="why",
)


def test_the_latest_judgement_of_each_target(ledger: Ledger) -> None:
    later, other = replace(ROW, checked_at=NOW + DAY, survivors=None), replace(ROW, target="api")
    for row in (ROW, later, other, later):
        ledger.add_witness(row)
    assert ledger.witnesses() == [other, later]
    ledger.add_witness(replace(later, survivors=0))
    assert ledger.witnesses() == [other, replace(later, survivors=0)]


def test_since_when_a_target_is_known(ledger: Ledger) -> None:
    assert ledger.first_known("web") is None
    ledger.add_witness(ROW)
    assert ledger.first_known("web") == NOW
    began = datetime.now(UTC) - 500 * DAY
    ledger.begin_pass("r1", "sessions", started_at=began)
    ledger.record_plan("r1", PLAN)
    assert ledger.first_known("web") == NOW
    ledger.close_pass("r1", "succeeded", ended_at=began)
    ledger.begin_shard("r1", PLAN, 0, at_most=7)
    ledger.record_shard("r1", outcome(0, 7))
    ledger.prune(400 * DAY, NOW)
    # What became of old passes counts, too.
    assert ledger.first_known("web") == datetime.combine(began.date(), datetime.min.time(), UTC)
    assert ledger.first_known("api") is None


def test_what_the_last_passes_removed(ledger: Ledger) -> None:
    for number, deleted in enumerate((1, 20, 300, 4000)):
        ledger.begin_pass(f"r{number}", "sessions")
        for shard in (0, 1):
            ledger.begin_shard(f"r{number}", PLAN, shard, at_most=deleted)
            ledger.record_shard(f"r{number}", outcome(shard, deleted))
    assert ledger.recently_removed("web") == [8000, 600, 40]
    assert ledger.recently_removed("api") == []


def test_the_windows_that_had_a_run(ledger: Ledger) -> None:
    for number, key in enumerate(("a", "b", None, "b")):
        ledger.begin_pass(f"r{number}", "sessions", window=key, started_at=NOW + number * DAY)
    ledger.begin_pass("other", "tokens", window="c", started_at=NOW)
    assert ledger.windows("sessions", NOW) == {"a", "b"}
    assert ledger.windows("sessions", NOW + DAY) == {"b"}


def test_only_what_is_over_is_pruned(ledger: Ledger) -> None:
    old, late = NOW - 500 * DAY, NOW - DAY
    alert = {"name": "stale", "started_at": old}
    message = {"channel": "hook", "event": "stale", "body": {}, "created_at": old}
    with ledger.place.writing() as connection:
        for values in (
            {"id": "over", "subject": "a", "ended_at": old},
            {"id": "just over", "subject": "b", "ended_at": late},
            {"id": "fires", "subject": "c"},
        ):
            connection.execute(insert(alerts).values(**alert, **values))
        for values in (
            {"id": "delivered", "delivered_at": old},
            {"id": "dead", "dead_at": old},
            {"id": "owed"},
            {"id": "new", "delivered_at": late, "created_at": late},
        ):
            connection.execute(insert(messages).values({**message, **values}))
    ledger.add_witness(replace(ROW, checked_at=old))
    ledger.add_witness(ROW)
    assert ledger.prunable(400 * DAY, NOW).watched == 4
    assert ledger.prune(400 * DAY, NOW).watched == 4
    with ledger.place.reading() as connection:
        left = [set(connection.execute(table.select()).scalars()) for table in (alerts, messages)]
    assert left == [{"just over", "fires"}, {"owed", "new"}]
    assert ledger.witnesses() == [ROW]
    assert ledger.prune(400 * DAY, NOW).watched == 0
