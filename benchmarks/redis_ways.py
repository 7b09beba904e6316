"""Ways to remove expired sessions from a Redis: ours, and what people write instead. And the data they work on."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from redis import Redis

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import HashFieldExpiry, KeySource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.stores.redis import open_redis

PATTERN = "session:*:*"
COUNT = 200
"""Keys of one SCAN, in all ways that take a page at a time, the bare SCAN too."""
TARGET = Target(
    "sessions", "cache", StoreType.REDIS, "sessions", "session",
    KeySource(PATTERN, "hash"), HashFieldExpiry("expires_at"), mode=Mode.DELETE,
)  # fmt: skip


def execute(client: Redis, *words: Any) -> Any:
    """The answer to one command."""
    run: Callable[..., Any] = client.execute_command
    return run(*words)


def fill(client: Redis, count: int, expired: int) -> None:
    """Hashes as rshelekhov/sso writes them; `expired` per cent have died and have no TTL."""
    execute(client, "FLUSHALL")
    now = int(time.time())
    for start in range(0, count, 2000):
        with client.pipeline(transaction=False) as pipe:
            run: Callable[..., Any] = pipe.execute_command
            for n in range(start, min(count, start + 2000)):
                key = f"session:user{n % 50_000:08d}:device{n:010d}"
                dies = now - 60 - n % 100_000 if n % 100 < expired else now + 86_400
                run("HSET", key, "user_id", n, "refresh_token", f"token{n:022d}", "data", "x" * 60, "expires_at", dies)
                if dies > now:
                    run("EXPIREAT", key, dies)
            pipe.execute()


def bare_scan(client: Redis, count: int = COUNT) -> int:
    """Every key named and nothing else: the limit of whatever looks at all keys."""
    at, named = 0, 0
    while True:
        at, keys = execute(client, "SCAN", at, "MATCH", PATTERN, "COUNT", count, "TYPE", "hash")
        named += len(keys)
        if int(at) == 0:
            return named


def ours(url: str, *, defaults: bool = False) -> int:
    """A pass over the whole keyspace; without pauses unless with the default settings. Returns the records removed."""
    store = open_redis(StoreConfig("cache", StoreType.REDIS, url))
    target = TARGET if defaults else replace(TARGET, pause=timedelta(0), pace=Pace(pause_share=0))
    try:
        cutoff = store.clock()
        work = store.plan(target, cutoff, Census())
        outcome = clean_shard(store, target, work, work.shards[0], cutoff, limits_of(target), Watch(lambda _: None))
        return outcome.tally.deleted
    finally:
        store.close()


def a_key_at_a_time(client: Redis, most: int) -> int:
    """SCAN, then HGET and DEL of each key by itself, of the first `most` keys. Returns how many were looked at."""
    now = time.time()
    looked = 0
    for key in client.scan_iter(match=PATTERN):
        dies = execute(client, "HGET", key, "expires_at")
        if dies is not None and float(dies) < now:
            execute(client, "DEL", key)
        looked += 1
        if looked >= most:
            break
    return looked


def pipelined(client: Redis, count: int = COUNT) -> int:
    """SCAN, the reads of a page in one pipeline, one UNLINK: fast, but a session refreshed meanwhile is lost."""
    now = time.time()
    at, removed = 0, 0
    while True:
        at, keys = execute(client, "SCAN", at, "MATCH", PATTERN, "COUNT", count, "TYPE", "hash")
        with client.pipeline(transaction=False) as pipe:
            run: Callable[..., Any] = pipe.execute_command
            for key in keys:
                run("HGET", key, "expires_at")
            dies = pipe.execute()
        gone = [key for key, value in zip(keys, dies, strict=True) if value is not None and float(value) < now]
        if gone:
            removed += execute(client, "UNLINK", *gone)
        if int(at) == 0:
            return removed
