"""How a simulation is shown: a few lines, a table of what matters most, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cleanup_pipeline.cli.show import labelled
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.reporting.words import UNKNOWN
from cleanup_pipeline.reporting.words import seconds as seconds_words
from cleanup_pipeline.simulation.outcome import Outcome, Sample, StoreOutcome, TargetOutcome, Verdict
from cleanup_pipeline.simulation.recommend import Choice, best
from cleanup_pipeline.simulation.scenario import Scenario
from cleanup_pipeline.simulation.simulate import Single

ROWS = 8
"""Stores, and targets, that are listed one by one: the worst."""
BARS = 24
"""Looks at the backlog that a chart shows."""
WIDTH = 40
_COLOURS = {Verdict.KEEPS_UP: "green", Verdict.CATCHING_UP: "yellow", Verdict.FALLS_BEHIND: "red"}
_ORDER = list(reversed(list(Verdict)))


def show(out: Console, scenario: Scenario, outcome: Outcome, *, chart: bool = False) -> None:
    """What a simulation found."""
    what = f"{_several(len(outcome.targets), 'target')} in {_several(len(outcome.stores), 'store')}"
    out.print(Text.assemble((str(outcome.verdict), f"bold {_COLOURS[outcome.verdict]}"), f": {what}"))
    for name, text in _lines(scenario, outcome):
        labelled(out, name, text)
    _stores(out, outcome.stores)
    _targets(out, outcome.targets)
    if chart:
        _chart(out, scenario.start, outcome.samples)
    if outcome.assumed:
        out.print("Taken for granted, as nobody measured it:")
        for line in outcome.assumed[:ROWS]:
            _wrapped(out, line)
        if len(outcome.assumed) > ROWS:
            out.print(f"  and {len(outcome.assumed) - ROWS} more: --json")


def _lines(scenario: Scenario, outcome: Outcome) -> list[tuple[str, str]]:
    sooner = outcome.end < scenario.days * 86_400
    why = "; after that one day is like the other" if sooner else ""
    began = sum(each.backlog for each in scenario.targets)
    whose = "over all runs" if scenario.executor.shared else "a run"
    of_runs = f"{_several(outcome.runs, 'run')}, the longest {length(outcome.longest_run)}"
    if outcome.red:
        of_runs += f"; {outcome.red} left something"
    if outcome.skipped:
        of_runs += f"; {outcome.skipped} not begun, as the one before was not done"
    return [
        ("time", f"{length(outcome.end)} from {scenario.start:%Y-%m-%d %H:%M} UTC{why}"),
        ("backlog", f"{_whole(began)} at first, {_gone(outcome)}; {_whole(outcome.left)} at the end"),
        ("due", f"{_whole(outcome.due)} fell due, {_whole(outcome.removed)} were removed"),
        ("oldest", f"{length(outcome.oldest)} after it was due, at worst"),
        ("runs", of_runs),
        ("workers", f"{outcome.workers} {whose} ({scenario.executor.kind}), {outcome.used:.0%} of their time used"),
    ]


def _gone(outcome: Outcome) -> str:
    if outcome.gone is None:
        return "never gone"
    words = f"gone after {length(outcome.gone)}"
    return f"{words}, by its trend" if outcome.gone > outcome.end else words


def _stores(out: Console, stores: Sequence[StoreOutcome]) -> None:
    table = _table("store", "targets", "removed", "left", "oldest", "used", "at once", "gone after")
    for each in sorted(stores, key=lambda one: (_ORDER.index(one.verdict), -one.used))[:ROWS]:
        gone = UNKNOWN if each.gone is None else length(each.gone)
        table.add_row(
            *(each.name, f"{each.targets:,}", short(each.removed), short(each.left), length(each.oldest)),
            *(f"{each.used:.1%}", str(each.shards), gone),
            style=None if each.verdict is Verdict.KEEPS_UP else _COLOURS[each.verdict],
        )
    out.print(table)
    if len(stores) > ROWS:
        out.print(f"  and {len(stores) - ROWS} stores that are used less", style="dim")


def _targets(out: Console, targets: Sequence[TargetOutcome]) -> None:
    table = _table("target", "removed", "left", "oldest", "red", "slowest", "gone after")
    for each in sorted(targets, key=lambda one: (_ORDER.index(one.verdict), -one.oldest, one.name))[:ROWS]:
        gone = UNKNOWN if each.gone is None else length(each.gone)
        table.add_row(
            *(each.name, short(each.removed), short(each.left), length(each.oldest), f"{each.red}/{each.passes}"),
            *(f"{each.slowest * 1000:.1f} ms", gone),
            style=None if each.verdict is Verdict.KEEPS_UP else _COLOURS[each.verdict],
        )
    out.print(table)
    if len(targets) > ROWS:
        out.print(f"  and {len(targets) - ROWS:,} targets that are better off", style="dim")


def _chart(out: Console, start: datetime, samples: Sequence[Sample]) -> None:
    """Bars as long as the backlog, at even distances."""
    step = max(1, -(-len(samples) // BARS))
    shown = samples[::step]
    most = max((each.left for each in shown), default=0.0) or 1.0
    table = _table("when", "left", "oldest")
    table.add_column("")
    for each in shown:
        at = start + timedelta(seconds=each.at)
        bar = "▇" * max(1 if each.left >= 1 else 0, round(each.left / most * WIDTH))
        table.add_row(f"{at:%m-%d %H:%M}", short(each.left), length(each.oldest), Text(bar, style="cyan"))
    out.print(table)


def show_choices(out: Console, scenario: Scenario, found: Sequence[Choice]) -> None:
    """What was tried, and which of it to take."""
    out.print("The longest pause with which nothing gets older than two intervals and no run waits:")
    table = _table("workers", "batch", "pause", "verdict", "oldest", "gone after", "longest run")
    chosen = best(found)
    for each in found:
        outcome = each.outcome
        table.add_row(
            str(each.workers),
            "its own" if each.batch_size is None else str(each.batch_size),
            "none" if each.pause is None else pause_words(each.pause),
            str(outcome.verdict),
            length(outcome.oldest),
            UNKNOWN if outcome.gone is None else length(outcome.gone),
            length(outcome.longest_run),
            style="bold" if each is chosen else None,
        )
    out.print(table)
    out.print(advice(scenario, chosen), markup=False)


def advice(scenario: Scenario, chosen: Choice | None) -> str:
    """In a line, what to set."""
    if chosen is None or chosen.pause is None:
        return (
            "None of these keeps up: more stores, more workers, or shorter batches (an index on the expiry) are needed."
        )
    knob = "executor.workers" if scenario.executor.shared else "parallel"
    size = f", batch_size: {chosen.batch_size}" if chosen.batch_size else ""
    return f"Set pause: {pause_words(chosen.pause)}{size}, {knob}: {chosen.workers}"


def show_once(out: Console, scenario: Scenario, pass_name: str, single: Single) -> None:
    """What one run takes."""
    out.print(f"{pass_name}: {seconds_words(single.seconds)}, of it {seconds_words(single.deleting)} of deleting")
    left = f", {_whole(single.left)} left" if single.left else ""
    out.print(f"  {_whole(single.removed)} removed in {_several(single.batches, 'batch', 'batches')}{left}")
    for line in scenario.assumed:
        _wrapped(out, f"taken for granted: {line}")


def _wrapped(out: Console, words: str) -> None:
    if out.soft_wrap:
        out.print(f"  {words}", markup=False)
        return
    for number, line in enumerate(Text(words).wrap(out, max(20, out.width - 4))):
        line.rstrip()
        out.print(Text.assemble("    " if number else "  ", line))


def document(scenario: Scenario, outcome: Outcome, found: Sequence[Choice] | None) -> dict[str, Any]:
    """The outcome as JSON (docs/simulate.md). Seconds, records, shares from 0 to 1."""
    whole = _outcome(scenario.start, outcome)
    if found is not None:
        chosen = best(found)
        whole["choices"] = [_choice(scenario.start, each) for each in found]
        whole["recommended"] = None if chosen is None else _choice(scenario.start, chosen)
    return whole


def _outcome(start: datetime, outcome: Outcome) -> dict[str, Any]:
    figures = asdict(outcome)
    gone = None if outcome.gone is None else (start + timedelta(seconds=outcome.gone)).isoformat()
    return {**figures, "start": start.isoformat(), "keeps_up": outcome.keeps_up, "gone_at": gone}


def _choice(start: datetime, choice: Choice) -> dict[str, Any]:
    outcome = _outcome(start, choice.outcome)
    wanted = ("verdict", "keeps_up", "gone", "gone_at", "oldest", "left", "used", "longest_run", "skipped")
    return {
        "workers": choice.workers,
        "batch_size": choice.batch_size,
        "pause": choice.pause,
        **{name: outcome[name] for name in wanted},
        "busiest_store": max((each.used for each in choice.outcome.stores), default=0.0),
    }


def once_document(scenario: Scenario, pass_name: str, single: Single) -> dict[str, Any]:
    """One run as JSON."""
    return {"pass": pass_name, **asdict(single), "assumed": list(scenario.assumed)}


def length(seconds: float) -> str:
    """A time in its one or two largest units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if not hours:
        return f"{minutes} m {rest} s"
    days, of_day = divmod(hours, 24)
    if not days:
        return f"{hours} h {left} m"
    return f"{days:,} d {of_day} h" if days < 1000 else f"{days:,} d"


def pause_words(seconds: float) -> str:
    """As the settings have it."""
    return format_duration(timedelta(seconds=seconds)) if seconds else "0"


def short(number: float) -> str:
    """1234567 -> `1.23M`."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{number:,.0f}"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _several(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold", min_width=5)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
