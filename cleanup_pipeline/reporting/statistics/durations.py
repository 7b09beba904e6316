"""How long operations and passes took, from histograms: a quantile is at most a tenth too high, never too low."""

from collections import defaultdict
from datetime import date

import pandas as pd

from cleanup_pipeline.model.histogram import Histogram, add, quantile
from cleanup_pipeline.reporting.statistics.figures import (
    By,
    Every,
    Figures,
    Source,
    group_of,
    period_of,
    read_figures,
    table,
)


def durations(
    source: Source, since: date | None = None, until: date | None = None, *, every: Every = "all", by: By = "target"
) -> pd.DataFrame:
    """How long operations took (the cleaning of one target in one pass), from looking to recounting.

    | column | dtype | meaning |
    |---|---|---|
    | period, group | | as of `volume` |
    | operations | int64 | those whose duration is known |
    | p50, p95 | Float64 | seconds, at most a tenth too high; NA: of none known |
    | longest | Float64 | seconds, at most a tenth too high |

    Raises as `volume`.
    """
    return quantiles(histograms(read_figures(source, since, until), every=every, by=by))


Histograms = dict[tuple[date, str], Histogram]
"""By period and group."""


def histograms(figures: Figures, *, every: Every, by: By) -> Histograms:
    """What `durations` are quantiles of."""
    found: defaultdict[tuple[date, str], list[Histogram]] = defaultdict(list)
    for row in figures.operations:
        if row.passes:
            found[period_of(row.day, every, figures.since), group_of(row, by)].append(row.durations)
    return {key: add(*several) for key, several in found.items()}


def together(parts: Histograms, *, period: date, group: str | None = None) -> Histograms:
    """All periods in one, and with `group` all groups: faster than from the figures."""
    found: defaultdict[tuple[date, str], list[Histogram]] = defaultdict(list)
    for (_, of), histogram in parts.items():
        found[period, of if group is None else group].append(histogram)
    return {key: add(*several) for key, several in found.items()}


def quantiles(parts: Histograms) -> pd.DataFrame:
    """What `durations` returns."""
    rows = []
    for (period, group), histogram in sorted(parts.items()):
        count = sum(histogram.values())
        rows.append((period, group, count, *(quantile(histogram, part) for part in (0.5, 0.95, 1.0))))
    return table(rows, _COLUMNS)


_COLUMNS = {
    "period": "datetime64[s]",
    "group": "string",
    "operations": "int64",
    "p50": "Float64",
    "p95": "Float64",
    "longest": "Float64",
}


def passes(source: Source, since: date | None = None, until: date | None = None) -> pd.DataFrame:
    """How passes went as a whole, a row a pass.

    | column | dtype | meaning |
    |---|---|---|
    | pass | string | |
    | passes, failed | int64 | those that are over, without dry runs; the red ones |
    | p50, p95 | Float64 | seconds from beginning to end, at most a tenth too high |
    | last_success | datetime64[us, UTC] | the last one within the period that ended without fault; NaT: none |
    | outcomes | object | status -> passes, a dict |

    Raises as `volume`.
    """
    figures = read_figures(source, since, until)
    rows = []
    for name in sorted({row.pass_name for row in figures.passes}):
        of = [row for row in figures.passes if row.pass_name == name]
        took = add(*(row.durations for row in of))
        successes = [row.last_success for row in of if row.last_success is not None]
        outcomes: dict[str, int] = {}
        for row in of:
            for status, count in row.outcomes.items():
                outcomes[status] = outcomes.get(status, 0) + count
        figures_of = (sum(row.passes for row in of), sum(row.failed for row in of))
        p50_p95 = (quantile(took, 0.5), quantile(took, 0.95))
        rows.append((name, *figures_of, *p50_p95, max(successes, default=None), outcomes))
    return table(rows, _OF_PASSES)


_OF_PASSES = {
    "pass": "string",
    "passes": "int64",
    "failed": "int64",
    "p50": "Float64",
    "p95": "Float64",
    "last_success": "datetime64[us, UTC]",
    "outcomes": "object",
}
