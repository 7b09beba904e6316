"""`cleanup-pipeline alerts`: what is wrong now, and what was lately."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.model.alert import AlertState, Condition
from cleanup_pipeline.observability.words import span

if TYPE_CHECKING:
    from cleanup_pipeline.ledger.alerting import AlertRow

LATELY = timedelta(days=7)


def alerts(
    everything: Annotated[bool, typer.Option("--all", help="All that is on record, and what is not known.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Show which alerts fire, and which did in the last seven days.

    The figures are looked at anew, by the settings of this command. An alert is put on record, and told, by the daemon
    of `cleanup-pipeline up`, every minute. Exits with 0, whatever fires.

    \b
    Examples:
      cleanup-pipeline alerts
      cleanup-pipeline alerts --all --json
    """
    settings = settings_for(settings_file)
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.resources import ledger_url
    from cleanup_pipeline.ledger import LedgerError, open_ledger
    from cleanup_pipeline.observability.alerts import judge, read_figures

    now = datetime.now(UTC)
    with instance_at(dagster_home()) as instance:
        try:
            ledger = open_ledger(ledger_url(instance))
            conditions = judge(read_figures(ledger, settings, now), settings.alerts, now)
            rows = ledger.alerts(None if everything else now - LATELY)
            ledger.close()
        except LedgerError as fault:
            raise UsageError(str(fault)) from None
    if as_json:
        typer.echo(json.dumps(_as_json(conditions, rows), indent=2))
        return
    if not settings.alerts.enabled:
        console().print("alerts are switched off (alerts.enabled: false)")
    _show(conditions, rows, everything, now)


def _show(conditions: Sequence[Condition], rows: "Sequence[AlertRow]", everything: bool, now: datetime) -> None:
    out = console()
    opened = {(row.name, row.subject): row for row in rows if row.ended_at is None}
    firing = [each for each in conditions if each.state is AlertState.FIRING]
    states = {(each.name, each.subject): each.state for each in conditions}
    rest = [row for key, row in opened.items() if states.get(key) is not AlertState.FIRING]
    if firing or rest:
        table = Table("firing", "since (UTC)", "", box=None, pad_edge=False, header_style="bold")
        for each in firing:
            row = opened.get((each.name, each.subject))
            since = f"{row.started_at:%m-%d %H:%M}" if row else "not on record"
            table.add_row(each.name, since, each.summary, style="red" if each.severity == "critical" else "yellow")
        for row in rest:
            unknown = states.get((row.name, row.subject)) is AlertState.UNKNOWN
            remark = "unknown now" if unknown else "not any more; the daemon has yet to look"
            table.add_row(row.name, f"{row.started_at:%m-%d %H:%M}", f"{row.summary} ({remark})", style="dim")
        out.print(table)
    else:
        out.print("nothing fires")
    over = [row for row in rows if row.ended_at is not None]
    if over:
        out.print()
        table = Table("over", "since (UTC)", "lasted", "", box=None, pad_edge=False, header_style="bold")
        for row in reversed(over):
            lasted = span((row.ended_at or now) - row.started_at)
            table.add_row(row.name, f"{row.started_at:%m-%d %H:%M}", lasted, row.summary)
        out.print(table)
    not_known = [f"{each.name} {each.subject}" for each in conditions if each.state is AlertState.UNKNOWN]
    if everything and not_known:
        out.print()
        out.print(f"not known: {', '.join(not_known)}", markup=False)


def _as_json(conditions: Sequence[Condition], rows: "Sequence[AlertRow]") -> dict[str, Any]:
    return {
        "now": [{**asdict(each), "state": str(each.state), "severity": str(each.severity)} for each in conditions],
        "record": [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(row).items()}
            for row in rows
        ],
    }
