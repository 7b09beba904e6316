"""Frameworks of Node.js in Redis: what they say is alive stays, what they say is over goes, no other key is touched."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from tests.layouts.differential import may_differ
from tests.layouts.node import Presets, Record, Verdict, check, installed, needs, node, pass_over

pytestmark = installed

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


def ends(value: bytes, paths: Collection[str]) -> int:
    """The instant at the first of these paths that the JSON has, in ms since 1970."""
    for path in paths:
        found: Any = json.loads(value)
        for part in path.split("."):
            found = found.get(part, {})
        if found:
            return int(datetime.fromisoformat(found).timestamp() * 1000)
    raise AssertionError("nothing says when it ends")


def without_repairs(url: str, before: Keys, paths: Collection[str]) -> Keys:
    """The keys, without TTLs that were given back, if they end no earlier than `paths` of the JSON say."""
    found = keys(url)
    with redis.Redis.from_url(url) as client:
        for record, (value, until) in found.items():
            if record in before and before[record][1] == NO_TTL and until != NO_TTL:
                assert until >= ends(client.get(record[1]), paths), "a TTL that ends a live record"  # type: ignore[arg-type]
                found[record] = (value, NO_TTL)
    return found


def sessions_in(url: str, lists: str) -> dict[str, list[dict[str, Any]]]:
    """The lists of sessions, by key."""
    with redis.Redis.from_url(url) as client:
        found = client.scan_iter(f"{lists}*") if lists else ()
        return {key.decode(): json.loads(client.get(key)) for key in found}  # type: ignore[arg-type]


def judged(
    url: str,
    script: str,
    presets: Presets,
    *arguments: str,
    paths: Collection[str] = (),
    kept: timedelta = timedelta(0),
    lists: str = "",
) -> None:
    """The framework fills the database, is asked on a copy what is alive, and our presets have the same left.

    `paths` of the JSON say when a record ends, `kept` is for how long after that it stays. `lists` is what the keys of
    lists of sessions begin with: their elements are judged by themselves.
    """
    known = node(script, "create", url, *arguments)
    before, said = keys(url), asked(url, script, known, *arguments)
    everything = said | {key: True for _, key in before if key not in said}
    listed = sessions_in(url, lists)
    with redis.Redis.from_url(url) as client:
        dead = {key: client.get(key) for key, alive in said.items() if not alive and (PREFIX, key) in before}
    recently = (datetime.now(UTC) - kept).timestamp() * 1000
    held = {(PREFIX, key) for key, value in dead.items() if kept and ends(value, paths) > recently}  # type: ignore[arg-type]
    if held:
        may_differ(presets)
    pass_over(url, presets)
    after = without_repairs(url, before, paths)
    for key, elements in listed.items():
        # As the framework itself does when that user signs in again; the rest is as it was, in its order.
        alive = [one for one in elements if one["expiresAt"] >= recently]
        assert 0 < len(alive) < len(elements), "nothing to tell apart"
        assert sessions_in(url, lists)[key] == alive
        after[PREFIX, key] = before[PREFIX, key]
    check(before, after, {PREFIX: everything}, held)
    again = asked(url, script, known, *arguments)
    assert {key: again.get(key, False) for key in said} == said, "they would answer otherwise now"


@needs("connect-redis")
@pytest.mark.parametrize("how", ["ttl", "disableTTL"])
def test_connect_redis(redis_url: str, how: str) -> None:
    judged(redis_url, "connect_redis", {"connect-redis": {"unused": "1m"}}, how, paths=["cookie.expires"])


@needs("connect-redis")
def test_connect_redis_with_sessions_that_reading_prolongs(redis_url: str) -> None:
    """Nothing is written of it: what is in the session is old, and the browser's cookie is not."""
    presets = {"connect-redis": {"unused": "2h"}}
    judged(redis_url, "connect_redis", presets, "rolling", paths=["cookie.expires"], kept=timedelta(hours=2))


@needs("connect-redis")
def test_connect_redis_with_too_short_a_grace_would_end_sessions_in_use(redis_url: str) -> None:
    with pytest.raises(AssertionError, match="gone, and should stay"):
        judged(redis_url, "connect_redis", {"connect-redis": {"unused": "1m"}}, "rolling", paths=["cookie.expires"])


@needs("authjs-upstash")
def test_authjs_upstash(redis_url: str) -> None:
    judged(redis_url, "authjs_upstash", {"authjs-upstash": {}}, paths=["expires"])


@needs("better-auth-redis")
def test_better_auth(redis_url: str) -> None:
    ends_at = ["session.expiresAt", "expiresAt"]
    lists = "better-auth:active-sessions-"
    judged(redis_url, "better_auth_redis", {"better-auth-redis": {}}, "own", paths=ends_at, lists=lists)


@needs("better-auth-redis")
def test_better_auth_with_its_own_storage(redis_url: str) -> None:
    """Redis expires what it writes: nothing is left for us, and nothing is touched."""
    node("better_auth_redis", "create", redis_url, "package")
    before = keys(redis_url)
    assert before
    assert not [record for record, (_, until) in before.items() if until == NO_TTL]
    pass_over(redis_url, {"better-auth-redis": {}})
    assert keys(redis_url) == before
