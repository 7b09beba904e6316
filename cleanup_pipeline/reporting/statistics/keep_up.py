"""Whether cleaning keeps up with what expires."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date

import pandas as pd

from cleanup_pipeline.reporting.statistics.backlog import Left, last_reports
from cleanup_pipeline.reporting.statistics.figures import By, Source, group_of, read_figures, table


@dataclass(slots=True)
class _Sum:
    first: date
    deleted: int = 0
    at_most: int | None = 0
    growth: int | None = 0


def keep_up(source: Source, since: date | None = None, until: date | None = None, *, by: By = "target") -> pd.DataFrame:
    """How much of what expired was removed: expired = deleted + backlog at the end - backlog at the start.

    Counted from the first day whose start is known: of a target whose backlog before the period nobody knows, the day
    after its first known report. What others delete, such as a framework's own clean-up, never shows as expired.

    | column | dtype | meaning |
    |---|---|---|
    | group | string | |
    | counted_from | datetime64[s] | the first day that counts for all of the group, UTC; NaT: none does |
    | deleted | Int64 | records removed since then, at least |
    | at_most | Int64 | at most; NA: nobody knows |
    | expired | Int64 | records that expired since then, at least; NA: unknown |
    | ratio | Float64 | deleted / expired; 1 keeps up, less falls behind, more burns down a backlog; NA: unknown, or nothing expired |

    `ratio` is of the least that was deleted. Raises as `volume`.
    """  # noqa: E501
    figures = read_figures(source, since, until)
    before = last_reports(figures.before)
    inside = last_reports(figures.operations)
    belongs = {row.target: group_of(row, by) for row in figures.operations}
    sums: dict[str, _Sum] = {}
    unknown: defaultdict[str, int] = defaultdict(int)
    for target, group in sorted(belongs.items()):
        start = _start(before.get(target, []), inside.get(target, []), figures.since)
        if start is None:
            unknown[group] += 1
            continue
        first, at_start = start
        rows = [row for row in figures.operations if row.target == target and row.day >= first]
        end = next((left.survivors for left in reversed(inside.get(target, ()))), at_start)
        of = sums.setdefault(group, _Sum(first))
        of.first = max(of.first, first)
        of.deleted += sum(row.deleted for row in rows)
        known = None not in {row.at_most for row in rows} and of.at_most is not None
        of.at_most = (of.at_most or 0) + sum(row.at_most or 0 for row in rows) if known else None
        of.growth = None if end is None or of.growth is None else of.growth + end - at_start
    found: list[tuple[object, ...]] = []
    for group in sorted(set(belongs.values())):
        one = sums.get(group)
        if one is None or unknown[group]:
            found.append((group, None, None, None, None, None))
            continue
        expired = None if one.growth is None else one.deleted + one.growth
        ratio = one.deleted / expired if expired is not None and expired > 0 else None
        found.append((group, one.first, one.deleted, one.at_most, expired, ratio))
    return table(found, _COLUMNS)


def _start(before: list[Left], inside: list[Left], since: date) -> tuple[date, int] | None:
    """The first day that counts, and the backlog when it began."""
    if before and before[-1].survivors is not None:
        return since, before[-1].survivors
    for number, left in enumerate(inside):
        if left.survivors is not None:
            # Nothing after it: nothing to count yet.
            return (_next(left.day), left.survivors) if number + 1 < len(inside) else None
    return None


def _next(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


_COLUMNS = {
    "group": "string",
    "counted_from": "datetime64[s]",
    "deleted": "Int64",
    "at_most": "Int64",
    "expired": "Int64",
    "ratio": "Float64",
}
