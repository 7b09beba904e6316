"""How a plan looks on a terminal, beside what `show_plan` says of it."""

from rich.console import Console
from rich.table import Table

from cleanup_pipeline.cli.show import labelled
from cleanup_pipeline.model.outline import Drift
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.reporting.plans import ages, clients_words, drift_rows, estimate_words, instant


def show_outline(out: Console, plan: Plan) -> None:
    """By age and client, how long it takes, and the records near the line."""
    if plan.skipped is not None:
        return
    lines: list[tuple[str, str]] = []
    outline = plan.outline
    if outline is not None and outline.bands and plan.census.expired:
        lines.append(("by age", ages(outline)))
    if outline is not None and outline.clients is not None:
        lines.append(("clients", clients_words(outline.clients)))
    if plan.estimate is not None:
        lines.append(("takes", estimate_words(plan.estimate)))
    if outline is not None:
        lines += [("not seen", note) for note in outline.notes]
    for name, text in lines:
        labelled(out, name, text)
    if outline is None or not outline.sample:
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("  near the line", no_wrap=True)
    table.add_column("record (hash)", no_wrap=True)
    table.add_column("dies (UTC)", no_wrap=True)
    if any(each.client for each in outline.sample):
        table.add_column("client", overflow="ellipsis", no_wrap=True)
    for each in outline.sample:
        cells = [f"  {each.why}", each.id, instant(each.dies)]
        table.add_row(*cells, *([each.client or ""] if len(table.columns) > len(cells) else []))
    out.print(table)


def show_drift(out: Console, drift: Drift, name: str | None = None) -> None:
    """What became of what was planned, before the deleting."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True, justify="right")
    for label, figure in drift_rows(drift):
        table.add_row(f"  {label}", figure)
    if name is not None:
        out.print(f"{name}: since the plan was made", markup=False)
    out.print(table)
    for note in drift.notes:
        out.print(f"  not known: {note}", markup=False)
