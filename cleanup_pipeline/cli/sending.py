"""Sending metrics by OTLP at the end of a command, where the environment asks for it."""

from typing import TYPE_CHECKING

from cleanup_pipeline.cli.home import dagster_home
from cleanup_pipeline.cli.show import complain
from cleanup_pipeline.observability.otlp import configured
from cleanup_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


def send_metrics(settings: Settings, instance: "dg.DagsterInstance") -> None:
    """Send what the ledger beside `instance` says. What goes wrong is said, and no reason to fail."""
    if not configured():
        return
    from cleanup_pipeline.dagster_defs.resources import ledger_url
    from cleanup_pipeline.observability.sending import send_once

    trouble = send_once(ledger_url(instance), settings)
    if trouble:
        complain(trouble)


def send_metrics_from_home(settings: Settings) -> None:
    """The same for a command that has no instance open."""
    if not configured():
        return
    from cleanup_pipeline.dagster_defs.launch import instance_at

    with instance_at(dagster_home()) as instance:
        send_metrics(settings, instance)
