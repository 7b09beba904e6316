"""What cleaning is going to take: records by a census, seconds by the limits that the target sets."""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode

RUN_SECONDS = 2.0
"""What a run costs before and after it deletes: Dagster's events, preflight, census, recount (docs/benchmarks.md)."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one window, or several, of a pass hold."""

    records: int | None
    """None: nobody counted."""
    at_least: bool = False
    """The count ran out of time: there are more."""
    seconds: float | None = None
    """Deleting at the pace of the settings, without what waits for a busy store."""
    fault: str | None = None
    """Why some target of it cannot be cleaned."""

    def __add__(self, other: "Forecast") -> "Forecast":
        known = self.records is not None and other.records is not None
        return Forecast(
            (self.records or 0) + (other.records or 0) if known else None,
            self.at_least or other.at_least,
            (self.seconds or 0) + (other.seconds or 0) if known else None,
            self.fault or other.fault,
        )


def forecast_of(plan: Plan, target: Target) -> Forecast:
    """The forecast of one target. One that is only looked at, or skipped, takes nothing."""
    if plan.skipped or target.mode is Mode.DRY_RUN:
        return Forecast(0, seconds=0.0)
    expired = plan.census.expired
    seconds = None if expired is None else _seconds(target, expired).total_seconds()
    return Forecast(expired, at_least=expired is not None and not plan.census.exact, seconds=seconds)


def _seconds(target: Target, records: int) -> timedelta:
    batches = ceil(records / target.batch_size)
    # A batch at the latency that the governor aims at is a slow one: the estimate is on the long side.
    latency = target.pace.latency_target * (1 + target.pace.pause_share)
    return batches * (target.pause + latency)
