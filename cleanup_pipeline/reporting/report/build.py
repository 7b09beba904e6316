"""A report from the ledger: the statistics of a period, and what is last known of each target."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd

from cleanup_pipeline import __version__
from cleanup_pipeline.ledger import DayRow, Ledger
from cleanup_pipeline.ledger.latest import State, failures, latest_states
from cleanup_pipeline.ledger.words import UNDONE
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.reporting.report.document import (
    NOTHING,
    FailureLine,
    Group,
    Left,
    Line,
    Outlook,
    PassState,
    Report,
    TargetState,
)
from cleanup_pipeline.reporting.statistics import (
    By,
    Every,
    Figures,
    backlog,
    error_rate,
    forecast,
    keep_up,
    oldest_survivors,
    passes,
    read_figures,
    stop_reasons,
    volume,
)
from cleanup_pipeline.reporting.statistics.durations import Histograms, histograms, quantiles, together
from cleanup_pipeline.reporting.statistics.figures import ALL, share

MOST_FAILURES = 20
MOST_DAYS, MOST_WEEKS = 92, 2 * 366
"""Longer periods are cut into weeks, then months, unless somebody chose."""


def build_report(
    ledger: Ledger,
    since: date,
    until: date,
    *,
    by: By = "target",
    every: Every | None = None,
    now: datetime | None = None,
) -> Report:
    """The report of the UTC days from `since` to `until`, both included. `every` None: as fits the period's length.

    Raises LedgerError, and ValueError when the period ends before it begins.
    """
    now = now or datetime.now(UTC)
    figures = read_figures(ledger, since, until)
    every = every or _every(figures)
    end = min(now, datetime.combine(until + timedelta(days=1), time(), UTC))
    seen = {row["target"]: row for row in _records(oldest_survivors(ledger, end))}
    states = _target_states(ledger, figures, seen, end)
    ages = [state.oldest_survivor_seconds for state in states]
    known = [age for age in ages if age is not None]
    fine = histograms(figures, every=every, by=by)
    of_groups = together(fine, period=figures.since)
    groups = _groups(figures, by, of_groups)
    whole = _groups(figures, "all", together(of_groups, period=figures.since, group=ALL))
    failed_on = sorted({row.day for row in figures.operations if row.failed}, reverse=True)
    return Report(
        made_at=now,
        version=__version__,
        ledger=ledger.place.shown,
        since=figures.since,
        until=figures.until,
        every=every,
        by=by,
        total=next(iter(whole), _nothing(figures.since)),
        oldest_survivor_seconds=max(known, default=None),
        oldest_survivor_unknown=len(ages) - len(known),
        groups=tuple(groups),
        periods=tuple(_lines(figures, every, by, fine)),
        backlog=tuple(Left(row["day"], row["group"], row["backlog"]) for row in _records(backlog(figures, by="all"))),
        targets=tuple(states),
        passes=tuple(
            PassState(
                row["pass"],
                row["passes"],
                row["failed"],
                row["p50"],
                row["p95"],
                row["last_success"],
                dict(row["outcomes"]),
            )
            for row in _records(passes(figures))
        ),
        stop_reasons={row["reason"]: row["shards"] for row in _records(stop_reasons(figures, by="all"))},
        failures=tuple(
            FailureLine(failure.at, failure.target, failure.pass_name, failure.run_id, failure.error)
            for failure in failures(ledger, failed_on, MOST_FAILURES)
        ),
    )


def _every(figures: Figures) -> Every:
    days = (figures.until - figures.since).days + 1
    return "day" if days <= MOST_DAYS else "week" if days <= MOST_WEEKS else "month"


def _lines(figures: Figures, every: Every, by: By, parts: Histograms) -> Iterator[Line]:
    keys = ["period", "group"]
    failed = error_rate(figures, every=every, by=by).rename(columns={"share": "failed_share"})
    took = quantiles(parts).drop(columns=["operations", "longest"])
    took = took.rename(columns={"p50": "p50_seconds", "p95": "p95_seconds"})
    of = volume(figures, every=every, by=by)
    of = of.assign(per_second=share(of["deleted"], of["seconds"]))
    of = of.merge(failed, on=keys, how="left").merge(took, on=keys, how="left")
    for row in _records(of):
        yield Line(**row)


def _groups(figures: Figures, by: By, parts: Histograms) -> list[Group]:
    ahead = {row["group"]: row for row in _records(forecast(figures, by=by))}
    kept = {row["group"]: row for row in _records(keep_up(figures, by=by))}
    found = []
    for line in _lines(figures, "all", by, parts):
        coming, keeping = ahead.get(line.group, {}), kept.get(line.group, {})
        outlook = Outlook(
            backlog=coming.get("backlog"),
            per_day=coming.get("per_day"),
            gone_on=coming.get("gone_on"),
            expired=keeping.get("expired"),
            keep_up=keeping.get("ratio"),
            counted_from=keeping.get("counted_from"),
        )
        found.append(Group(line, outlook))
    return found


def _nothing(since: date) -> Group:
    return Group(Line(since, "all", 0, 0, 0, 0, None, 0.0, None, 0, 0, None, None, None), NOTHING)


def _target_states(
    ledger: Ledger, figures: Figures, seen: dict[str, dict[str, Any]], end: datetime
) -> list[TargetState]:
    start = datetime.combine(figures.since, time(), UTC)
    states = {state.target: state for state in latest_states(ledger, start, end)}
    rows: dict[str, DayRow] = {row.target: row for row in figures.operations}
    last: dict[str, datetime] = {}
    for row in figures.operations:
        if row.last_success is not None:
            last[row.target] = max(last.get(row.target, row.last_success), row.last_success)
    found = []
    for name in sorted(states.keys() | rows.keys()):
        state, check = states.get(name), seen.get(name, {})
        word, detail = _state(state)
        of = state or rows[name]
        found.append(
            TargetState(
                target=name,
                store=of.store,
                kind=of.kind,
                pass_name=of.pass_name,
                state=word,
                detail=detail,
                stop_reason=state.stop_reason if state else None,
                reported_at=state.reported_at if state else None,
                last_success=last.get(name),
                survivors=of.survivors,
                oldest_survivor_seconds=check.get("age_seconds"),
                checked_at=check.get("checked_at"),
            )
        )
    return found


def _state(state: State | None) -> tuple[str, str | None]:
    if state is None:
        return "unknown", None
    if state.error is not None:
        return "failed", state.error
    if state.stop_reason == StopReason.SKIPPED:
        return "skipped", state.skipped
    return ("dry run", None) if state.dry_run or state.stop_reason in UNDONE else ("clean", None)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows with Python's own values: None for what is unknown, a date for a day."""
    columns = {str(name): [_plain(value) for value in frame[name].astype(object)] for name in frame}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.date() if value.tzinfo is None else value.to_pydatetime()
    return value.item() if hasattr(value, "item") else value
