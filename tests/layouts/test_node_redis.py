"""Frameworks of Node.js in Redis: what they say is alive stays, what they say is over goes, no other key is touched."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
import redis

from tests.layouts.node import Presets, Record, Verdict, check, needs, node, pass_over

PREFIX = ""
"""All keys are in one place."""
NO_TTL = -1
Keys = dict[Record, tuple[bytes, int]]


def keys(url: str) -> Keys:
    """Every key: what is in it, and when its TTL ends, in ms since 1970."""
    with redis.Redis.from_url(url) as client:
        found = {key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter()}
    return {(PREFIX, key.decode()): value for key, value in found.items()}  # type: ignore[misc]


@contextmanager
def copy_of(url: str) -> Iterator[str]:
    """Another database of the same server with the same keys."""
    copy = url.rsplit("/", 1)[0] + "/1"
    with redis.Redis.from_url(copy) as other:
        for (_, key), (value, until) in keys(url).items():
            other.restore(key, max(until, 0), value, absttl=until > 0)
        yield copy
        other.flushdb()


def asked(url: str, script: str, known: Any, *arguments: str) -> dict[str, bool]:
    """What is alive, from a copy: reading renews and removes."""
    with copy_of(url) as copy:
        verdict: Verdict = node(script, "alive", copy, *arguments, known=known)
    return dict(verdict[PREFIX])


def without_repairs(url: str, before: Keys, path: str) -> Keys:
    """The keys, without TTLs that were given back, if they end no earlier than `path` of the JSON says."""
    found = keys(url)
    with redis.Redis.from_url(url) as client:
        for record, (value, until) in found.items():
            if record in before and before[record][1] == NO_TTL and until != NO_TTL:
                says = json.loads(client.get(record[1]))  # type: ignore[arg-type]
                for part in path.split("."):
                    says = says[part]
                assert until >= int(datetime.fromisoformat(says).timestamp() * 1000), "a TTL that ends a live record"
                found[record] = (value, NO_TTL)
    return found


def judged(url: str, script: str, presets: Presets, *arguments: str, path: str = "", held: Collection[str] = ()) -> Any:
    """The framework fills the database, is asked on a copy what is alive, and our presets have the same left."""
    known = node(script, "create", url, *arguments)
    before, said = keys(url), asked(url, script, known, *arguments)
    everything = said | {key: True for _, key in before if key not in said}
    pass_over(url, presets)
    check(before, without_repairs(url, before, path), {PREFIX: everything}, {(PREFIX, key) for key in held})
    assert asked(url, script, known, *arguments) == said, "they would answer otherwise now"
    return known


@needs("connect-redis")
@pytest.mark.parametrize("how", ["ttl", "disableTTL"])
def test_connect_redis(redis_url: str, how: str) -> None:
    judged(redis_url, "connect_redis", {"connect-redis": {}}, how, path="cookie.expires")
