"""How much was removed, and how fast."""

from datetime import date

import pandas as pd

from cleanup_pipeline.reporting.statistics.figures import (
    By,
    Every,
    Source,
    grouped,
    read_figures,
    share,
    unknown_if_any,
)


def volume(
    source: Source, since: date | None = None, until: date | None = None, *, every: Every = "day", by: By = "target"
) -> pd.DataFrame:
    """What was removed, a row a period and group that anything was done in.

    | column | dtype | meaning |
    |---|---|---|
    | period | datetime64[s] | its first day, UTC |
    | group | string | a target, kind, store or pass |
    | deleted | int64 | records removed, at least |
    | at_most | Int64 | records removed, at most: more than `deleted` where a process was killed; NA: nobody knows |
    | children | int64 | rows of other tables that went with them |
    | repaired | int64 | live Redis keys that got their lost TTL back |
    | bytes_freed | Int64 | bytes, as far as stores said; NA: none did |
    | seconds | float64 | spent deleting, shards one after another |

    Raises LedgerError, and ValueError when the period ends before it begins.
    """
    figures = read_figures(source, since, until)
    of = grouped(figures, every=every, by=by)
    return pd.DataFrame(
        {
            "deleted": of["deleted"].sum(),
            "at_most": unknown_if_any(of, "at_most"),
            "children": of["children"].sum(),
            "repaired": of["repaired"].sum(),
            "bytes_freed": of["bytes_freed"].sum(min_count=1),
            "seconds": of["seconds"].sum(),
        }
    ).reset_index()


def rates(
    source: Source, since: date | None = None, until: date | None = None, *, every: Every = "all", by: By = "target"
) -> pd.DataFrame:
    """How fast records went: by second of deleting, pauses and what the governor held back included.

    Shards that ran side by side count one after another, so this is the rate of one connection.

    | column | dtype | meaning |
    |---|---|---|
    | period, group | | as of `volume` |
    | deleted | int64 | records |
    | seconds | float64 | spent deleting |
    | per_second | Float64 | records a second; NA: no time was spent |

    Raises as `volume`.
    """
    of = volume(source, since, until, every=every, by=by)[["period", "group", "deleted", "seconds"]]
    return of.assign(per_second=share(of["deleted"], of["seconds"]))
