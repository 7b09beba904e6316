"""How often operations failed, and why shards ended."""

from collections import Counter
from datetime import date

import pandas as pd

from cleanup_pipeline.reporting.statistics.figures import (
    By,
    Every,
    Source,
    group_of,
    grouped,
    period_of,
    read_figures,
    share,
    table,
)


def error_rate(
    source: Source, since: date | None = None, until: date | None = None, *, every: Every = "all", by: By = "target"
) -> pd.DataFrame:
    """How many operations failed. An operation, the cleaning of one target in one pass, failed when it ended red.

    | column | dtype | meaning |
    |---|---|---|
    | period, group | | as of `volume` |
    | operations, failed | int64 | those that are over; dry runs and skipped targets are none |
    | share | Float64 | failed / operations, 0 to 1; NA: there was none |

    Raises as `volume`.
    """
    figures = read_figures(source, since, until)
    of: pd.DataFrame = grouped(figures, every=every, by=by)[["operations", "failed"]].sum().reset_index()
    of["share"] = share(of["failed"], of["operations"])
    return of


def stop_reasons(
    source: Source, since: date | None = None, until: date | None = None, *, every: Every = "all", by: By = "target"
) -> pd.DataFrame:
    """Why shards ended, the most frequent reason of a period and group first.

    | column | dtype | meaning |
    |---|---|---|
    | period, group | | as of `volume` |
    | reason | string | a stop reason (docs/json.md), or `lost`: its process was killed, or it is still running |
    | shards | int64 | |

    Raises as `volume`.
    """
    figures = read_figures(source, since, until)
    found: Counter[tuple[date, str, str]] = Counter()
    for row in figures.operations:
        for reason, count in row.outcomes.items():
            found[period_of(row.day, every, figures.since), group_of(row, by), reason] += count
    rows = [(*key, count) for key, count in found.items()]
    rows.sort(key=lambda row: (row[0], row[1], -row[3], row[2]))
    return table(rows, {"period": "datetime64[s]", "group": "string", "reason": "string", "shards": "int64"})
