"""A report on a terminal: tables that fit 80 columns, plain text in a pipe."""

import io
from collections.abc import Set

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cleanup_pipeline.reporting.report.document import Report
from cleanup_pipeline.reporting.report.words import headline, outlook, percent, rate, removed, span
from cleanup_pipeline.reporting.words import UNKNOWN, number

MOST_PERIODS = 40
_ANY = 10_000
_COLOURS = {"clean": "green", "failed": "red", "dry run": "cyan", "skipped": "yellow"}


def as_text(report: Report) -> str:
    """The same for a file."""
    out = Console(file=io.StringIO(), width=120, color_system=None, highlight=False)
    show(out, report)
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    return text


def show(out: Console, report: Report) -> None:
    """All of it."""
    out.print(f"[bold]Cleanup[/bold] {report.since} to {report.until}, days in UTC")
    for name, value, note in headline(report):
        out.print(f"  {name:<16}[bold]{value:>12}[/bold]  {note}")
    _section(out, "")
    _print(
        out, _groups(report, _WHOLE), *(_groups(report, _WHOLE - set(_SPARE[:n])) for n in range(1, len(_SPARE) + 1))
    )
    for group in report.groups:
        if group.outlook.backlog:
            out.print(_plain(f"  {group.line.group}: {number(group.outlook.backlog)} left, {outlook(group.outlook)}"))
    _periods(out, report)
    _targets(out, report)
    if report.stop_reasons:
        reasons = ", ".join(f"{reason} {number(count)}" for reason, count in report.stop_reasons.items())
        _section(out, "why shards ended")
        out.print(_plain(f"  {reasons}"))
    if report.failures:
        _section(out, f"what went wrong, the newest {len(report.failures)}")
        for failure in report.failures:
            out.print(_plain(f"  {failure.at:%m-%d %H:%M}  run {failure.run_id[:8]}  {failure.error}"))


_SPARE = ("p50", "p95", "rate", "kept up")
"""Columns that a narrow terminal does without, in this order."""
_WHOLE = frozenset({"removed", "failed", "backlog", *_SPARE})


def _groups(report: Report, wanted: Set[str]) -> Table:
    rows = [
        {
            "removed": removed(group.line.deleted, group.line.at_most),
            "rate": rate(group.line.per_second),
            "failed": percent(group.line.failed_share),
            "p50": span(group.line.p50_seconds),
            "p95": span(group.line.p95_seconds),
            "backlog": number(group.outlook.backlog),
            "kept up": percent(group.outlook.keep_up),
        }
        for group in report.groups
    ]
    names = [name for name in rows[0] if name in wanted] if rows else []
    table = _table(report.by, *names)
    for group, row in zip(report.groups, rows, strict=True):
        table.add_row(_plain(group.line.group), *(row[name] for name in names))
    return table


def _periods(out: Console, report: Report) -> None:
    total: dict[object, list[int | None]] = {}
    for line in report.periods:
        of = total.setdefault(line.period, [0, 0, 0, 0])
        for place, value in enumerate((line.deleted, line.at_most, line.operations, line.failed)):
            before = of[place]
            of[place] = None if value is None or before is None else before + value
    if len(total) < 2:
        return
    _section(out, f"by {report.every}" + (f", the last {MOST_PERIODS}" if len(total) > MOST_PERIODS else ""))
    table = _table(report.every, "removed", "operations", "failed", "")
    rows = list(total.items())[-MOST_PERIODS:]
    highest = max(of[0] or 0 for _, of in rows) or 1
    for period, (deleted, at_most, operations, failed) in rows:
        bar = "█" * round((deleted or 0) / highest * 20)
        table.add_row(str(period), removed(deleted or 0, at_most), number(operations), number(failed), bar)
    table.columns[-1].justify = "left"
    _print(out, table)


def _targets(out: Console, report: Report) -> None:
    _section(out, "targets, as last known")
    table = _table("target", "state", "last success", "left", "oldest survivor")
    for target in report.targets:
        done = f"{target.last_success:%m-%d %H:%M}" if target.last_success else UNKNOWN
        table.add_row(
            _plain(target.target),
            Text(target.state, style=_COLOURS.get(target.state, "")),
            done,
            number(target.survivors),
            span(target.oldest_survivor_seconds),
        )
    _print(out, table)


def _section(out: Console, title: str) -> None:
    out.print()
    if title:
        out.print(f"[bold]{title}[/bold]")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold", min_width=10)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _print(out: Console, *tables: Table) -> None:
    """The first table that fits; in a pipe lines may be as long as they are."""
    widths = [out.measure(table, options=out.options.update(width=_ANY)).maximum for table in tables]
    if not out.is_terminal:
        out.print(tables[0], width=max(out.width, widths[0]), crop=False)
        return
    fits = (table for table, width in zip(tables, widths, strict=True) if width <= out.width)
    out.print(next(fits, tables[-1]))


def _plain(words: str) -> Text:
    """Without what a terminal would take for a command."""
    return Text("".join(c if c.isprintable() else "?" for c in words))
