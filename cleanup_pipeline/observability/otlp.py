"""The brief's metrics by OpenTelemetry's protocol, where the standard variables of OpenTelemetry name a collector.

Made from a snapshot, not counted here: whoever sends them, the series go on where they were. OpenTelemetry is imported
only when something is sent.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cleanup_pipeline import __version__
from cleanup_pipeline.model.histogram import at_or_below
from cleanup_pipeline.observability.families import Family, ends_a_token, family
from cleanup_pipeline.observability.prometheus import DURATIONS, operation_seconds
from cleanup_pipeline.observability.snapshot import Snapshot, TargetFigures

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Histogram, MetricsData, Sum
    from opentelemetry.sdk.resources import Resource

ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
SUPPORTED = "http/protobuf"
USUAL_SECONDS = 60.0
_LOGGERS = ("opentelemetry.exporter.otlp.proto.http.metric_exporter", "opentelemetry.exporter.otlp.common.http")


def configured() -> bool:
    """Whether the environment asks for metrics to be sent. Imports nothing."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporters = os.environ.get("OTEL_METRICS_EXPORTER", "").strip().lower() or "otlp"
    wanted = "otlp" in {name.strip() for name in exporters.split(",")}
    return wanted and not disabled and any(os.environ.get(name, "").strip() for name in ENDPOINTS)


def interval_seconds() -> float:
    """How often to send, by OTEL_METRIC_EXPORT_INTERVAL (milliseconds); a minute where that says nothing sensible."""
    try:
        seconds = float(os.environ[INTERVAL]) / 1000
    except (KeyError, ValueError):
        return USUAL_SECONDS
    return seconds if seconds > 0 else USUAL_SECONDS


def push(snapshot: Snapshot) -> str | None:
    """Send it; why that failed, in one line that holds neither URL nor header, or None. Never raises.

    Tried again within OTEL_EXPORTER_OTLP_TIMEOUT (10 s) where the collector may be only busy.
    """
    protocol = next((value for name in PROTOCOLS if (value := os.environ.get(name, "").strip())), SUPPORTED)
    if protocol != SUPPORTED:
        return f"{PROTOCOLS[1]}: found {protocol}, expected {SUPPORTED}: metrics are not sent"
    try:
        return _send(snapshot)
    except Exception as fault:  # noqa: BLE001 - whatever is wrong with a collector is no reason to fail
        return f"metrics could not be sent by OTLP ({type(fault).__name__}); check the OTEL_EXPORTER_OTLP_ variables"


def _send(snapshot: Snapshot) -> str | None:
    import requests
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult

    seen = ["no answer"]

    class Session(requests.Session):
        def request(self, *args: Any, **more: Any) -> requests.Response:
            try:
                answer = super().request(*args, **more)
            except requests.RequestException as fault:
                seen.append(type(fault).__name__)
                raise
            seen.append(f"HTTP {answer.status_code}")
            return answer

    with _quiet():
        exporter = OTLPMetricExporter(session=Session())
        try:
            result = exporter.export(metrics_data(snapshot, _resource()))
        finally:
            exporter.shutdown()
    if result is MetricExportResult.SUCCESS:
        return None
    return f"metrics could not be sent by OTLP ({seen[-1]}); check that the collector is there and takes them"


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenTelemetry logs what went wrong, URLs and what is in them included."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(_drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_drop)


def _drop(_: logging.LogRecord) -> bool:
    return False


def _resource() -> "Resource":
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

    named = Resource.create({SERVICE_VERSION: __version__})
    # What the environment says comes first; without it, the SDK only knows that it is "unknown_service".
    if str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        named = named.merge(Resource({SERVICE_NAME: "cleanup-pipeline"}))
    return named


def metrics_data(snapshot: Snapshot, resource: "Resource") -> "MetricsData":
    """Cumulative since the ledger began, each point with kind, target, store and pass."""
    from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    def sums(of: Callable[[TargetFigures], int | None], **more: str) -> "Sum":
        return _sum(snapshot, of, more)

    metrics = [
        Metric(
            "cleanup.sessions.deleted.total",
            "Records deleted whose kind belongs to sessions.",
            "{record}",
            sums(lambda target: target.deleted if family(target.kind) is Family.SESSIONS else None),
        ),
        Metric(
            "cleanup.verification_tokens.deleted.total",
            "Records deleted whose kind is a verification token.",
            "{record}",
            sums(lambda target: target.deleted if family(target.kind) is Family.VERIFICATION_TOKENS else None),
        ),
        Metric(
            "cleanup.operation.duration.seconds",
            "How long the cleaning of one target in one pass took.",
            "s",
            _histogram(snapshot),
        ),
        Metric(
            "cleanup.errors.total",
            "Cleanings of one target in one pass that failed.",
            "{operation}",
            sums(lambda target: target.failed),
        ),
        Metric(
            "token.revoked.total",
            "Sessions and tokens revoked because they expired.",
            "{token}",
            sums(lambda target: target.deleted if ends_a_token(target.kind) else None, reason="expired"),
        ),
    ]
    told = [metric for metric in metrics if metric.data.data_points]
    scope = ScopeMetrics(InstrumentationScope("cleanup_pipeline", __version__), told, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _attributes(target: TargetFigures, more: Mapping[str, str]) -> dict[str, str]:
    return {"kind": target.kind, "target": target.target, "store": target.store, "pass": target.pass_name, **more}


def _times(snapshot: Snapshot) -> tuple[int, int]:
    taken = int(snapshot.taken_at.timestamp() * 1_000_000_000)
    return (taken if snapshot.since is None else int(snapshot.since.timestamp()) * 1_000_000_000), taken


def _sum(snapshot: Snapshot, of: Callable[[TargetFigures], int | None], more: Mapping[str, str]) -> "Sum":
    from opentelemetry.sdk.metrics.export import AggregationTemporality, NumberDataPoint, Sum

    start, taken = _times(snapshot)
    points = [
        NumberDataPoint(_attributes(target, more), start, taken, value)
        for target in snapshot.targets
        if (value := of(target)) is not None
    ]
    return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)


def _histogram(snapshot: Snapshot) -> "Histogram":
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, HistogramDataPoint

    start, taken = _times(snapshot)
    points = []
    for target in snapshot.targets:
        count = sum(target.durations.values())
        shortest, longest = min(target.durations, default=0) / 1000, max(target.durations, default=0) / 1000
        points.append(
            HistogramDataPoint(
                attributes=_attributes(target, {}),
                start_time_unix_nano=start,
                time_unix_nano=taken,
                count=count,
                sum=operation_seconds(target.durations),
                bucket_counts=_per_bucket([at_or_below(target.durations, bound) for bound in DURATIONS], count),
                explicit_bounds=DURATIONS,
                min=shortest,
                max=longest,
            )
        )
    return Histogram(points, AggregationTemporality.CUMULATIVE)


def _per_bucket(reached: Sequence[int], count: int) -> list[int]:
    """From how many lie at or below each bound to how many lie between two of them."""
    return [high - low for low, high in zip([0, *reached], [*reached, count], strict=True)]
