"""How reports look on a terminal: tables that fit 80 columns, plain text in a pipe."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cleanup_pipeline.engine.forecast import RUN_SECONDS, Forecast
from cleanup_pipeline.engine.scan import NOT_APPROVED, ONLY_REPORTS
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.words import PassStatus, Severity, StopReason
from cleanup_pipeline.reporting.words import UNKNOWN, age, number, outcome_words, seconds

MOST_ROWS = 50
"""Windows that a forecast lists one by one."""
_COLOURS = {
    PassStatus.SUCCEEDED: "green",
    PassStatus.DRY_RUN: "cyan",
    PassStatus.SKIPPED: "yellow",
    PassStatus.PARTIAL: "red",
    PassStatus.FAILED: "red",
}


def console() -> Console:
    """Stdout: colours and bold on a terminal only, and not against NO_COLOR."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), color_system=colours())


def colours() -> Literal["auto"] | None:
    """What rich may use: None is no bold either, which its own reading of NO_COLOR leaves."""
    return None if os.environ.get("NO_COLOR") else "auto"


def complain(message: str) -> None:
    """An error, on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True, color_system=colours()).print(
        message, style="red", markup=False
    )


def show_report(out: Console, report: PassReport) -> None:
    """What a pass did: a line a target, then whatever needs a sentence."""
    colour = _COLOURS[report.status]
    out.print(f"[bold]{report.pass_name}[/bold]: [{colour}]{_ended(report)}[/{colour}] in {seconds(report.seconds)}")
    if report.reason:
        out.print(f"  {report.reason}", markup=False)
    if not report.targets:
        return
    table = _table("target", "expired", "deleted", "left", "live", "no expiry", "unreadable")
    for target in report.targets:
        if target.stop_reason is StopReason.SKIPPED:
            continue
        table.add_row(
            target.target,
            number(target.expired_found),
            "0" if target.stop_reason is StopReason.DRY_RUN else number(target.deleted),
            number(target.survivors),
            number(target.kept_live),
            number(target.without_expiry),
            number(target.unparsable),
            style="red" if target.red else None,
        )
    if table.row_count:
        out.print(table)
    for target in report.targets:
        _remarks(out, target)


def _ended(report: PassReport) -> str:
    """Its status, for a person: what waits for one is told from what failed."""
    return str(StopReason.BRAKED if report.only_braked else report.status)


def _remarks(out: Console, target: TargetReport) -> None:
    if target.error:
        out.print(f"  [red]✗[/red] {escape(target.error)}")
    elif target.stop_reason is StopReason.SKIPPED:
        out.print(f"  {target.target}: {outcome_words(target)}", markup=False)
    if target.children:
        out.print(f"  {target.target}: {number(target.children)} rows that referred to them went too", markup=False)
    if target.repaired:
        out.print(f"  {target.target}: {_with_ttl(target.repaired)}", markup=False)
    if target.members is not None:
        out.print(f"  {target.target}: {target.members}", markup=False)
    for finding in target.findings:
        if finding.severity is not Severity.INFO or finding.what in {NOT_APPROVED, ONLY_REPORTS}:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            out.print(f"  {target.target}: {finding.what}{remedy}", markup=False)


def _with_ttl(count: int) -> str:
    if count == 1:
        return "1 live record got its lost TTL back"
    return f"{number(count)} live records got their lost TTL back"


def _shards(count: int) -> str:
    return "1 shard" if count == 1 else f"{count} shards"


def show_plan(out: Console, plan: Plan) -> None:
    """What a pass would do to one target."""
    if plan.skipped:
        out.print(f"[bold]{plan.target}[/bold]: skipped, {escape(plan.skipped)}")
        return
    census = plan.census
    out.print(f"[bold]{plan.target}[/bold] ({plan.kind} in {plan.store}, {plan.store_type})")
    oldest = age(census.oldest_expired, plan.cutoff)
    kept = (number(census.live), number(census.without_expiry), number(census.unparsable))
    lines = [
        ("expired", f"{number(census.expired)}, the oldest {oldest} before the cutoff"),
        ("kept", "{} live, {} without expiry, {} unreadable".format(*kept)),
        ("cutoff", f"{plan.cutoff:%Y-%m-%d %H:%M:%S} UTC, by the store's clock"),
        ("how", f"{plan.work.strategy} in {_shards(len(plan.work.shards))}: {plan.work.why}"),
    ]
    lines += [("brake", f"{brake.name}: {brake.what}; {brake.remedy}") for brake in plan.brakes if plan.braked]
    if plan.braked:
        lines.append(("braked", f"a pass deletes nothing here before `release-brake {plan.target}`, or it is over"))
    if not census.exact:
        lines.append(("count", "not finished within census_timeout; a dash is unknown, other figures are lower bounds"))
    lines += [(str(f.severity), f"{f.what}; {f.remedy}" if f.remedy else f.what) for f in plan.findings]
    for name, text in lines:
        labelled(out, name, text)


def labelled(out: Console, name: str, words: str) -> None:
    """A line of a plan, wrapped beside its label on a terminal, one line in a pipe."""
    if out.soft_wrap:
        out.print(f"  {name:<8} {words}", markup=False)
        return
    for number_, line in enumerate(Text(words).wrap(out, max(20, out.width - 11))):
        line.rstrip()
        out.print(Text.assemble(f"  {name if number_ == 0 else '':<8} ", line))


def show_census(out: Console, plans: Sequence[Plan]) -> None:
    """What is in the stores: a line a target."""
    table = _table("target", "store", "expired", "live", "no expiry", "unreadable")
    for plan in plans:
        census = plan.census
        if plan.skipped is None:
            table.add_row(
                plan.target,
                str(plan.store_type),
                number(census.expired),
                number(census.live),
                number(census.without_expiry),
                number(census.unparsable),
            )
    out.print(table)


def show_forecast(out: Console, forecasts: Mapping[str, Forecast], parallel: int) -> None:
    """What is in each window, and how long deleting it may take; windows without a record only as a number."""
    total = sum(forecasts.values(), Forecast(0, seconds=0.0))
    listed = {key: one for key, one in forecasts.items() if one.records != 0 or one.fault}
    table = _table("window", "records", "about")
    for key, one in list(listed.items())[:MOST_ROWS]:
        table.add_row(key, _expected(one), _about(one.seconds))
    if len(listed) > MOST_ROWS:
        rest = sum(list(listed.values())[MOST_ROWS:], Forecast(0, seconds=0.0))
        table.add_row(f"{len(listed) - MOST_ROWS} more", _expected(rest), "")
    empty = len(forecasts) - len(listed)
    if empty:
        table.add_row(f"{empty} empty", "0", _about(empty * RUN_SECONDS))
    together = None if total.seconds is None else total.seconds / min(parallel, len(forecasts))
    table.add_row("all", _expected(total), _about(together), style="bold")
    out.print(table)
    for fault in {one.fault for one in forecasts.values() if one.fault}:
        out.print(f"  [red]✗[/red] {escape(fault)}")


def _about(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.0f} s" if value < 60 else seconds(value)


def _expected(one: Forecast) -> str:
    return f"{number(one.records)}{'+' if one.at_least else ''}"


def show_done(
    out: Console, key: str, report: PassReport | None, fault: str | None, silent: Collection[str] = ()
) -> None:
    """One window of a backfill, in a line, and one for each fault and each target that was left alone.

    `silent`: targets of which it is known.
    """
    if report is None:
        out.print(f"{key}  [red]lost[/red]  {escape(fault or '')}")
        return
    deleted = sum(target.deleted for target in report.targets)
    colour = _COLOURS[report.status]
    out.print(
        f"{key}  [{colour}]{_ended(report)}[/{colour}]  {number(deleted)} deleted in {seconds(report.seconds)}"
        + (f"  run {report.run_id[:8]}" if report.run_id and colour == "red" else "")
    )
    for target in report.targets:
        if target.error:
            out.print(f"  [red]✗[/red] {escape(target.error)}")
        elif target.stop_reason is StopReason.SKIPPED and target.target not in silent:
            out.print(f"  {target.target}: {outcome_words(target)}", markup=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold", min_width=12)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
