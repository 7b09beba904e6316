"""Windows take together what one pass would, and what has no instant of death is in none."""

from dataclasses import replace
from datetime import timedelta

import pytest
from redis_support import SESSIONS, drain, in_two_steps, target

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.target import (
    JsonExpiry,
    MembersExpiry,
    MsgpackExpiry,
    NativeTtl,
    ScoreExpiry,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit

HOUR = timedelta(hours=1)
EIGHTY = 80


def seconds(now, n):
    return int((now - n * timedelta(minutes=7)).timestamp())


def write_hash(client, now, n):
    client.hset(f"session:u:{n}", "expires_at", seconds(now, n))


def write_value(client, now, n):
    client.set(f"v:{n}", seconds(now, n))


def write_json(client, now, n):
    client.set(f"v:{n}", f'{{"exp": {seconds(now, n)}}}')


def write_msgpack(client, now, n):
    client.set(f"v:{n}", b"\x81\xa3exp\xce" + seconds(now, n).to_bytes(4, "big"))


def write_score(client, now, n):
    client.zadd("v:all", {str(n): seconds(now, n)})


def left_of_scores(client):
    return {int(member) for member in client.zrange("v:all", 0, -1)}


def left_of_keys(client):
    return {int(key.rpartition(b":")[2]) for key in client.scan_iter(count=1000)}


@pytest.mark.parametrize(
    ("cleaned", "write", "left"),
    [
        (SESSIONS, write_hash, left_of_keys),
        (in_two_steps(SESSIONS), write_hash, left_of_keys),
        (target("v:*", "string", ValueExpiry(EpochUnit.SECONDS)), write_value, left_of_keys),
        (target("v:*", "string", JsonExpiry(("exp",), EpochUnit.SECONDS)), write_json, left_of_keys),
        (target("v:*", "string", MsgpackExpiry(("exp",), EpochUnit.SECONDS)), write_msgpack, left_of_keys),
        (target("v:*", "zset", ScoreExpiry()), write_score, left_of_scores),
    ],
    ids=["hash", "hash in two steps", "value", "json", "msgpack", "scores"],
)
def test_windows_take_together_what_one_pass_would(store, client, now, cleaned, write, left):
    # The server counts in milliseconds; half of one decides nothing here.
    now = now.replace(microsecond=0)
    for n in range(-2, EIGHTY):
        write(client, now, n)
    start = now - 6 * HOUR
    minute = timedelta(minutes=7)
    gone: set[int] = set()
    for window in range(6):
        since = start + window * HOUR
        cutoff = since + HOUR
        one = replace(cleaned, since=since)
        mine = {n for n in range(EIGHTY) if since.timestamp() <= seconds(now, n) < cutoff.timestamp()}
        census = store.census(one, cutoff, timedelta(seconds=5))
        assert (census.expired, census.unparsable, census.without_expiry) == (len(mine), 0, 0)
        assert store.survivors(one, cutoff, timedelta(seconds=5)) == len(mine)
        assert sum(outcome.deleted for outcome in drain(store, one, cutoff)) == len(mine)
        assert store.survivors(one, cutoff, timedelta(seconds=5)) == 0
        gone |= mine
    assert left(client) == set(range(-2, EIGHTY)) - gone
    assert max(gone) * minute <= 6 * HOUR + minute


@pytest.mark.parametrize(
    "cleaned", [target("user:*", "set", MembersExpiry(("session:{member}",))), target("user:*", "set", NativeTtl())]
)
def test_what_has_no_instant_is_in_no_window(store, client, now, cleaned):
    client.sadd("user:1", "gone", "here")
    client.set("session:here", "x")
    plan = scan(store, replace(cleaned, since=now - HOUR), dry_run=False)
    assert plan.work.shards == ()
    assert plan.skipped == "its records have no instant at which they die, so that no window holds them"
    assert client.smembers("user:1") == {b"gone", b"here"}
