"""`cleanup-pipeline notifications`: what was sent, what could not be, and whether it would get there."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.settings import Settings

if TYPE_CHECKING:
    from cleanup_pipeline.ledger.outbox import Kept, Outbox


def notifications(
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were given up.")] = False,
    retry: Annotated[
        str | None,
        typer.Option("--retry", metavar="ID", help="Send this one again that was given up."),
    ] = None,
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Send all that were given up again.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Send a test to each channel, now.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, the newest first.")] = 20,
    settings_file: SettingsOption = None,
) -> None:
    """Show the last notifications and what became of them.

    The daemon of `cleanup-pipeline up` sends them, every minute. Exits with 1 when a test did not arrive.

    \b
    Examples:
      cleanup-pipeline notifications --test
      cleanup-pipeline notifications --dead
      cleanup-pipeline notifications --retry-dead
    """
    if sum((dead, retry is not None, retry_dead, test)) > 1:
        raise UsageError("--dead, --retry, --retry-dead and --test: one at a time")
    settings = settings_for(settings_file)
    if test:
        _test(settings)
        return
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.resources import ledger_url
    from cleanup_pipeline.ledger import LedgerError, open_ledger

    with instance_at(dagster_home()) as instance:
        try:
            ledger = open_ledger(ledger_url(instance))
            try:
                if retry is not None or retry_dead:
                    _retry(ledger.outbox, retry)
                else:
                    _show(ledger.outbox.kept(limit=limit, dead=dead), settings, dead=dead)
            finally:
                ledger.close()
        except LedgerError as fault:
            raise UsageError(str(fault)) from None


def _test(settings: Settings) -> None:
    from cleanup_pipeline.observability.notifications import of_test, send_once

    channels = settings.notifications.channels
    if not channels:
        raise UsageError("--test: there is no channel; set CLEANUP_NOTIFY_URL, or write notifications.channels")
    failures = send_once([of_test(each, datetime.now(UTC)) for each in channels.values()], channels)
    for name, channel in channels.items():
        if name in failures:
            complain(f"{name} ({channel.type}): {failures[name].reason}")
        else:
            console().print(f"{name} ({channel.type}): delivered", markup=False)
    if failures:
        raise typer.Exit(1)


def _retry(outbox: "Outbox", prefix: str | None) -> None:
    count = outbox.retry(datetime.now(UTC), prefix)
    if prefix is not None and count == 0:
        raise UsageError(f"--retry: no message that was given up begins with {prefix[:40]}")
    console().print(f"{count} message{'s' if count != 1 else ''} will be sent again by the daemon")


def _show(messages: "Sequence[Kept]", settings: Settings, *, dead: bool) -> None:
    out = console()
    if not settings.notifications.channels:
        out.print("there is no channel: nobody is told (set CLEANUP_NOTIFY_URL, or write notifications.channels)")
    if not messages:
        out.print("no message was given up" if dead else "no message is on record")
        return
    table = Table("put (UTC)", "channel", "state", box=None, pad_edge=False, header_style="bold")
    table.add_column("tries", justify="right")
    table.add_column("what", overflow="fold")
    table.add_column("id", no_wrap=True)
    for each in messages:
        title = str(each.body.get("title", each.event))
        what = f"{title} ({each.error})" if each.error else title
        table.add_row(
            f"{each.created_at:%m-%d %H:%M}", each.channel, each.state, str(each.attempts), what, each.id[:12]
        )
    out.print(table)
