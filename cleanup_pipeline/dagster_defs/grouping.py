"""How many delete steps a pass has: one for each shard, unless so many targets have shards that a run drowns in steps.

A step leaves ten events behind, whatever it deletes (docs/decisions/0028-many-targets.md). Where there are many targets
the steps of others are what keeps workers busy, so that shards of one target may follow each other in a step.
"""

from collections.abc import Iterator, Sequence

from cleanup_pipeline.model.plan import Shard

MOST_DELETE_STEPS = 200
"""Of one pass, except that each target has one."""


def steps_a_target(targets: int) -> int:
    """Most delete steps that each of so many targets of a pass may have."""
    return max(1, MOST_DELETE_STEPS // max(1, targets))


def in_steps(shards: Sequence[Shard], most: int) -> Iterator[tuple[Shard, ...]]:
    """All shards in at most `most` groups whose sizes differ by at most one; neighbours stay together."""
    count = min(most, len(shards))
    for number in range(count):
        yield tuple(shards[len(shards) * number // count : len(shards) * (number + 1) // count])


def mapping_key(group: Sequence[Shard]) -> str:
    """What Dagster knows the step of a group by: its first shard, and how many follow."""
    key = f"shard_{group[0].index}"
    return key if len(group) == 1 else f"{key}_to_{group[-1].index}"


def covers(step: str, shard: int) -> bool:
    """Whether a delete step, such as `delete[shard_4_to_7]`, has that shard."""
    first, _, last = step.removeprefix("delete[shard_").removesuffix("]").partition("_to_")
    return first.isdecimal() and int(first) <= shard <= int(last or first)
