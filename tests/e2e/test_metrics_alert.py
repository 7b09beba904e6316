"""One expired record: from the store through a pass into ledger, metrics, a real Prometheus, and an alert there."""

import json
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import psycopg
import pytest

from cleanup_pipeline.ledger import open_ledger
from tests.cli.conftest import Program, program
from tests.e2e.support import free_port, started, wait_for
from tests.observability.collector import collector
from tests.observability.test_prometheus_exporter import value

__all__ = ["program"]

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "cleanup-alerts.yml"
SETTINGS = """
cleanup: {pause: 0s}
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
passes: {sessions: {every: 1m}}
targets: {web: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs: [{{job_name: cleanup, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""
LATE = timedelta(seconds=3)


def get(url: str) -> str | None:
    """None while nobody answers."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text
    except (URLError, OSError):
        return None


def api(port: int, path: str, **query: str) -> Any:
    text = get(f"http://127.0.0.1:{port}/api/v1/{path}?{urlencode(query)}")
    return json.loads(text)["data"] if text else None


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed; it is a package of Debian")
def test_one_record_all_the_way(program: Program, postgres_url: str, tmp_path: Path) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    variables = {"CLEANUP_POSTGRES_URL": postgres_url, "CLEANUP_LEDGER_URL": ledger_url}
    (tmp_path / "cleanup.yaml").write_text(SETTINGS, encoding="utf-8")
    of_exporter, of_prometheus = tmp_path / "exporter", tmp_path / "prometheus"
    of_exporter.mkdir()
    of_prometheus.mkdir()
    metrics_port, port = free_port(), free_port()
    rules = RULES.read_text(encoding="utf-8")
    # Two intervals of a minute and five minutes are too long to wait for.
    short = rules.replace("2 * max by (pass) (cleanup_pass_interval_seconds) + 300", str(LATE.seconds))
    assert short != rules
    (of_prometheus / "alerts.yml").write_text(short, encoding="utf-8")
    (of_prometheus / "prometheus.yml").write_text(CONFIG.format(port=metrics_port), encoding="utf-8")
    prometheus = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    exporter = ["metrics", "--port", str(metrics_port), "--settings", str(tmp_path / "cleanup.yaml")]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        db.execute("INSERT INTO web VALUES (1, now() - interval '1 hour'), (2, now() + interval '1 hour')")
        with (
            collector() as receiver,
            started(of_exporter, *exporter, **variables) as exporting,
            started(of_prometheus, f"--web.listen-address=127.0.0.1:{port}", command=prometheus),
        ):
            ran = program("run", "sessions", **variables, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            # The store.
            assert db.execute("SELECT id FROM web").fetchall() == [(2,)]
            # The ledger.
            ledger = open_ledger(ledger_url)
            assert ledger.totals("web").deleted == 1
            [of_pass] = ledger.history()
            ledger.close()
            assert of_pass.ended_at is not None
            # The report.
            told = program("report", "--since", "1d", "--format", "json", **variables)
            assert told.returncode == 0, told.stderr
            assert json.loads(told.stdout)["total"]["deleted"] == 1

            # A collector of OpenTelemetry, at the end of the run.
            assert receiver.values("cleanup.sessions.deleted.total") == {"web": 1}

            # /metrics.
            labels = '{kind="session",pass="sessions",store="main",target="web"}'
            text = wait_for("the exporter", lambda: get(f"http://127.0.0.1:{metrics_port}/metrics"))
            assert f"cleanup_sessions_deleted_total{labels} 1.0" in text
            assert (
                value(text, "cleanup_last_run_timestamp_seconds", **{"pass": "sessions"})
                == of_pass.ended_at.timestamp()
            )

            # Prometheus.
            def scraped() -> bool:
                found = api(port, "query", query=f"cleanup_sessions_deleted_total{labels}")
                return bool(found and found["result"] and found["result"][0]["value"][1] == "1")

            wait_for("the record in Prometheus", scraped, 30)
            # Nothing runs any more, and that is noticed.
            alert = wait_for("the alert", lambda: not_running(port, of_pass.ended_at), 30)
            assert exporting.end(signal.SIGTERM) == 0 and exporting.output().endswith("stopping\n")
    assert alert["labels"]["pass"] == "sessions" and alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["summary"] == "Cleanup pass sessions is not running"


def not_running(port: int, ended: datetime | None) -> dict[str, Any] | None:
    """The alert on a pass whose last run ended then. Before that run it was that none had ever ended."""
    assert ended is not None
    for alert in (api(port, "alerts") or {"alerts": []})["alerts"]:
        since = datetime.fromisoformat(alert["activeAt"][:19]).replace(tzinfo=UTC)
        fires = alert["state"] == "firing" and alert["labels"]["alertname"] == "CleanupNotRunning"
        if fires and since > ended + LATE - timedelta(seconds=1):
            found: dict[str, Any] = alert
            return found
    return None
