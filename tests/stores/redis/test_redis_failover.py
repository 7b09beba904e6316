"""A primary that changes in the middle of a pass, by a real Sentinel."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from redis import Redis
from redis.exceptions import RedisError
from redis_support import SESSIONS, config, running, valkey

from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.stores.redis import open_redis

DEAD, LIVE = 400, 100


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if what():
                return
        except RedisError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_a_failover_in_the_middle_of_a_pass(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with running(valkey(), tmp_path / "one") as one, Redis(port=one.port) as first:
        follows = ("--replicaof", "127.0.0.1", str(one.port))
        with running(valkey(), tmp_path / "other", *follows) as other, Redis(port=other.port) as second:
            conf = tmp_path / "sentinel.conf"
            conf.write_text(f"sentinel monitor logins 127.0.0.1 {one.port} 1\n")
            before = (str(conf), "--sentinel")
            with (
                running(valkey(), tmp_path, before=before, persistence=False) as server,
                Redis(port=server.port) as sentinel,
            ):
                _pass(first, second, sentinel, server.port)


def _pass(first: Redis, second: Redis, sentinel: Redis, port: int) -> None:
    store = open_redis(config(f"redis+sentinel://127.0.0.1:{port}/logins/0"))
    now = store.clock()
    second_ = int(now.timestamp())
    for n in range(DEAD + LIVE):
        first.hset(f"session:u:{n}", "expires_at", second_ - 100 if n < DEAD else second_ + 3600)
    until(lambda: first.execute_command("WAIT", 1, 100) == 1)
    until(lambda: _knows(sentinel))
    batches: list[int] = []

    def change_over(_: object, size: int) -> None:
        batches.append(size)
        if len(batches) == 3:
            sentinel.execute_command("SENTINEL", "FAILOVER", "logins")
            until(lambda: second.info("replication")["role"] == "master")
            until(lambda: first.info("replication")["role"] == "slave")

    cleaned = replace(SESSIONS, pause=timedelta(0))
    work = store.plan(cleaned, now, Census())
    limits = Limits(batch_size=20, pause=timedelta(0))
    watch = Watch(lambda _: None, before=change_over)
    outcome = clean_shard(store, cleaned, work, work.shards[0], now, limits, watch)
    assert (outcome.stop_reason, outcome.error) == (StopReason.EXHAUSTED, None)
    left = {key.decode() for key in second.scan_iter("session:*")}
    live = {f"session:u:{n}" for n in range(DEAD, DEAD + LIVE)}
    assert live <= left
    # A cursor of the old primary leads past keys of the new one: the recount says so, and the next pass finds them.
    assert store.survivors(cleaned, now, timedelta(seconds=10)) == len(left - live)
    again = clean_shard(store, cleaned, work, work.shards[0], now, limits, Watch(lambda _: None))
    store.close()
    assert {key.decode() for key in second.scan_iter("session:*")} == live
    # What the old primary lost and the new one had not yet heard of is removed a second time.
    done = [outcome.tally, again.tally]
    assert sum(tally.deleted + tally.uncertain for tally in done) >= DEAD


def _knows(sentinel: Redis) -> bool:
    return len(sentinel.sentinel_slaves("logins")) == 1
