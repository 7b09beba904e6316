"""Statistics from the ledger, as pandas DataFrames: for reports, and for notebooks (docs/statistics.md).

Importing this imports pandas, which takes half a second: no pass does.
"""

from cleanup_pipeline.reporting.statistics.backlog import backlog, forecast, trend
from cleanup_pipeline.reporting.statistics.durations import durations, passes
from cleanup_pipeline.reporting.statistics.errors import error_rate, stop_reasons
from cleanup_pipeline.reporting.statistics.figures import BY, EVERY, By, Every, Figures, Source, read_figures
from cleanup_pipeline.reporting.statistics.keep_up import keep_up
from cleanup_pipeline.reporting.statistics.survivors import oldest_survivors
from cleanup_pipeline.reporting.statistics.volume import rates, volume

__all__ = [
    "BY",
    "EVERY",
    "By",
    "Every",
    "Figures",
    "Source",
    "backlog",
    "durations",
    "error_rate",
    "forecast",
    "keep_up",
    "oldest_survivors",
    "passes",
    "rates",
    "read_figures",
    "stop_reasons",
    "trend",
    "volume",
]
