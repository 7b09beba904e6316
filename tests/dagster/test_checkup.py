"""What `check` says stands on the page of a run, too."""

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.cli.check import check_all
from cleanup_pipeline.settings import Settings
from tests.dagster.conftest import Run, settings_from
from tests.dagster.test_brakes import ONE


@pytest.fixture
def one(tmp_path: Path, postgres_url: str) -> Settings:
    return settings_from(ONE, tmp_path, postgres_url)


def scanned(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [output] = [
        event for event in result.all_events if event.is_successful_output and str(event.step_key).endswith(".scan")
    ]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_the_same_findings_are_on_the_scan_step(one: Settings, postgres_url: str, run: Run) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id int PRIMARY KEY, expires_at timestamptz)")
        db.execute("INSERT INTO web VALUES (1, now() + interval '1 day'); ANALYZE web")
        result, _ = run(one)
        assert scanned(result)["warnings"] == 0
        db.execute("CREATE TABLE child (web int REFERENCES web)")
    result, _ = run(one)
    shown = scanned(result)
    # Clocks are compared by the pass itself.
    stores, targets = check_all(one, list(one.targets))
    said = [finding for each in (*stores, *targets) for finding in each.findings if finding.code != "clock"]
    assert {"pg.foreign-key", "pg.version", "pg.no-expiry-index", "pg.bloat-little"} <= {each.code for each in said}
    for finding in said:
        assert f"| {finding.severity} | {finding.what.split('(')[0]}" in shown["checkup"], finding.what
    assert "CREATE INDEX CONCURRENTLY ON child (web)" in shown["checkup"]
    assert shown["warnings"] == sum(each.severity != "info" for each in said)
