"""Keyspaces of any shape: one set with ten million members, one value of 500 MB, five million tiny keys.

Prints, for each, what a pass does to this process's memory and how long it keeps the server at a time.
"""

import argparse
import resource
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import monotonic, time

import psutil
from redis import Redis

from cleanup_pipeline.embedded.servers import start_redis
from cleanup_pipeline.model.outcome import BatchOutcome
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Expiry, JsonExpiry, KeySource, MembersExpiry, Mode, Target, ValueExpiry
from cleanup_pipeline.model.words import EpochUnit, StoreType
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.open import open_store

PAST = int(time()) - 10**6
STEP = 100_000
MIB = 2**20
_FILL_SET = "for i = ARGV[1], ARGV[2] do redis.call('SADD', KEYS[1], 'gone' .. i) end"
_FILL_KEYS = "for i = ARGV[1], ARGV[2] do redis.call('SET', 't:' .. string.format('%d', i), ARGV[3]) end"


def main() -> None:
    """Run one shape after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=10_000_000)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=float, default=120, help="most time for one shape; what is left is printed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleanup-limits-") as folder:
        server = start_redis(Path(folder), options=["--save", "", "--proto-max-bulk-len", "2gb"])
        client = Redis.from_url(server.url, socket_timeout=600)
        store = open_store(StoreConfig("cache", StoreType.REDIS, server.url))
        try:
            print("| shape | removed | left | batches | longest script | longest batch | memory grew by |")
            print("|---|---|---|---|---|---|---|")
            _set(client, store, given.members, given.seconds)
            _value(client, store, given.megabytes)
            _keys(client, store, given.keys, given.seconds)
        finally:
            store.close()
            client.close()
            server.stop()


def _set(client: Redis, store: Store, members: int, seconds: float) -> None:
    client.sadd("set:a", "live")
    client.set("member:live", 1)
    _in_steps(members, lambda low, high: client.eval(_FILL_SET, 1, "set:a", low, high))
    target = _target(KeySource("set:*", "set"), MembersExpiry(("member:{member}",)))
    gone = _measure(f"a set of {members:,} members", store, target, lambda: int(client.scard("set:a")), seconds)
    assert client.scard("set:a") == members + 1 - gone and client.sismember("set:a", "live")
    client.flushall(asynchronous=True)


def _value(client: Redis, store: Store, megabytes: int) -> None:
    client.set("j:big", b'{"exp": %d, "data": "' % PAST)
    client.setrange("j:big", megabytes * MIB, b'"}')
    for n in range(1000):
        client.set(f"j:{n}", f'{{"exp": {PAST}}}')
    target = _target(KeySource("j:*", "string"), JsonExpiry(("exp",), EpochUnit.SECONDS))
    peak = int(client.info("memory")["used_memory"])
    assert _measure(f"a value of {megabytes} MB", store, target, lambda: int(client.dbsize())) == 1000
    # It was never loaded a second time, into Lua or for a client.
    assert int(client.info("memory")["used_memory_peak"]) < peak + 100 * MIB
    client.flushall(asynchronous=True)


def _keys(client: Redis, store: Store, keys: int, seconds: float) -> None:
    _in_steps(keys, lambda low, high: client.eval(_FILL_KEYS, 0, low, high, PAST))
    target = _target(KeySource("t:*", "string"), ValueExpiry())
    gone = _measure(f"{keys:,} tiny keys", store, target, lambda: int(client.dbsize()), seconds)
    assert client.dbsize() == keys - gone


def _in_steps(total: int, fill: Callable[[int, int], object]) -> None:
    for low in range(0, total, STEP):
        fill(low, min(low + STEP, total) - 1)


def _target(source: KeySource, expiry: Expiry) -> Target:
    return Target("t", "cache", StoreType.REDIS, "sessions", "session", source, expiry, mode=Mode.DELETE)


def _measure(shape: str, store: Store, target: Target, left: Callable[[], int], seconds: float = 1e9) -> int:
    cutoff = store.clock()
    store.census(target, cutoff, timedelta(seconds=5))
    before = psutil.Process().memory_info().rss
    work = store.plan(target, cutoff, Census())
    gone = batches = 0
    slowest = longest = 0.0
    ends = monotonic() + seconds
    for shard in work.shards:
        cursor = None
        while True:
            began = monotonic()
            outcome: BatchOutcome = store.delete_batch(target, work, shard, cursor, 1000, cutoff)
            longest = max(longest, monotonic() - began)
            slowest = max(slowest, outcome.slowest_seconds or 0.0)
            gone, batches, cursor = gone + outcome.deleted, batches + 1, outcome.cursor
            assert outcome.largest <= 1000
            if cursor is None or monotonic() > ends:
                break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    grew = max(0, peak - before) / MIB
    print(
        f"| {shape} | {gone:,} | {left():,} | {batches:,} | {slowest * 1000:.1f} ms | {longest * 1000:.0f} ms |"
        f" {grew:.1f} MB |",
        flush=True,
    )
    return gone


if __name__ == "__main__":
    main()
