"""Whatever a keyspace holds and whatever happens to it meanwhile: no live key goes, no expired one stays."""

from dataclasses import replace
from datetime import timedelta
from enum import Enum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_support import SESSIONS, in_two_steps

from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.words import StopReason

FREE = Pace(latency_target=timedelta(seconds=30), max_ping=None, look_every=timedelta(milliseconds=5))


class Fate(Enum):
    """What a session's field says when the pass begins: seconds from now, or text."""

    LIVE = 86_400
    EXPIRED = -86_400
    LONG_EXPIRED = -400 * 86_400
    REFRESHED = -3_600
    EMPTY = ""
    ZERO = "0"
    GARBAGE = "tomorrow"
    MISSING = None
    STRING = "another type of key"


STAYS = {Fate.LIVE, Fate.EMPTY, Fate.ZERO, Fate.GARBAGE, Fate.MISSING, Fate.STRING}


@pytest.mark.parametrize("cleaned", [SESSIONS, in_two_steps(SESSIONS)], ids=["in one script", "in two steps"])
@given(
    fates=st.lists(st.sampled_from(list(Fate)), max_size=60),
    size=st.integers(1, 12),
    gentle=st.booleans(),
    refresh_after=st.integers(0, 4),
    flush=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_live_key_goes_and_no_expired_one_stays(store, client, cleaned, fates, size, gentle, refresh_after, flush):
    client.flushall()
    second = int(store.clock().timestamp())
    for number, fate in enumerate(fates):
        key = f"session:u:{number}"
        if fate is Fate.STRING:
            client.set(key, fate.value)
        elif fate is Fate.MISSING:
            client.hset(key, "other", 1)
        else:
            client.hset(key, "expires_at", second + fate.value if isinstance(fate.value, int) else fate.value)
    waiting = [n for n, fate in enumerate(fates) if fate is Fate.REFRESHED]
    refreshed: set[int] = set()

    def meanwhile(tally: Tally) -> None:
        """A login renews what is still there; the server may forget its scripts at any time."""
        if flush:
            client.script_flush()
        if tally.batches < refresh_after:
            return
        for number in waiting:
            if client.exists(f"session:u:{number}"):
                client.hset(f"session:u:{number}", "expires_at", second + 86_400)
                refreshed.add(number)
        waiting.clear()

    if refresh_after == 0:
        meanwhile(Tally())
    target = replace(cleaned, pause=timedelta(microseconds=int(gentle)), batch_size=size)
    plan = scan(store, target, dry_run=False)
    limits = Limits(batch_size=size, pause=target.pause, first_backoff=timedelta(milliseconds=1), pace=FREE)
    outcomes = [
        clean_shard(store, target, plan.work, shard, plan.cutoff, limits, Watch(lambda _: None, meanwhile))
        for shard in plan.work.shards
    ]
    assert {outcome.stop_reason for outcome in outcomes} == {StopReason.EXHAUSTED}
    left = {int(key.rpartition(b":")[2]) for key in client.scan_iter(count=1000)}
    stays = {n for n, fate in enumerate(fates) if fate in STAYS} | refreshed
    assert left == stays
    tally = sum((outcome.tally for outcome in outcomes), Tally())
    assert tally.deleted == len(fates) - len(stays)
    assert tally.largest_batch <= size
