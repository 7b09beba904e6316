"""`cleanup-pipeline prune-history`: bounds what the product writes about itself."""

from typing import Annotated

import typer
from rich.table import Table

from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.model.durations import format_duration


def prune_history(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count; remove nothing.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Remove what is older than `history` in the settings keeps.

    Passes of the ledger become rows by day, so that no total changes. Dagster's runs go with their event logs and
    files; what passes did stays on the assets' pages. The daemon does it once a day.

    \b
    Examples:
      cleanup-pipeline prune-history --dry-run
    """
    settings = settings_for(settings_file)
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.pruning import prune

    history = settings.history
    with instance_at(dagster_home(), output=True) as instance:
        removed = prune(instance, history, dry_run=dry_run, step_storage=settings.execution.step_storage)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("older than", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("would go" if dry_run else "removed", justify="right", no_wrap=True)
    keep, runs, events = (format_duration(each) for each in (history.keep, history.keep_runs, history.keep_events))
    for kept, what, count in (
        (keep, "passes of the ledger, folded into days", removed.passes),
        (keep, "their shards", removed.shards),
        (keep, "judgements, alerts, messages", removed.watched),
        (runs, "runs of Dagster, with their files", removed.runs),
        (events, "events of assets", removed.events),
        (events, "results of asset checks", removed.checks),
    ):
        table.add_row(kept, what, "unknown" if count is None else f"{count:,}")
    console().print(table)
    if removed.more_runs:
        console().print("more runs are as old; the next call goes on")
    for fault in removed.faults:
        complain(fault)
    if removed.faults:
        raise typer.Exit(1)
