"""`history:` -> History: how long what the product writes about itself is kept."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from cleanup_pipeline.layouts.field_types import Section, duration

_DAY = timedelta(days=1)
KEEP, KEEP_RUNS = 400 * _DAY, 30 * _DAY


@dataclass(frozen=True, slots=True)
class History:
    """How long `prune_history` leaves what it finds."""

    keep: timedelta = KEEP
    """Passes one by one in the ledger, judgements, alerts that ended, messages that are done with. What a day came to
    is kept for ever."""
    keep_runs: timedelta = KEEP_RUNS
    """Dagster's runs that have ended, with their event logs and files, and the ticks of schedules and sensors."""
    keep_events: timedelta = KEEP
    """Events of assets that belong to no run, and results of their checks."""


class HistorySection(Section):
    """`history:`."""

    keep: Annotated[timedelta, duration(_DAY)] = KEEP
    keep_runs: Annotated[timedelta, duration(_DAY)] = KEEP_RUNS
    keep_events: Annotated[timedelta, duration(_DAY)] = KEEP

    def history(self) -> History:
        """The settings that this section is."""
        return History(self.keep, self.keep_runs, self.keep_events)
