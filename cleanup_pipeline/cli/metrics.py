"""`cleanup-pipeline metrics`: figures of the ledger for Prometheus, and by OTLP where the environment asks for it."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.cli.stopping import Stopped
from cleanup_pipeline.ledger import LedgerError
from cleanup_pipeline.observability.otlp import configured, interval_seconds
from cleanup_pipeline.observability.prometheus import LedgerCollector
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.observability.sending import send
from cleanup_pipeline.observability.snapshot import Snapshot

PORT = 9464
"""The port that OpenTelemetry's specification gives to Prometheus exporters."""
SEAL_SECONDS = 3600.0


def metrics(
    host: Annotated[str, typer.Option(help="Address to listen on. Anybody who reaches it may read.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = PORT,
    once: Annotated[bool, typer.Option("--once", help="Print the metrics and exit.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Serve what the ledger knows to Prometheus, at /metrics; Ctrl-C stops it.

    Counters are sums over the whole ledger, so they do not begin anew when a worker or this program does. A ledger
    that is away shows as `cleanup_ledger_up 0`. Where OTEL_EXPORTER_OTLP_ENDPOINT is set, the metrics are sent there,
    too. docs/metrics.md names them all.

    \b
    Examples:
      cleanup-pipeline metrics
      cleanup-pipeline metrics --host 0.0.0.0 --port 9100
      cleanup-pipeline metrics --once | grep deleted
    """
    settings = settings_for(settings_file)
    reader = _Told(ledger_url(), settings)
    try:
        if once:
            _print_once(reader)
        else:
            _serve(reader, host, port)
    finally:
        reader.close()


class _Told(Reader):
    """Says on stderr when the ledger goes away, and when it is back."""

    trouble: str | None = None

    def read(self) -> Snapshot:
        try:
            found = super().read()
        except LedgerError as fault:
            if self.trouble != str(fault):
                complain(str(fault))
            self.trouble = str(fault)
            raise
        if self.trouble is not None:
            complain("the ledger is back")
        self.trouble = None
        return found


def _print_once(reader: _Told) -> None:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(reader.read))
    typer.echo(generate_latest(registry).decode(), nl=False)
    if reader.trouble is None and configured():
        trouble = send(reader)
        if trouble:
            complain(trouble)
    if reader.trouble is not None:
        raise typer.Exit(1)


def _serve(reader: _Told, host: str, port: int) -> None:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(reader.read, datetime.now(UTC)))
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as fault:
        told = f"--host, --port: cannot listen on {host}:{port} ({fault.strerror or fault}); name another"
        raise UsageError(told) from None
    out = console()
    try:
        out.print(f"metrics: http://{host}:{server.server_port}/metrics", markup=False)
        if configured():
            out.print(f"and by OTLP every {interval_seconds():g} s", markup=False)
        out.print("Ctrl-C stops it.")
        _keep_on(reader)
    except Stopped:
        out.print("stopping")
    finally:
        server.shutdown()
        server.server_close()


def _keep_on(reader: _Told) -> None:
    """Send, if it is asked for, and seal days so that they are read at once, until the program is stopped."""
    sending = configured()
    told: str | None = None
    seal_at = 0.0
    while True:
        if sending:
            trouble = send(reader)
            if trouble and trouble != told and reader.trouble is None:
                complain(trouble)
            told = trouble
        if time.monotonic() >= seal_at:
            _seal(reader)
            seal_at = time.monotonic() + SEAL_SECONDS
        time.sleep(interval_seconds() if sending else SEAL_SECONDS)


def _seal(reader: _Told) -> None:
    try:
        reader.seal()
    except LedgerError:
        # Only a matter of speed; whoever asks for metrics is told what is wrong.
        return
