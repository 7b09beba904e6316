"""The brief's metrics, as a collector receives them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from cleanup_pipeline.dagster_defs.metrics import metrics_sensors
from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.observability.otlp import configured, interval_seconds, push
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.observability.sending import send, send_once
from cleanup_pipeline.observability.snapshot import read_snapshot
from cleanup_pipeline.settings import Settings
from tests.e2e.support import free_port
from tests.observability.collector import Collector, attributes, collector
from tests.observability.figures import HOUR, NOW, add_pass, ledger, settings, url

__all__ = ["ledger", "settings", "url"]

FOUR = {
    "cleanup.sessions.deleted.total",
    "cleanup.verification_tokens.deleted.total",
    "cleanup.operation.duration.seconds",
    "cleanup.errors.total",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as kept:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", kept.url)
        yield kept


def fill(ledger: Ledger) -> None:
    add_pass(ledger, "r1", NOW - HOUR)
    add_pass(ledger, "r2", NOW - HOUR / 2, error="no", status="failed", seconds=60.0, deleted=20)
    add_pass(ledger, "v1", NOW - HOUR, "links", pass_name="verification_tokens", deleted=3)
    add_pass(ledger, "i1", NOW - HOUR, "idle", kind="revoked_token", deleted=5)
    add_pass(ledger, "dry", NOW, dry_run=True, stop_reason="dry_run", seconds=299.0)


def test_the_four_metrics(ledger: Ledger, settings: Settings, url: str, receiver: Collector) -> None:
    fill(ledger)
    assert send_once(url, settings) is None
    assert receiver.paths == ["/v1/metrics"] and set(receiver.metrics()) == {*FOUR, "token.revoked.total"}
    assert receiver.values("cleanup.sessions.deleted.total") == {"web": 120, "idle": 5}
    assert receiver.values("cleanup.verification_tokens.deleted.total") == {"links": 3}
    assert receiver.values("cleanup.errors.total") == {"web": 1, "links": 0, "idle": 0}
    assert receiver.values("token.revoked.total") == {"web": 120, "links": 3}
    metrics = receiver.metrics()
    of_sum = metrics["cleanup.sessions.deleted.total"].sum
    assert of_sum.is_monotonic and of_sum.aggregation_temporality == 2
    [web] = [point for point in of_sum.data_points if attributes(point)["target"] == "web"]
    assert attributes(web) == {"kind": "session", "target": "web", "store": "main", "pass": "sessions"}
    [revoked, _] = metrics["token.revoked.total"].sum.data_points
    assert attributes(revoked)["reason"] == "expired"
    assert metrics["cleanup.operation.duration.seconds"].unit == "s"
    points = metrics["cleanup.operation.duration.seconds"].histogram.data_points
    [web] = [point for point in points if attributes(point)["target"] == "web"]
    by_bound = dict(zip([*web.explicit_bounds, "above"], web.bucket_counts, strict=True))
    assert web.count == 2 and {bound: n for bound, n in by_bound.items() if n} == {2.5: 1, 60.0: 1}
    assert web.sum == pytest.approx(61.5, rel=0.05)
    assert receiver.resource()["service.name"] == "cleanup-pipeline"


def test_series_never_begin_anew(ledger: Ledger, settings: Settings, url: str, receiver: Collector) -> None:
    fill(ledger)
    assert send_once(url, settings) is None
    first = receiver.metrics()["cleanup.errors.total"].sum.data_points[0]
    add_pass(ledger, "r3", datetime.now(UTC), deleted=1)
    ledger.prune(HOUR / 4)
    # Another process, so to speak: a reader that has read nothing yet.
    assert send(Reader(url, settings)) is None
    second = receiver.metrics()["cleanup.errors.total"].sum.data_points[0]
    assert first.start_time_unix_nano == second.start_time_unix_nano > 0
    assert first.time_unix_nano < second.time_unix_nano
    assert receiver.values("cleanup.sessions.deleted.total") == {"web": 121, "idle": 5}


def test_the_standard_variables(
    ledger: Ledger, settings: Settings, url: str, receiver: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{receiver.url}/elsewhere")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "our-cleanup")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    assert send_once(url, settings) is None
    assert receiver.paths == ["/elsewhere"] and receiver.headers[0]["authorization"] == "Bearer abc"
    assert receiver.resource()["service.name"] == "our-cleanup"
    assert receiver.resource()["deployment.environment"] == "test"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_METRICS_EXPORTER": "prometheus, otlp"}, True),
    ],
)
def test_who_asked_for_it(variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert configured() == expected


def test_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interval_seconds() == 60
    for text, seconds in (("5000", 5), ("0", 60), ("often", 60)):
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", text)
        assert interval_seconds() == seconds


def test_a_collector_that_is_out_of_order(
    ledger: Ledger,
    settings: Settings,
    receiver: Collector,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    snapshot = read_snapshot(ledger, settings, NOW)
    receiver.status = 503
    assert (push(snapshot) or "").startswith("metrics could not be sent by OTLP (HTTP 503)")
    receiver.status = 404
    assert (push(snapshot) or "").startswith("metrics could not be sent by OTLP (HTTP 404)")
    secret = f"http://user:hunter2@127.0.0.1:{free_port()}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", secret)
    told = push(snapshot) or ""
    assert told.startswith("metrics could not be sent by OTLP (ConnectionError)") and "hunter2" not in told
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "no URL hunter2")
    told = push(snapshot) or ""
    assert told.startswith("metrics could not be sent") and "hunter2" not in told
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert push(snapshot) == "OTEL_EXPORTER_OTLP_PROTOCOL: found grpc, expected http/protobuf: metrics are not sent"
    output = capfd.readouterr()
    assert output.out + output.err == ""


def test_a_ledger_that_is_away(settings: Settings, receiver: Collector) -> None:
    told = send_once("postgresql://user:hunter2@127.0.0.1:1/db", settings)
    assert told is not None and told.startswith("metrics could not be sent: ") and "hunter2" not in told
    assert receiver.requests == []


def test_opentelemetry_is_imported_only_when_something_is_sent() -> None:
    code = (
        "import sys, cleanup_pipeline.definitions as d, cleanup_pipeline.cli.main\n"
        "print('opentelemetry' in sys.modules, any(s.name == 'push_metrics' for s in d.defs.sensors))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLEANUP_", "DAGSTER_"))}
    asked = {**kept, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    ran = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


def test_the_sensor(
    ledger: Ledger, settings: Settings, receiver: Collector, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    fill(ledger)
    monkeypatch.setenv("CLEANUP_LEDGER_URL", url)
    [sensor] = metrics_sensors(settings)
    with dg.instance_for_test() as instance:
        for status, told in ((200, "metrics were sent"), (404, "HTTP 404")):
            receiver.status = status
            assert told in (sensor.evaluate_tick(dg.build_sensor_context(instance)).skip_message or "")
    assert receiver.values("cleanup.verification_tokens.deleted.total") == {"links": 3}
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    assert metrics_sensors(settings) == []
