"""Shards of many targets share their delete steps: none is left out, and the steps of a pass are bounded."""

import pytest

from cleanup_pipeline.dagster_defs.grouping import MOST_DELETE_STEPS, covers, in_steps, mapping_key, steps_a_target
from cleanup_pipeline.model.plan import Shard


@pytest.mark.parametrize(("count", "most"), [(0, 4), (1, 4), (4, 4), (8, 4), (9, 4), (50, 1), (8, 200)])
def test_every_shard_is_in_one_group(count: int, most: int) -> None:
    shards = [Shard(number) for number in range(count)]
    several = list(in_steps(shards, most))
    assert [shard for group in several for shard in group] == shards and len(several) <= most
    assert len({len(group) for group in several}) <= 2
    for group in several:
        step = f"delete[{mapping_key(group)}]"
        assert [n for n in range(count) if covers(step, n)] == [shard.index for shard in group]


def test_few_targets_have_a_step_for_each_shard_and_many_have_one() -> None:
    assert steps_a_target(1) == MOST_DELETE_STEPS and steps_a_target(0) == MOST_DELETE_STEPS
    assert steps_a_target(4) >= 50 and steps_a_target(50) == 4 and steps_a_target(1000) == 1
    assert mapping_key([Shard(3)]) == "shard_3"
