"""Sorted sets by score, and members whose keys are gone."""

from datetime import timedelta

import pytest
from redis_support import census, drain, snapshot, target

from cleanup_pipeline.model.target import MembersExpiry, ScoreExpiry
from cleanup_pipeline.model.words import EpochUnit, Severity
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis import containers, references
from cleanup_pipeline.stores.redis.store import RedisStore

SCORED = target("tags:*", "zset", ScoreExpiry())
OF_SESSIONS = MembersExpiry(("session:{member}",))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(references, "SETTLE_SECONDS", 0)


def jdk(text: str) -> bytes:
    return b"\xac\xed\x00\x05t" + len(text.encode()).to_bytes(2, "big") + text.encode()


def test_members_past_their_score_go_and_the_others_stay(store, client, now):
    second = now.timestamp()
    scores = {
        "forever": -1,
        "zero": 0,
        "lifetime": 3600,
        "dead": second - 5,
        "fraction": second - 0.5,
        "live": second + 9,
    }
    client.zadd("tags:a", scores)
    client.zadd("tags:b", {"dead": second - 100})
    client.zadd("other", {"dead": 1600000000})
    client.set("tags:text", "x")
    counted = census(store, SCORED, now)
    assert (counted.expired, counted.live, counted.without_expiry, counted.unparsable) == (3, 1, 2, 1)
    assert counted.oldest_expired is not None
    assert abs(counted.oldest_expired - (now - timedelta(seconds=100))) < timedelta(seconds=1)
    outcomes = drain(store, SCORED, now)
    assert sum(o.deleted for o in outcomes) == 3
    assert (sum(o.live for o in outcomes), sum(o.without_expiry for o in outcomes)) == (1, 2)
    assert set(client.zrange("tags:a", 0, -1)) == {b"forever", b"zero", b"lifetime", b"live"}
    assert (client.exists("tags:b"), client.zcard("other")) == (0, 1)
    assert store.survivors(SCORED, now, timedelta(seconds=9)) == 0


