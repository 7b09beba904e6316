"""`cleanup-pipeline plans`: what was planned, the newest first."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from cleanup_pipeline.cli.plan_records import document, ledger, total_expired
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.reporting.words import number

_BESIDE = 56
"""Columns that a row takes without its targets."""


def plans(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, the newest first.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="Those of passes as well, which carried them out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """List the plans on record, and whether they can be applied.

    A plan is open until it is applied, once, or void, as it is too old. They are
    kept for 30 days.

    \b
    Examples:
      cleanup-pipeline plans
      cleanup-pipeline plans --all --limit 5
    """
    now = datetime.now(UTC)
    with ledger(usage=True) as opened:
        rows = opened.plans.newest(limit, by_hand=not everything)
    if as_json:
        typer.echo(json.dumps({"plans": [document(row, now, whole=False) for row in rows]}))
        return
    if not rows:
        console().print("no plan is on record; `cleanup-pipeline plan` makes one")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in (("plan", 10), ("made (UTC)", 14), ("state", 15)):
        table.add_column(column, no_wrap=True, min_width=width)
    table.add_column("expired", justify="right", no_wrap=True, min_width=9)
    table.add_column("targets", overflow="fold")
    out = console()
    for row in rows:
        names = _as_many_as_fit([each.target for each in row.targets], out.width - _BESIDE)
        state = row.state(now)
        table.add_row(row.id, f"{row.made_at:%m-%d %H:%M:%S}", state, number(total_expired(row.targets)), names)
    out.print(table)


def _as_many_as_fit(names: Sequence[str], room: int) -> str:
    """The first names, whole, and how many more there are."""
    for many in range(len(names), 1, -1):
        more = f" and {len(names) - many} more" if many < len(names) else ""
        text = ", ".join(names[:many]) + more
        if len(text) <= room:
            return text
    return ", ".join(names[:1]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
