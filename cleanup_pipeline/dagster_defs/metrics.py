"""Sending metrics by OTLP from the daemon, where the environment asks for it; without that there is nothing here."""

from functools import cache

import dagster as dg

from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.observability.otlp import configured, interval_seconds
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.observability.sending import send
from cleanup_pipeline.settings import Settings


def metrics_sensors(settings: Settings, prefix: str = "") -> list[dg.SensorDefinition]:
    """The sensor `push_metrics`, or none."""
    if not configured():
        return []

    @cache
    def reader_of(url: str) -> Reader:
        # What it has read stays with it from one tick to the next.
        return Reader(url, settings)

    @dg.sensor(
        name=f"{prefix}push_metrics",
        minimum_interval_seconds=max(1, round(interval_seconds())),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends the figures of the ledger to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names.",
    )
    def push_metrics(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        trouble = send(reader_of(ledger_url(context.instance)))
        if trouble:
            context.log.warning(trouble)
        return dg.SkipReason(trouble or "metrics were sent")

    return [push_metrics]