def test_a_score_that_is_the_cutoff_stays_and_milliseconds_are_milliseconds(store, client, now):
    millisecond = int(now.timestamp() * 1000)
    client.zadd("tags:a", {"before": millisecond - 1, "at": millisecond, "seconds": millisecond // 1000})
    drain(store, target("tags:*", "zset", ScoreExpiry(EpochUnit.MILLISECONDS)), now)
    assert set(client.zrange("tags:a", 0, -1)) == {b"at", b"seconds"}


def test_one_sorted_set_of_many_members_goes_in_slices(store, client, now):
    second = int(now.timestamp())
    for start in range(0, 30_000, 5000):
        client.zadd("tags:big", {f"m{n}": second - 1 - n % 7 for n in range(start, start + 5000)})
    client.zadd("tags:big", {"live": second + 100})
    outcomes = drain(store, SCORED, now, size=1000)
    assert sum(o.deleted for o in outcomes) == 30_000
    assert max(o.deleted for o in outcomes) <= 1000
    assert max(o.largest for o in outcomes) <= containers.MEMBERS
    assert client.zrange("tags:big", 0, -1) == [b"live"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_member_with_a_target_key_goes_only_without_it(store, client, now, size):
    second = int(now.timestamp())
    many = 60 if size == 1 else 1500
    client.zadd("tags:a", {f"{n}": second - 100 - n // 500 for n in range(many)} | {"later": second + 50})
    for n in range(0, many, 3):
        client.set(f"session:{n}", "x")
    cleaned = target("tags:*", "zset", ScoreExpiry(members=OF_SESSIONS))
    assert census(store, cleaned, now).expired == many - len(range(0, many, 3))
    outcomes = drain(store, cleaned, now, size=size)
    assert set(client.zrange("tags:a", 0, -1)) == {b"later"} | {f"{n}".encode() for n in range(0, many, 3)}
    assert max(o.deleted for o in outcomes) <= size
    assert client.dbsize() == 1 + len(range(0, many, 3))


def fill(client, key_type: str, key: str, members: list[bytes]) -> None:
    if key_type == "set":
        client.sadd(key, *members)
    elif key_type == "hash":
        client.hset(key, mapping=dict.fromkeys(members, "x"))
    elif key_type == "list":
        client.rpush(key, *members)
    else:
        client.zadd(key, dict.fromkeys(members, 5))


def held(client, key_type: str, key: str) -> set[bytes]:
    if key_type in ("list", "zset"):
        return set((client.lrange if key_type == "list" else client.zrange)(key, 0, -1))
    return set({"set": client.smembers, "hash": client.hkeys}[key_type](key))


@pytest.mark.parametrize("key_type", ["set", "hash", "zset", "list"])
@pytest.mark.parametrize("size", [13, 1000])
def test_members_whose_key_is_gone_are_removed(store, client, now, key_type, size):
    for user in range(40):
        fill(client, key_type, f"user:{user}", [f"{user}-{n}".encode() for n in range(3)])
        client.hset(f"session:{user}-1", "x", "y")
    fill(client, key_type, "user:many", [b"many-%d" % n for n in range(2000)])
    client.hset("session:many-7", "x", "y")
    sessions = {k: v for k, v in snapshot(client).items() if k.startswith(b"session:")}
    cleaned = target("user:*", key_type, OF_SESSIONS)
    counted = census(store, cleaned, now)
    assert (counted.expired, counted.live, counted.unparsable) == (80 + 1999, 41, 0)
    outcomes = drain(store, cleaned, now, size=size)
    assert sum(o.deleted for o in outcomes) == 80 + 1999
    assert max(o.deleted for o in outcomes) <= size
    assert max(o.largest for o in outcomes) <= containers.MEMBERS
    assert held(client, key_type, "user:many") == {b"many-7"}
    assert all(held(client, key_type, f"user:{u}") == {f"{u}-1".encode()} for u in range(40))
    assert {k: v for k, v in snapshot(client).items() if k.startswith(b"session:")} == sessions
    assert store.survivors(cleaned, now, timedelta(seconds=9)) == 0


def test_any_of_several_keys_keeps_a_member(store, client, now):
    client.sadd("user:1", "a", "b", "c")
    client.set("session:a", "x")
    client.set("remember:b", "x")
    drain(store, target("user:*", "set", MembersExpiry(("session:{member}", "remember:{member}"))), now)
    assert client.smembers("user:1") == {b"a", b"b"}


def test_names_of_the_index_stand_in_the_template(store, client, now):
    rule = MembersExpiry(("session:{user}:{member}",), index="user_sessions:{user}")
    client.sadd("user_sessions:u:1", "a", "b")
    client.sadd("user_sessions:u2", "a")
    client.set("session:u:1:a", "x")
    cleaned = target("user_sessions:*", "set", rule)
    drain(store, cleaned, now)
    assert client.smembers("user_sessions:u:1") == {b"a"}
    assert client.exists("user_sessions:u2") == 0
    for templates in (("session:{who}:{member}",), ("session:x",)):
        with pytest.raises(StoreError, match="has to hold"):
            store.plan(target("u:*", "set", MembersExpiry(templates, index="u:{user}")), now, counted(store, now))


def counted(store: RedisStore, now):
    return census(store, SCORED, now)


@pytest.mark.parametrize(
    ("codec", "written", "junk"),
    [
        ("raw", lambda name: name.encode(), jdk("dead")),
        ("utf8", lambda name: name.encode(), b"\xff\xfe"),
        ("json", lambda name: f'"{name}"'.encode(), b'{"a":1}'),
        ("jdk", jdk, b"dead"),
    ],
)
def test_members_are_read_as_they_are_written_and_the_unreadable_stay(store, client, now, codec, written, junk):
    client.sadd("user:1", written("dead"), written("live"), junk, b"")
    client.set("session:live", "x")
    cleaned = target("user:*", "set", MembersExpiry(("session:{member}",), codec))
    (outcome,) = drain(store, cleaned, now)
    assert (outcome.deleted, outcome.live, outcome.unparsable) == (1, 1, 2)
    assert client.smembers("user:1") == {written("live"), junk, b""}


@pytest.mark.parametrize(
    ("codec", "members"),
    [("raw", [jdk(f"{n}") for n in range(20)]), ("jdk", [b"%d" % n for n in range(20)])],
)
def test_an_unknown_way_of_writing_stops_everything(store, client, now, codec, members):
    client.sadd("user:1", *members)
    before = snapshot(client)
    cleaned = target("user:*", "set", MembersExpiry(("session:{member}",), codec))
    for attempt in (lambda: drain(store, cleaned, now), lambda: census(store, cleaned, now)):
        with pytest.raises(StoreError, match="member_codec: 20 of 20 members of user:"):
            attempt()
    assert snapshot(client) == before


def test_a_key_written_between_look_and_removal_keeps_its_member(store, client, now, monkeypatch):
    client.sadd("user:1", "a", "b")
    monkeypatch.setattr(references, "sleep", lambda _: client.set("session:a", "x"))
    (outcome,) = drain(store, target("user:*", "set", OF_SESSIONS), now)
    assert client.smembers("user:1") == {b"a"}
    assert (outcome.deleted, outcome.live, outcome.scanned) == (1, 1, 2)


def test_a_score_raised_between_look_and_removal_keeps_its_member(store, client, now, monkeypatch):
    second = now.timestamp()
    client.zadd("tags:1", {"a": second - 9, "b": second - 9})
    monkeypatch.setattr(references, "sleep", lambda _: client.zadd("tags:1", {"a": second + 99}))
    drain(store, target("tags:*", "zset", ScoreExpiry(members=OF_SESSIONS)), now)
    assert client.zrange("tags:1", 0, -1) == [b"a"]


def test_a_container_that_became_another_type_stays(store, client, now, monkeypatch):
    client.sadd("user:1", "a")

    def replaced(_: float) -> None:
        client.delete("user:1")
        client.set("user:1", "text")

    monkeypatch.setattr(references, "sleep", replaced)
    (outcome,) = drain(store, target("user:*", "set", OF_SESSIONS), now)
    assert (outcome.deleted, client.get("user:1")) == (0, b"text")


def test_a_template_that_no_key_fits_is_an_error(store, client):
    client.sadd("user:1", "a")
    cleaned = target("user:*", "set", MembersExpiry(("sess:{member}",)))
    assert [f.severity for f in store.preflight(cleaned)] == [Severity.ERROR]
    client.set("sess:1", "x")
    assert list(store.preflight(cleaned)) == []
    assert list(store.preflight(target("user:*", "zset", ScoreExpiry(members=MembersExpiry(("sess:{member}",))))))


def test_the_type_of_the_keys_has_to_fit(store, now):
    for cleaned in (target("t:*", "set", ScoreExpiry()), target("t:*", "string", OF_SESSIONS)):
        with pytest.raises(StoreError, match="reads members of a"):
            store.preflight(cleaned)


def test_all_members_may_go_with_what_the_key_itself_names(store, client, now):
    rule = MembersExpiry(("session:{id}",), index="session:{id}:idx")
    client.set("session:a", "x")
    client.sadd("session:a:idx", "1", "2")
    client.sadd("session:b:idx", "1", "2")
    drain(store, target("session:*:idx", "set", rule), now)
    assert client.smembers("session:a:idx") == {b"1", b"2"}
    assert client.exists("session:b:idx") == 0
