"""`cleanup-pipeline history`: the last passes, from the ledger."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, known_pass, settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.model.words import StopReason


def history(
    pass_name: Annotated[
        str | None, typer.Argument(metavar="PASS", autocompletion=completing.passes, help="Only this pass.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, the newest first.")] = 20,
    since: Annotated[str | None, typer.Option("--since", metavar="DURATION", help="No older than, such as 7d.")] = None,
    settings_file: SettingsOption = None,
) -> None:
    """Show the last passes: how they ended, what they deleted, what was left.

    Kept apart from Dagster's runs, and there when those are deleted. `1,200 to 1,400` is what a pass deleted whose
    process was killed: between what it wrote down and what it had announced.

    \b
    Examples:
      cleanup-pipeline history
      cleanup-pipeline history sessions --since 7d
    """
    settings = settings_for(settings_file)
    name = known_pass(settings, pass_name) if pass_name else None
    try:
        begin = datetime.now(UTC) - parse_duration(since) if since else None
    except ValueError:
        raise UsageError(f"--since: found {since}, expected a duration such as 7d or 12h") from None
    from cleanup_pipeline.dagster_defs.closing import fail_lost_runs
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.resources import ledger_url
    from cleanup_pipeline.ledger import LedgerError, open_ledger

    with instance_at(dagster_home()) as instance:
        fail_lost_runs(instance)
        try:
            ledger = open_ledger(ledger_url(instance))
            rows = ledger.history(limit, name, begin)
            plans = ledger.plans.of_runs([row.run_id for row in rows])
            ledger.close()
        except LedgerError as fault:
            raise UsageError(str(fault)) from None
    if not rows:
        console().print("no pass is on record")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("started UTC", no_wrap=True, min_width=11)
    # Names that are too long for a narrow terminal go on below themselves: nothing is cut.
    table.add_column("pass", overflow="fold")
    if any(row.window for row in rows):
        table.add_column("window", overflow="fold")
    table.add_column("ended", no_wrap=True, min_width=9)
    table.add_column("deleted", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    # What other commands ask for.
    table.add_column("run", no_wrap=True, min_width=8)
    if plans:
        table.add_column("plan", no_wrap=True, min_width=10)
    for row in rows:
        most = "unknown" if row.at_most is None else f"{row.at_most:,}"
        lost = bool(row.reason and row.reason.startswith("lost"))
        table.add_row(
            f"{row.started_at:%m-%d %H:%M}",
            row.pass_name,
            *([row.window or ""] if any(each.window for each in rows) else ()),
            "lost" if lost else StopReason.BRAKED.value if row.only_braked else row.status or "running",
            f"{row.deleted:,}" if row.at_most == row.deleted else f"{row.deleted:,} to {most}",
            "" if row.dry_run or row.status is None else "unknown" if row.survivors is None else f"{row.survivors:,}",
            row.run_id[:8],
            *([plans.get(row.run_id, "")] if plans else ()),
        )
    console().print(table)
