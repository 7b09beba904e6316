"""What was last known, what went wrong, and what is usual."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, event

from cleanup_pipeline.ledger import Ledger, latest
from tests.reporting.rows import MONDAY, noon, operation

DAY = timedelta(days=1)


def test_what_is_usual_is_the_median_of_green_passes(ledger: Ledger) -> None:
    assert latest.usual(ledger, "web", "r") is None
    for number, deleted in enumerate((5, 1, 3)):
        operation(ledger, MONDAY, "web", deleted, minutes=number)
    operation(ledger, MONDAY, "web", 1000, minutes=10, error="left")
    operation(ledger, MONDAY, "web", 2000, minutes=11, dry_run=True, reason="dry_run")
    operation(ledger, MONDAY, "web", 3000, minutes=12, backfill="b")
    operation(ledger, MONDAY, "web", 4000, minutes=13, run_id="r")
    operation(ledger, MONDAY, "web", 5000, minutes=14, reason="skipped")
    operation(ledger, MONDAY, "api", 6000, minutes=15, pass_name="others")
    assert latest.usual(ledger, "web", "r") == 3
    assert latest.usual(ledger, "web", "web-2026-11-02-2") is not None
    assert latest.usual(ledger, "api", "r") is None
    assert latest.usual_of_pass(ledger, "sessions", "r") == 3
    for number in range(20):
        operation(ledger, MONDAY, "web", 50, minutes=20 + number)
    assert latest.usual(ledger, "web", "r") == 50


def test_failures_are_the_newest_and_bounded(ledger: Ledger) -> None:
    operation(ledger, MONDAY, "web", 1, error="first")
    operation(ledger, MONDAY + DAY, "web", 1)
    operation(ledger, MONDAY + DAY, "api", 1, reported=False, status="lost", why="lost: gone")
    operation(ledger, MONDAY + DAY, "app", 1, error="second", minutes=9)
    operation(ledger, MONDAY + DAY, "app", 1, error="dry", minutes=10, dry_run=True, reason="dry_run")
    days = [MONDAY, MONDAY + DAY]
    found = latest.failures(ledger, days, 9)
    assert [(one.target, one.error) for one in found] == [("app", "second"), ("api", "lost: gone"), ("web", "first")]
    assert found[1].at == noon(MONDAY + DAY)
    assert [one.target for one in latest.failures(ledger, days, 1)] == ["app"]
    assert latest.failures(ledger, [], 9) == []


def test_the_last_state_of_each_target(ledger: Ledger) -> None:
    operation(ledger, MONDAY, "web", 1, error="left", survivors=3)
    operation(ledger, MONDAY + DAY, "web", 1)
    operation(ledger, MONDAY, "api", 0, dry_run=True, reason="dry_run")
    states = latest.latest_states(ledger, noon(MONDAY - DAY), noon(MONDAY + 2 * DAY))
    assert [(one.target, one.error, one.dry_run) for one in states] == [("api", None, True), ("web", None, False)]
    states = latest.latest_states(ledger, noon(MONDAY - DAY), noon(MONDAY, 60))
    assert [(one.target, one.error, one.survivors) for one in states] == [("api", None, 0), ("web", "left", 3)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_query_reads_a_whole_table(ledger: Ledger) -> None:
    said: list[tuple[str, object]] = []

    def listen(_: Connection, __: object, statement: str, parameters: object, *___: object) -> None:
        said.append((statement, parameters))

    event.listen(ledger.place.engine, "before_cursor_execute", listen)
    operation(ledger, MONDAY, "web", 1)
    said.clear()
    for number in range(5):
        operation(ledger, MONDAY, "web", 1, minutes=number + 1)
    said.clear()
    latest.usual(ledger, "web", "r")
    latest.usual_of_pass(ledger, "sessions", "r")
    latest.failures(ledger, [MONDAY], 5)
    latest.latest_states(ledger, noon(MONDAY), noon(MONDAY + DAY))
    latest.latest_witnesses(ledger, noon(MONDAY))
    ledger.days(MONDAY, MONDAY)
    statements = [(text, given) for text, given in said if text.startswith("SELECT")]
    event.remove(ledger.place.engine, "before_cursor_execute", listen)
    assert len(statements) > 12
    with ledger.place.reading() as connection:
        for text, given in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given).fetchall()  # type: ignore[arg-type]
            scans = [row[3] for row in plan if row[3].startswith("SCAN cleanup_") and "INDEX" not in row[3]]
            assert not scans, (text, scans)
