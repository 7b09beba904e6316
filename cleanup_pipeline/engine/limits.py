"""How far and how fast one shard may go. Frozen before the first batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from cleanup_pipeline.engine.retry import FIRST_BACKOFF, LONGEST_BACKOFF
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.plan import Shard, Work
from cleanup_pipeline.model.target import MAX_BATCH, Target


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one shard; durations as timedelta, sizes in records."""

    batch_size: int = MAX_BATCH
    pause: timedelta = timedelta(milliseconds=30)
    deadline: timedelta = timedelta(minutes=5)
    row_limit: int | None = None
    """Of the target as a whole: the loop gives each shard its part of it."""
    attempts: int = 5
    """How often one batch is tried before the shard ends with an error."""
    first_backoff: timedelta = FIRST_BACKOFF
    longest_backoff: timedelta = LONGEST_BACKOFF
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= MAX_BATCH:
            raise ValueError(f"batch_size is {self.batch_size}, expected 1 to {MAX_BATCH}")
        if self.pause < timedelta(0) or self.deadline <= timedelta(0):
            raise ValueError("pause may not be negative, and deadline has to be positive")


def limits_of(target: Target) -> Limits:
    """The limits that a target's settings ask for."""
    return Limits(
        batch_size=target.batch_size,
        pause=target.pause,
        deadline=target.operation_timeout,
        row_limit=target.row_limit,
        pace=target.pace,
    )


def bounded(work: Work, shard: Shard) -> bool:
    """Whether a batch of this shard removes no more records than its size: not where it drops a whole partition, or
    pulls every expired element of a document."""
    return work.strategy != "array_pull" and not {"drop", "pull"} & shard.bounds.keys()


def quota(row_limit: int | None, shards: Sequence[Shard], shard: Shard) -> int | None:
    """The part of a target's row limit that falls to one of its shards; the parts add up to the limit.

    Shards may run in different processes, so none knows what the others have left of theirs: a target whose expired
    records lie in few of its shards stops before its limit.
    """
    if row_limit is None:
        return None
    indexes = sorted(each.index for each in shards)
    if shard.index not in indexes:
        return row_limit
    part, rest = divmod(row_limit, len(indexes))
    return part + (indexes.index(shard.index) < rest)
