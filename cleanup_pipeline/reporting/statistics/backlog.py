"""What is still to be removed, where that is going, and when it will be gone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import numpy as np
import pandas as pd

from cleanup_pipeline.ledger import DayRow
from cleanup_pipeline.reporting.statistics.figures import By, Figures, Source, group_of, read_figures, table

FEWEST_POINTS = 3
"""Days with a report below which a line through them says nothing."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Left:
    """What the last report of a target on some day left."""

    day: date
    survivors: int | None


def last_reports(rows: Iterable[DayRow]) -> dict[str, list[Left]]:
    """The last report of each target on each day that has one, by target, oldest first."""
    latest: dict[tuple[str, date], DayRow] = {}
    for row in rows:
        if row.reported_at is not None:
            key = (row.target, row.day)
            before = latest.get(key)
            if before is None or row.reported_at > (before.reported_at or _NEVER):
                latest[key] = row
    ordered = sorted(latest.items())
    return {
        target: [Left(day, row.survivors) for (_, day), row in of]
        for target, of in groupby(ordered, key=lambda item: item[0][0])
    }


def backlog(source: Source, since: date | None = None, until: date | None = None, *, by: By = "target") -> pd.DataFrame:
    """Expired records that were left, a row a day and group, from the group's first report on.

    A day without a report has what the last one before said.

    | column | dtype | meaning |
    |---|---|---|
    | day | datetime64[s] | UTC |
    | group | string | a target, kind, store or pass |
    | backlog | Int64 | records left, as of the day's last report; NA: of some target of the group nobody knows |
    | reported | bool | some target of the group was reported on that day |

    Raises as `volume`.
    """
    figures = read_figures(source, since, until)
    belongs = _groups(figures, by)
    reports = last_reports((*figures.before, *figures.operations))
    by_group: defaultdict[str, list[list[Left]]] = defaultdict(list)
    for target, of in reports.items():
        by_group[belongs[target]].append(of)
    rows: list[tuple[date, str, int | None, bool]] = []
    for group, series in sorted(by_group.items()):
        rows += [(day, group, left, new) for day, left, new in _carried(series, figures.since, figures.until)]
    rows.sort(key=lambda row: row[:2])
    return table(rows, {"day": "datetime64[s]", "group": "string", "backlog": "Int64", "reported": "bool"})


def _groups(figures: Figures, by: By) -> dict[str, str]:
    """A target that changed its group in the meantime counts to the last one."""
    return {row.target: group_of(row, by) for row in (*figures.before, *figures.operations)}


def _carried(several: list[list[Left]], since: date, until: date) -> Iterable[tuple[date, int | None, bool]]:
    by_day: defaultdict[date, dict[int, int | None]] = defaultdict(dict)
    for number, series in enumerate(several):
        for left in series:
            by_day[left.day][number] = left.survivors
    known: dict[int, int | None] = {}
    for day in sorted(by_day):
        if day < since:
            known |= by_day[day]
    day = since
    while day <= until:
        known |= by_day.get(day, {})
        if known:
            unsure = any(left is None for left in known.values())
            yield day, None if unsure else sum(left or 0 for left in known.values()), day in by_day
        day += timedelta(days=1)


def trend(source: Source, since: date | None = None, until: date | None = None, *, by: By = "target") -> pd.DataFrame:
    """Where the backlog is going: the least-squares line through the days that had a report.

    | column | dtype | meaning |
    |---|---|---|
    | group | string | |
    | backlog | Int64 | records left as of the last day; NA: nobody knows |
    | points | int64 | days with a report and a known backlog |
    | per_day | Float64 | records a day, above zero when it grows; NA: fewer than three points |

    Raises as `volume`.
    """
    of = backlog(source, since, until, by=by)
    rows = []
    for group, days in of.groupby("group", sort=True):
        points = days[days["reported"] & days["backlog"].notna()]
        slope = None
        if len(points) >= FEWEST_POINTS:
            at = (points["day"] - points["day"].iloc[0]).dt.days.to_numpy(dtype=float)
            slope = float(np.polyfit(at, points["backlog"].to_numpy(dtype=float), 1)[0])
            # What is left of rounding where nothing changed.
            slope = 0.0 if abs(slope) < 1e-6 else slope
        rows.append((group, days["backlog"].iloc[-1], len(points), slope))
    return table(rows, {"group": "string", "backlog": "Int64", "points": "int64", "per_day": "Float64"})


def forecast(
    source: Source, since: date | None = None, until: date | None = None, *, by: By = "target"
) -> pd.DataFrame:
    """When the backlog is gone if the trend goes on.

    | column | dtype | meaning |
    |---|---|---|
    | group, backlog, points, per_day | | as of `trend` |
    | days_left | Float64 | days after the period's last one; NA: never at this trend, no backlog, or unknown |
    | gone_on | datetime64[s] | the day, UTC; NaT: as `days_left` is NA, or later than a hundred years |

    Raises as `volume`.
    """
    figures = read_figures(source, since, until)
    of = trend(figures, by=by)
    shrinks = (of["backlog"] > 0) & (of["per_day"] < 0)
    left = (of["backlog"].astype("Float64") / -of["per_day"]).where(shrinks.fillna(value=False))
    last = pd.Timestamp(figures.until)
    gone = [
        pd.NaT if pd.isna(days) or days > _FOR_EVER else last + pd.Timedelta(days=int(np.ceil(days))) for days in left
    ]
    return of.assign(days_left=left, gone_on=pd.Series(gone, index=of.index, dtype="datetime64[s]"))


_FOR_EVER = 36_500
