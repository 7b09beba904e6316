"""What carrying out a plan may take: by what passes over the target took before, else by its settings."""

from dataclasses import dataclass, replace
from math import ceil

from cleanup_pipeline.engine.forecast import forecast_of
from cleanup_pipeline.engine.loop import at_once
from cleanup_pipeline.model.outline import Estimate
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode

ENOUGH = 1000
"""Records that passes have to have removed before what they took says anything."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the last passes that removed something took, together. Seconds are those of shards, one after another."""

    passes: int
    deleted: int
    batches: int
    seconds: float
    idle_seconds: float
    """Of these, pauses and waiting for the governor."""


def estimate_of(plan: Plan, target: Target, measured: Measured | None) -> Estimate | None:
    """None where there is nothing to remove, or nobody counted. A count that was cut short gives lower bounds."""
    records = plan.census.expired
    if plan.skipped is not None or not records:
        return None
    size = at_once(target.batch_size, pauses=bool(target.pause))
    if measured is not None and measured.deleted >= ENOUGH and measured.seconds > 0:
        rate = measured.deleted / measured.seconds
        busy = max(0.0, 1 - measured.idle_seconds / measured.seconds)
        # Measured batches are smaller wherever a pass had little to do: the settings say how large they can be.
        batches = ceil(records / max(1.0, min(size, measured.deleted / max(1, measured.batches))))
        return Estimate(batches, records / rate, rate, busy, size, measured.passes)
    seconds = forecast_of(plan, replace(target, mode=Mode.DELETE)).seconds
    pace = target.pace
    latency = pace.latency_target.total_seconds()
    busy = latency / (latency * (1 + pace.pause_share) + target.pause.total_seconds())
    by_settings = records / seconds if seconds else None
    return Estimate(ceil(records / size), seconds, by_settings, busy, size, 0)
