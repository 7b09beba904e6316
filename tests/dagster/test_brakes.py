"""Each brake on a real store: it stops its case and nothing else, and its command lets it go on."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.missed import left_unfinished
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.sensors import launch_failed
from cleanup_pipeline.engine.brakes import Look
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.model.alert import AlertName
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.words import PassStatus, StopReason, StoreType
from cleanup_pipeline.observability.alerts.figures import read_figures
from cleanup_pipeline.observability.alerts.judge import judge
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.observability.snapshot import Snapshot
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.alerts import AlertSettings
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


def past(ledger: Ledger, settings: Settings, passes: int, expired: int) -> None:
    """Green hourly passes, the last of which was an interval ago."""
    [target] = settings.targets
    now = datetime.now(UTC)
    for number in range(passes, 0, -1):
        at = now - number * HOUR
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


def test_one_thing_is_told_once(
    table: psycopg.Connection[Any], one: Settings, instance: dg.DagsterInstance, ledger: Ledger, run: Run
) -> None:
    """Passes that a brake holds are no operations that failed: no alert says it a second time, and no counter."""
    past(ledger, one, 30, expired=20)
    insert(table, 2000, "-2 hours")
    settings = _with(one, NotificationSettings(20, {"ops": Channel("ops", ChannelType.WEBHOOK, "http://127.0.0.1:9/")}))
    for more in range(4):
        run(settings)
        # More is left each time, and not so much more that it would be another matter.
        insert(table, 50 + more, "-1 hour")
    now = datetime.now(UTC)
    firing = [
        each for each in judge(read_figures(ledger, settings, now), AlertSettings(), now) if each.state == "firing"
    ]
    assert firing == []
    assert left_unfinished(ledger, ["web"]) == {}
    request, given_up = launch_failed(instance, tuple(settings.passes.values()), now)
    assert (request.run_requests, given_up) == ([], [])
    assert [message.event for message in ledger.outbox.kept()] == ["target_braked"]
    [figures] = [each for each in _snapshot(instance, settings).targets if each.target == "web"]
    assert (figures.failed, figures.current and figures.current.braked) == (0, True)

    ledger.brakes.release("web", "ann@host", once=True, now=datetime.now(UTC))
    run(settings)
    [figures] = [each for each in _snapshot(instance, settings).targets if each.target == "web"]
    assert (figures.failed, figures.current and figures.current.braked) == (0, False)
    # What fails for another reason still counts, and is told of.
    table.execute("ALTER TABLE web RENAME TO gone")
    for _ in range(2):
        run(settings)
    now = datetime.now(UTC)
    firing = [
        each for each in judge(read_figures(ledger, settings, now), AlertSettings(), now) if each.state == "firing"
    ]
    assert [each.name for each in firing] == [AlertName.HIGH_ERROR_RATE]


def _snapshot(instance: dg.DagsterInstance, settings: Settings) -> Snapshot:
    reader = Reader(ledger_url(instance), settings)
    try:
        return reader.read()
    finally:
        reader.close()


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
    # Red, because what it did is not on record; it did its work all the same.
    assert (report.status, left(table)) == (PassStatus.FAILED, 0)
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

    # Nor is that it was held a reason not to try again what fails later.
    table.execute("DROP TABLE web")
    result, _ = run(one)
    instance.add_run_tags(result.run_id, {names.SCHEDULED_TAG: "sessions"})
    requests, given_up = launch_failed(instance, [replace(one.passes["sessions"], retries=1)], later)
    assert (len(requests.run_requests or []), given_up) == (1, [])


def _with(settings: Settings, notifications: NotificationSettings) -> Settings:
    return replace(settings, notifications=notifications)


def _tags(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return dict(run.tags)
