"""The daily report in Dagster, and each pass beside the usual one."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs import reports
from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.settings import Settings
from tests.dagster.conftest import Run
from tests.dagster.test_pass import materializations
from tests.reporting.example import fill
from tests.reporting.rows import MONDAY, operation

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_report(settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = build_defs(settings).resolve_job_def("report")
    return job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)


def output(result: dg.ExecuteInProcessResult, step: str) -> dict[str, Any]:
    (event,) = result.filter_events(lambda e: e.is_successful_output and e.step_key == step)
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_the_report_is_in_the_run_on_an_asset_and_in_a_file(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANUP_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setattr(reports, "KEPT", 3)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    fill(ledger, datetime.now(UTC), days=8)
    (tmp_path / "reports").mkdir()
    for day in range(1, 6):
        (tmp_path / "reports" / f"cleanup-2026-01-0{day}.html").touch()
    result = run_report(settings, instance)
    assert result.success
    found = output(result, "report")
    assert found["deleted"] == ledger.totals().deleted and found["backlog"] == 2140
    assert "| django_sessions | main | session |" in found["targets"]
    assert "![volume](data:image/svg+xml;base64," in found["chart_volume"]
    instance.delete_run(result.run_id)
    (retained,) = materializations(instance, "report")
    assert retained["deleted"] == found["deleted"] and retained["headline"] == found["headline"]
    files = sorted(path.name for path in (tmp_path / "reports").iterdir())
    assert files == ["cleanup-2026-01-04.html", "cleanup-2026-01-05.html", Path(found["file"]).name]
    assert Path(found["file"]).read_text().startswith("<!doctype html>")
    assert Path(found["file"]).stat().st_mode & 0o077 == 0
    ledger.close()


def test_without_a_ledger_there_is_no_report_and_the_run_is_red(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://cleanup@127.0.0.1:1/none")
    result = run_report(settings, instance)
    assert not result.success and "cannot be used" in str(result.failure_data_for_node("report"))
    assert materializations(instance, "report") == []


def test_a_pass_is_shown_beside_the_usual_one(
    db: psycopg.Connection[Any], settings: Settings, run: Run, instance: dg.DagsterInstance
) -> None:
    ledger = open_ledger(ledger_url(instance))
    for number, deleted in enumerate((31, 7, 12_345)):
        operation(ledger, MONDAY, "web_sessions", deleted, minutes=number)
    ledger.close()
    result, _ = run(settings)
    target, whole = output(result, "web_sessions.report"), output(result, "summarize")
    assert target["beside_usual"] == "removed 25; usual 31; backlog 0; oldest survivor 0 s"
    assert whole["beside_usual"] == "removed 50; usual 31; backlog 0; oldest survivor 0 s"
    assert (target["usual_deleted"], whole["usual_deleted"]) == (31, 31)
    assert output(result, "app_sessions.report")["beside_usual"].startswith("removed 25; no usual yet; backlog 0;")
    assert materializations(instance, "web_sessions")[0]["beside_usual"] == target["beside_usual"]
    dry, _ = run(settings, dry_run=True)
    assert "beside_usual" not in output(dry, "summarize")


def test_without_a_ledger_nothing_is_usual_and_the_run_is_red_for_that_alone(
    db: psycopg.Connection[Any], settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://cleanup@127.0.0.1:1/none")
    result, _ = run(settings)
    assert "no usual yet" in output(result, "web_sessions.report")["beside_usual"]
    (failed,) = result.filter_events(lambda event: event.is_step_failure)
    assert failed.step_key == "summarize" and "ledger" in str(failed.step_failure_data.user_failure_data)
