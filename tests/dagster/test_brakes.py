"""Each brake on a real store: it stops its case and nothing else, and its command lets it go on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.sensors import launch_failed
from cleanup_pipeline.engine.brakes import Look
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.words import PassStatus, StopReason, StoreType
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.notifications import Channel, ChannelType, NotificationSettings
from tests.dagster.conftest import Run, settings_from

HOUR = timedelta(hours=1)
ONE = """
cleanup: {pause: 0s, brakes: {unusual_from: 200}}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web: {store: main, table: web, expires: {column: expires_at}, mode: delete}
"""


@pytest.fixture
def table(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE web (id serial, expires_at timestamptz)")
        connection.execute("CREATE INDEX ON web (expires_at)")
        yield connection


@pytest.fixture
def ledger(instance: dg.DagsterInstance) -> Iterator[Ledger]:
    opened = open_ledger(ledger_url(instance))
    yield opened
    opened.close()


@pytest.fixture
def one(tmp_path: Path, postgres_url: str) -> Settings:
    return settings_from(ONE, tmp_path, postgres_url)


def insert(table: psycopg.Connection[Any], count: int, ends: str, step: str = "1 second") -> None:
    """`count` records, the first of which ends at now() + `ends` and each further one `step` later."""
    table.execute(
        "INSERT INTO web (expires_at) SELECT now() + %s::interval + n * %s::interval FROM generate_series(1, %s) n",
        (ends, step, count),
    )


def left(table: psycopg.Connection[Any]) -> int:
    row = table.execute("SELECT count(*) FROM web").fetchone()
    assert row is not None
    return int(row[0])


def past(ledger: Ledger, settings: Settings, passes: int, expired: int, *, every: timedelta = HOUR) -> None:
    """Green hourly passes, the last of which was an interval ago."""
    [target] = settings.targets
    now = datetime.now(UTC)
    for number in range(passes, 0, -1):
        at = now - number * every
        look = Look(at, expired, 1000, 0, 0, None, "timestamp with time zone")
        ledger.brakes.went_ahead(f"past{number}", target.name, target.fingerprint, look, at)
        ledger.record_target(
            f"past{number}",
            TargetReport(target.name, "main", StoreType.POSTGRES, "session", "x", StopReason.EXHAUSTED, survivors=0),
        )


def only(report: PassReport) -> TargetReport:
    [target] = report.targets
    return target


def test_a_mass_expiry_is_held_told_once_and_let_go(
    table: psycopg.Connection[Any], one: Settings, instance: dg.DagsterInstance, ledger: Ledger, run: Run
) -> None:
    past(ledger, one, 30, expired=20)
    insert(table, 2000, "-2 hours")
    told = NotificationSettings(20, {"ops": Channel("ops", ChannelType.WEBHOOK, "http://127.0.0.1:9/")})
    settings = _with(one, told)
    result, report = run(settings)
    target = only(report)
    assert (report.status, target.stop_reason, target.deleted, left(table)) == (
        PassStatus.FAILED,
        StopReason.BRAKED,
        0,
        2000,
    )
    assert target.error is not None and "brake unusual: 2,000 records, 100% of all, are expired" in target.error
    assert "cleanup-pipeline release-brake web" in target.error
    tags = _tags(instance, result.run_id)
    assert (tags[names.BRAKED_TAG], tags[names.ONLY_BRAKED_TAG]) == ("web", "true")
    run(settings)
    assert [message.event for message in ledger.outbox.kept()] == ["target_braked"]

    [held] = ledger.brakes.release("web", "ann@host", once=True, now=datetime.now(UTC))
    assert held.run_id == result.run_id
    _, report = run(settings)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 0)
    assert any("let go by ann@host for one pass" in finding.what for finding in only(report).findings)
    insert(table, 2000, "-2 hours")
    _, report = run(settings)
    assert (only(report).stop_reason, left(table)) == (StopReason.BRAKED, 2000)
    assert len(ledger.outbox.kept()) == 2


def test_a_backlog_after_downtime_goes(
    table: psycopg.Connection[Any], one: Settings, ledger: Ledger, run: Run
) -> None:
    past(ledger, one, 30, expired=20, every=4 * HOUR)
    # Two weeks away: as many as the busiest passes found in that time, and nobody is left logged in.
    _shift(ledger, timedelta(days=14))
    insert(table, 1700, "-13 days", "10 minutes")
    _, report = run(one)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 0)


def test_first_passes_and_small_tables_are_not_held(table: psycopg.Connection[Any], one: Settings, ledger: Ledger, run: Run) -> None:
    insert(table, 5000, "-30 days")
    _, report = run(one)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 0)
    past(ledger, one, 30, expired=1)
    insert(table, 150, "-2 hours")
    _, report = run(one)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 0)


def test_a_window_and_an_unknown_count_are_no_way_round(
    table: psycopg.Connection[Any], one: Settings, ledger: Ledger, run: Run
) -> None:
    past(ledger, one, 30, expired=20)
    insert(table, 2000, "-2 hours")
    run(one)
    # Counting is locked out, so that nobody knows how many are expired.
    from dataclasses import replace

    hurried = replace(one, targets=(replace(one.targets[0], census_timeout=timedelta(milliseconds=1)),))
    insert(table, 200_000, "30 days", "1 millisecond")
    _, report = run(hurried)
    assert (only(report).stop_reason, left(table)) == (StopReason.BRAKED, 202_000)


def test_a_table_from_a_backup_is_held(table: psycopg.Connection[Any], one: Settings, ledger: Ledger, run: Run) -> None:
    insert(table, 500, "1 minute", "5 minutes")
    insert(table, 10, "-1 minute")
    _, report = run(one)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 500)
    # Restored from two days ago: what was live then is expired for the most part now.
    table.execute("UPDATE web SET expires_at = expires_at - interval '2 days'")
    _, report = run(one)
    target = only(report)
    assert (target.stop_reason, left(table)) == (StopReason.BRAKED, 500)
    assert target.error is not None and "brake restored: the newest records expire 2d earlier" in target.error
    ledger.brakes.release("web", "ann@host", once=False, now=datetime.now(UTC))
    _, report = run(one)
    assert report.status is PassStatus.SUCCEEDED and left(table) < 500
    # A day on, everybody has logged out but the newest are as new as they were: nothing to be held for.
    table.execute("DELETE FROM web")
    insert(table, 300, "1 day", "1 minute")
    _, report = run(one)
    assert report.status is PassStatus.SUCCEEDED


def test_a_dry_run_shows_it_and_stays_green(
    table: psycopg.Connection[Any], one: Settings, instance: dg.DagsterInstance, ledger: Ledger, run: Run
) -> None:
    past(ledger, one, 30, expired=20)
    insert(table, 2000, "-2 hours")
    result, report = run(one, dry_run=True)
    assert (report.status, only(report).error) == (PassStatus.DRY_RUN, None)
    assert any(finding.what.startswith("would brake (unusual)") for finding in only(report).findings)
    assert ledger.brakes.held() == [] and ledger.outbox.kept() == []
    assert names.BRAKED_TAG not in _tags(instance, result.run_id)


EPOCHS = ONE.replace("{column: expires_at}", "{column: expires_at, unit: s}")


@pytest.fixture
def epochs(tmp_path: Path, postgres_url: str, table: psycopg.Connection[Any]) -> Settings:
    table.execute("ALTER TABLE web ALTER expires_at TYPE bigint USING extract(epoch FROM expires_at)::bigint")
    return settings_from(EPOCHS, tmp_path, postgres_url)


def insert_epochs(table: psycopg.Connection[Any], count: int, ends: str, per_second: str = "1") -> None:
    table.execute(
        "INSERT INTO web (expires_at) SELECT (extract(epoch FROM now() + %s::interval) * %s::numeric)::bigint"
        " FROM generate_series(1, %s)",
        (ends, per_second, count),
    )


def test_another_unit_and_another_type_are_held(
    table: psycopg.Connection[Any], epochs: Settings, ledger: Ledger, run: Run
) -> None:
    insert_epochs(table, 900, "1 day")
    insert_epochs(table, 50, "-1 day")
    _, report = run(epochs)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 900)
    # Minutes are written instead of seconds: they read as 1970.
    insert_epochs(table, 300, "1 day", "0.0166")
    insert_epochs(table, 50, "-1 day")
    _, report = run(epochs)
    target = only(report)
    assert (target.stop_reason, left(table)) == (StopReason.BRAKED, 1250)
    assert target.error is not None and "24% of the expiries cannot be read or cannot be right, and it was 0%" in target.error
    insert_epochs(table, 1000, "1 day", "0.0166")
    _, report = run(epochs)
    assert "1,300 records have an expiry that cannot be read" in str(only(report).error)
    assert {held.brake.name for held in ledger.brakes.held()} == {"changed", "unreadable"}
    ledger.brakes.release("web", "ann@host", once=False, now=datetime.now(UTC))
    _, report = run(epochs)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 2200)

    table.execute("DELETE FROM web WHERE expires_at < 1000000000")
    table.execute("ALTER TABLE web ALTER expires_at TYPE text")
    table.execute("INSERT INTO web (expires_at) VALUES ('1600000000')")
    _, report = run(epochs)
    assert (only(report).stop_reason, left(table)) == (StopReason.BRAKED, 901)
    assert "the expiry was bigint when it was last cleaned, and is text now" in str(only(report).error)
    ledger.brakes.release("web", "ann@host", once=False, now=datetime.now(UTC))
    _, report = run(epochs)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 900)
    _, report = run(epochs)
    assert (report.status, ledger.brakes.held()) == (PassStatus.SUCCEEDED, [])


def test_clocks_of_two_stores_that_disagree(tmp_path: Path, postgres_url: str, run: Run) -> None:
    """Each within the minute that host and store may differ by, and more than that apart."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (expires_at timestamptz)")
        db.execute("INSERT INTO web VALUES (now() - interval '1 day')")
        for name, seconds in (("early", -40), ("late", 40)):
            db.execute(f"CREATE SCHEMA {name}")  # type: ignore[call-overload]
            db.execute(
                f"CREATE FUNCTION {name}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"  # type: ignore[call-overload]
                f" $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} s' $$"
            )
        text = _two_clocks("early", "late")
        _, report = run(settings_from(text, tmp_path, postgres_url))
        assert {target.stop_reason for target in report.targets} == {StopReason.BRAKED}
        assert "the clocks of stores early and late are 80 s apart" in str(report.targets[0].error)
        _, report = run(settings_from(_two_clocks("early", "early"), tmp_path, postgres_url))
        assert report.status is PassStatus.SUCCEEDED


