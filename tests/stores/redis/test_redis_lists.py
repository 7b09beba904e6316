"""Lists whose elements name other keys, and pointers to keys of any type."""

from datetime import timedelta

import pytest
from redis_support import census, drain, snapshot, target

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    MembersExpiry,
    MsgpackExpiry,
    PointerExpiry,
    ScoreExpiry,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis import containers, pointers, references, sweep

GRANTS = target("oidc:grant:*", "list", MembersExpiry(("oidc:{member}",)))
POINTERS = target("by-user:*", "string", PointerExpiry("by-user:", "session:"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(references, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(sweep, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(pointers, "SETTLE_SECONDS", 0)


def test_elements_go_and_the_order_of_the_others_stays(store, client, now):
    kept = [f"AccessToken:{n}" for n in range(0, 700, 7)]
    client.rpush("oidc:grant:g", *(f"AccessToken:{n}" for n in range(700)))
    for name in kept:
        client.set(f"oidc:{name}", "{}")
    client.expire("oidc:grant:g", 1000)
    drain(store, GRANTS, now, size=100)
    assert [element.decode() for element in client.lrange("oidc:grant:g", 0, -1)] == kept
    assert client.ttl("oidc:grant:g") > 900
    assert store.survivors(GRANTS, now, timedelta(seconds=9)) == 0


@pytest.mark.parametrize("size", [1, 40, 1000])
def test_an_element_that_is_there_many_times_goes_as_often_and_in_bounds(store, client, now, size):
    client.set("oidc:live", "{}")
    many = 60 if size == 1 else 1300
    client.rpush("oidc:grant:g", *(["gone", "live", "gone"] * many))
    assert census(store, GRANTS, now).expired == 2 * many
    outcomes = drain(store, GRANTS, now, size=size)
    assert sum(o.deleted for o in outcomes) == 2 * many
    assert max(o.deleted for o in outcomes) <= size
    assert max(o.largest for o in outcomes) <= containers.MEMBERS
    assert client.lrange("oidc:grant:g", 0, -1) == [b"live"] * many


def test_what_is_pushed_meanwhile_is_neither_lost_nor_in_the_way(store, client, now):
    client.rpush("oidc:grant:g", *(f"gone:{n}" for n in range(900)))
    work = store.plan(GRANTS, now, None)
    cursor, rounds = None, 0
    while True:
        outcome = store.delete_batch(GRANTS, work, work.shards[0], cursor, 100, now)
        cursor, rounds = outcome.cursor, rounds + 1
        if cursor is None:
            break
        if rounds <= 5:
            client.set(f"oidc:new:{rounds}", "{}")
            client.rpush("oidc:grant:g", f"new:{rounds}")
            client.lpush("oidc:grant:g", f"gone:left:{rounds}")
    left = client.lrange("oidc:grant:g", 0, -1)
    assert [element for element in left if element.startswith(b"new")] == [b"new:%d" % n for n in range(1, 6)]
    assert sum(element.startswith(b"gone") for element in left) == 0


def test_an_element_whose_key_comes_back_before_the_removal_stays(store, client, now, monkeypatch):
    client.rpush("oidc:grant:g", "a", "b")
    client.set("oidc:x", "{}")
    monkeypatch.setattr(references, "sleep", lambda _: client.set("oidc:a", "{}"))
    outcomes = drain(store, GRANTS, now)
    assert client.lrange("oidc:grant:g", 0, -1) == [b"a"]
    assert (sum(o.deleted for o in outcomes), sum(o.live for o in outcomes)) == (1, 1)


def test_elements_of_another_writing_end_the_pass(store, client, now):
    client.rpush("oidc:grant:g", *(b'"%d"' % n for n in range(30)))
    before = snapshot(client)
    with pytest.raises(StoreError, match="30 of 30 members"):
        drain(store, GRANTS, now)
    assert snapshot(client) == before


def test_a_list_that_became_something_else_is_left(store, client, now, monkeypatch):
    client.rpush("oidc:grant:a", "gone")
    client.set("oidc:live", "x")

    def replaced(_):
        client.delete("oidc:grant:a")
        client.sadd("oidc:grant:a", "gone")

    monkeypatch.setattr(references, "sleep", replaced)
    assert sum(o.deleted for o in drain(store, GRANTS, now)) == 0
    assert client.smembers("oidc:grant:a") == {b"gone"}


def test_a_pointer_goes_with_the_key_that_it_names(store, client, now):
    client.set("session:1", "x")
    client.hset("session:2", "a", "b")
    client.mset({"by-user:a": "session:1", "by-user:b": "session:2", "by-user:c": "session:3"})
    client.mset({"by-user:d": "account:3", "by-user:e": "", "session:by-user": "session:9"})
    counted = census(store, POINTERS, now)
    assert (counted.live, counted.expired, counted.unparsable) == (2, 1, 2)
    assert sum(o.deleted for o in drain(store, POINTERS, now)) == 1
    assert client.exists("by-user:c") == 0
    assert client.dbsize() == 7
    assert [client.ttl(f"by-user:{name}") for name in "abde"] == [-1] * 4
    assert store.survivors(POINTERS, now, timedelta(seconds=9)) == 0


def test_in_a_cluster_it_is_judged_from_here(store, client, now):
    client.set("session:1", "x")
    client.mset({"by-user:a": "session:1", "by-user:c": "session:3", "by-user:d": "account:3", "other": "session:3"})
    keys = [b"by-user:a", b"by-user:c", b"by-user:d", b"other"]
    rule = POINTERS.expiry
    assert isinstance(rule, PointerExpiry)
    counts = pointers.clean_pointers(client, POINTERS, rule, keys, now, delete=True)
    assert (counts.live, counts.deleted, counts.unparsable) == (1, 1, 2)
    assert sorted(client.keys()) == [b"by-user:a", b"by-user:d", b"other", b"session:1"]


def test_a_login_that_writes_the_pointer_first_keeps_it(store, client, now, monkeypatch):
    client.set("by-user:a", "session:1")
    monkeypatch.setattr(sweep, "sleep", lambda _: client.set("session:1", "x"))
    outcomes = drain(store, POINTERS, now)
    assert (sum(o.deleted for o in outcomes), client.get("by-user:a")) == (0, b"session:1")


@pytest.mark.parametrize(
    ("kind", "rule", "write"),
    [
        ("hash", HashFieldExpiry("e"), lambda client, key, ms: client.hset(key, "e", ms)),
        ("string", JsonExpiry(("e",), EpochUnit.SECONDS), lambda client, key, ms: client.set(key, f'{{"e": {ms}}}')),
        ("string", ValueExpiry(EpochUnit.SECONDS), lambda client, key, ms: client.set(key, ms)),
        ("zset", ScoreExpiry(), lambda client, key, ms: client.zadd(key, {"m": ms})),
        ("string", MsgpackExpiry(("e",), EpochUnit.SECONDS), lambda client, key, ms: client.set(key, packed(ms))),
    ],
)
def test_milliseconds_taken_for_seconds_are_refused(store, client, now, kind, rule, write):
    for n in range(3):
        write(client, f"s:{n}", int(now.timestamp() * 1000) + n)
    cleaned = target("s:*", kind, rule)
    with pytest.raises(StoreError, match="all 3 records that have an expiry have one after 2100"):
        scan(store, cleaned, dry_run=True)
    write(client, "s:9", int(now.timestamp()) + 60)
    assert scan(store, cleaned, dry_run=True).census.live == 4


def packed(number: int) -> bytes:
    return b"\x81\xa1e\xcf" + number.to_bytes(8, "big")
