"""What statistics are made of: the ledger's figures by day, read once, and how they are grouped.

Days are those of UTC, because the ledger's are. `every` cuts them into periods: a `day`, a `week` (from Monday), a
`month`, or `all` of the time in one, whose period is its first day. `by` groups them: `target`, `kind`, `store`,
`pass`, or `all` in one group named `all`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, get_args

import pandas as pd

from cleanup_pipeline.ledger import DayRow, Ledger

Every = Literal["day", "week", "month", "all"]
By = Literal["target", "kind", "store", "pass", "all"]
EVERY: tuple[Every, ...] = get_args(Every)
BY: tuple[By, ...] = get_args(By)

LOOK_BACK = timedelta(days=7)
"""How long before the period a target's last report may lie, for its backlog to be that at the period's start."""
ALL = "all"

_COLUMNS = {
    "day": "datetime64[s]",
    "pass": "string",
    "target": "string",
    "store": "string",
    "kind": "string",
    "operations": "int64",
    "failed": "int64",
    "shards": "int64",
    "shards_failed": "int64",
    "deleted": "int64",
    "at_most": "Int64",
    "children": "int64",
    "repaired": "int64",
    "bytes_freed": "Int64",
    "seconds": "float64",
}
_UNIT = {"week": "W-SUN", "month": "M"}


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a period, read once; every function of this package takes them in place of a ledger."""

    since: date
    until: date
    """The last day, included."""
    operations: tuple[DayRow, ...]
    """A row a day, pass, target, store and kind."""
    passes: tuple[DayRow, ...]
    """A row a day and pass."""
    before: tuple[DayRow, ...]
    """Operations of the days just before the period: only to know the backlog at its start."""
    frame: pd.DataFrame = field(repr=False, compare=False)
    """The columns of `operations` that can be added up."""


Source = Ledger | Figures


def read_figures(source: Source, since: date | None = None, until: date | None = None) -> Figures:
    """The figures from `since` (the first day there is) to `until` (today), both included. Figures stay as they are.

    Raises LedgerError, and ValueError when the period ends before it begins.
    """
    if isinstance(source, Figures):
        return source
    until = until or datetime.now(UTC).date()
    if since is not None and since > until:
        raise ValueError(f"the period ends before it begins: {since} to {until}")
    rows = source.days(None if since is None else since - LOOK_BACK, until)
    first = since or min((row.day for row in rows), default=until)
    inside = [row for row in rows if row.day >= first]
    operations = tuple(row for row in inside if row.target)
    return Figures(
        since=first,
        until=until,
        operations=operations,
        frame=_frame(operations),
        passes=tuple(row for row in inside if not row.target),
        before=tuple(row for row in rows if row.day < first and row.target),
    )


def grouped(figures: Figures, *, every: Every, by: By) -> Any:
    """The figures of operations by `period` and `group`."""
    frame = figures.frame
    period = periods(frame["day"], every, figures.since).rename("period")
    group = frame[by] if by != ALL else pd.Series(ALL, index=frame.index, dtype="string")
    return frame.groupby([period, group.rename("group")])


def _frame(rows: Iterable[DayRow]) -> pd.DataFrame:
    cells = [
        (
            *(row.day, row.pass_name, row.target, row.store, row.kind, row.passes, row.failed, row.shards),
            *(row.shards_failed, row.deleted, row.at_most, row.children, row.repaired, row.bytes_freed, row.seconds),
        )
        for row in rows
    ]
    return pd.DataFrame(cells, columns=list(_COLUMNS)).astype(_COLUMNS)


def periods(days: "pd.Series[Any]", every: Every, since: date) -> "pd.Series[Any]":
    """The first day of the period that each day belongs to."""
    if every == "day":
        return days
    if every == ALL:
        return pd.Series(pd.Timestamp(since), index=days.index, dtype="datetime64[s]")
    starts: pd.Series[Any] = days.dt.to_period(_UNIT[every]).dt.start_time
    return starts.astype("datetime64[s]")


def period_of(day: date, every: Every, since: date) -> date:
    """The same for one day."""
    match every:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "all":
            return since
        case _:
            return day


def group_of(row: DayRow, by: By) -> str:
    """The group that a row belongs to."""
    match by:
        case "target":
            return row.target
        case "kind":
            return row.kind
        case "store":
            return row.store
        case "pass":
            return row.pass_name
        case _:
            return ALL


def unknown_if_any(groups: Any, name: str) -> "pd.Series[Any]":
    """The sum of a column by group; unknown where any part of it is."""
    unknown = groups[name].count() < groups[name].size()
    total: pd.Series[Any] = groups[name].sum().astype("Int64")
    return total.mask(unknown)


def share(part: "pd.Series[Any]", whole: "pd.Series[Any]") -> "pd.Series[Any]":
    """One by the other, unknown where the other is nothing."""
    return (part / whole.where(whole > 0)).astype("Float64")


def table(rows: Sequence[Sequence[object]], columns: dict[str, str]) -> pd.DataFrame:
    """Rows as a frame of exactly these columns and types, also of none."""
    return pd.DataFrame(list(rows), columns=list(columns)).astype(columns)