def _two_clocks(one: str, other: str) -> str:
    place = "${CLEANUP_POSTGRES_URL}?options=-csearch_path%3D"
    return f"""
stores:
  early: {{type: postgres, url: "{place}{one},pg_catalog,public"}}
  late: {{type: postgres, url: "{place}{other},pg_catalog,public"}}
targets:
  a: {{store: early, table: public.web, expires: {{column: expires_at}}, mode: delete}}
  b: {{store: late, table: public.web, expires: {{column: expires_at}}, mode: delete}}
"""


def test_a_ledger_that_is_away_is_no_way_past_a_brake(
    table: psycopg.Connection[Any], one: Settings, ledger: Ledger, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(table, 300, "-1 day")
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://nobody@127.0.0.1:9/none")
    _, report = run(one)
    assert (report.status, left(table)) == (PassStatus.SUCCEEDED, 0)
    assert any("the ledger does not answer" in finding.what for finding in only(report).findings)

    monkeypatch.delenv("CLEANUP_LEDGER_URL")
    past(ledger, one, 30, expired=20)
    insert(table, 2000, "-2 hours")
    run(one)
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://nobody@127.0.0.1:9/none")
    _, report = run(one)
    assert (only(report).stop_reason, left(table)) == (StopReason.BRAKED, 2000)
    assert "the ledger does not say whether it was let go" in str(only(report).error)


def test_a_pass_that_is_only_braked_is_not_tried_again(
    table: psycopg.Connection[Any], one: Settings, instance: dg.DagsterInstance, ledger: Ledger, run: Run
) -> None:
    past(ledger, one, 30, expired=20)
    insert(table, 2000, "-2 hours")
    result, _ = run(one)
    instance.add_run_tags(result.run_id, {names.SCHEDULED_TAG: "sessions"})
    later = datetime.now(UTC) + timedelta(days=1)
    requests, given_up = launch_failed(instance, [one.passes["sessions"]], later)
    assert (list(requests.run_requests or []), given_up) == ([], [])


def _with(settings: Settings, notifications: NotificationSettings) -> Settings:
    from dataclasses import replace

    return replace(settings, notifications=notifications)


def _tags(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return dict(run.tags)


def _shift(ledger: Ledger, back: timedelta) -> None:
    """As if the passes on record had been so much earlier."""
    from sqlalchemy import select, update

    from cleanup_pipeline.ledger.tables import looks

    with ledger.place.writing() as connection:
        for row in connection.execute(select(looks)).mappings().all():
            connection.execute(
                update(looks)
                .where(looks.c.run_id == row["run_id"])
                .values(cutoff=row["cutoff"] - back, looked_at=row["looked_at"] - back, newest=None)
            )
