"""Keys are kept before they go, go only while they are what was kept, and come back with value and TTL."""

import json
import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.removed import Fate, Lot, PutBack
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    KeySource,
    MembersExpiry,
    MsgpackExpiry,
    NativeTtl,
    PointerExpiry,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, Mode, StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis import RedisStore, open_redis
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.keeping import BYTES_A_BATCH, BYTES_A_SCRIPT, Kept
from cleanup_pipeline.stores.redis.scripts import load_script
from tests.stores.handing import Memory


def target_of(expiry: Any, key_type: str, memory: Memory | None, **changes: Any) -> Target:
    defaults: dict[str, Any] = {"mode": Mode.DELETE, "pause": timedelta(0), "handover": memory}
    source = KeySource("s:*", key_type)
    return Target("t", "cache", StoreType.REDIS, "sessions", "session", source, expiry, **(defaults | changes))


def clean(store: RedisStore, target: Target, size: int = 70) -> tuple[int, int]:
    """Deleted, and survivors."""
    plan = scan(store, target, dry_run=False)
    cursor, deleted = None, 0
    while True:
        batch = store.delete_batch(target, plan.work, plan.work.shards[0], cursor, size, plan.cutoff)
        deleted += batch.deleted
        cursor = batch.cursor
        if cursor is None:
            return deleted, store.survivors(target, plan.cutoff, timedelta(seconds=10)) or 0


def whole(client: "Redis") -> dict[bytes, tuple[Any, int]]:
    # Redis writes the fields of a large hash in another order each time.
    return {
        key: (client.hgetall(key) if client.type(key) == b"hash" else client.dump(key), client.pttl(key))
        for key in client.scan_iter("s:*")
    }


def same(before: dict[bytes, tuple[Any, int]], after: dict[bytes, tuple[Any, int]], within_ms: int = 1000) -> bool:
    """The same values, and TTLs that went on meanwhile."""
    return before.keys() == after.keys() and all(
        dump == after[key][0] and ((ttl < 0) == (after[key][1] < 0)) and 0 <= ttl - after[key][1] <= within_ms
        for key, (dump, ttl) in before.items()
    )


def fill_hashes(client: "Redis", now: datetime, dead: int = 300) -> None:
    with client.pipeline() as pipe:
        for n in range(dead + 20):
            dies = now + timedelta(hours=-1 - n if n < dead else 1)
            pipe.hset(
                f"s:{n}", mapping={"exp": str(int(dies.timestamp())), "uid": f"u{n % 3}", "bin": bytes(range(n % 256))}
            )
            if n % 2 and n < dead:
                pipe.pexpire(f"s:{n}", 3_600_000 + n)
        pipe.execute()


HASH = HashFieldExpiry("exp")


@pytest.mark.parametrize("exclude", [(), ("s:none*",)])
def test_keys_come_back_with_their_ttl(
    store: RedisStore, client: "Redis", now: datetime, exclude: tuple[str, ...]
) -> None:
    fill_hashes(client, now)
    before, memory = whole(client), Memory()
    target = replace(target_of(HASH, "hash", memory, owner="uid"), source=KeySource("s:*", "hash", exclude))
    assert clean(store, target) == (300, 0)
    assert len(whole(client)) == 20
    assert memory.names == sorted(f"s:{n}" for n in range(300))
    assert {r.owner for r in memory.records} == {b"u0", b"u1", b"u2"}
    assert {r.died for r in memory.records} == {(int(now.timestamp()) - 3600 * (n + 1)) * 1000 for n in range(300)}
    assert memory.back_to(store, target, dry_run=True) == {Fate.RESTORED: 300}
    assert len(whole(client)) == 20
    assert memory.back_to(store, target) == {Fate.RESTORED: 300}
    assert same(before, whole(client), 60_000)
    client.set("s:5", "another one by now")
    client.delete("s:6")
    assert memory.back_to(store, target) == {Fate.EXISTS: 299, Fate.RESTORED: 1}
    assert client.get("s:5") == b"another one by now"


def test_a_ttl_that_ran_out_meanwhile_is_over(store: RedisStore, client: "Redis", now: datetime) -> None:
    fill_hashes(client, now, dead=2)
    memory = Memory()
    target = target_of(HASH, "hash", memory)
    clean(store, target)
    # As though it had been an hour: the instant is in the body.
    aged = [r._replace(body=(1).to_bytes(8, "little") + r.body[8:]) for r in memory.records]
    assert store.put_back(target, Lot(aged), dry_run=False).fates == (Fate.OVER, Fate.OVER)
    assert not client.exists("s:0", "s:1")


def test_only_told(store: RedisStore, client: "Redis", now: datetime) -> None:
    fill_hashes(client, now)
    memory = Memory(whole=False)
    assert clean(store, target_of(HASH, "hash", memory, owner="uid")) == (300, 0)
    assert not memory.held and len(memory.names) == 300
    assert not any(r.body for r in memory.records)


def test_a_hash_of_too_many_fields_is_not_read_whole_and_stays(
    store: RedisStore, client: "Redis", now: datetime
) -> None:
    fill_hashes(client, now, dead=3)
    client.hset("s:1", mapping={f"f{n}": "x" for n in range(1001)})
    memory = Memory()
    assert clean(store, target_of(HASH, "hash", memory)) == (2, 1)
    assert client.exists("s:1") and "s:1" not in memory.names and len(memory.names) == 2
    assert clean(store, target_of(HASH, "hash", None)) == (1, 0)


@pytest.mark.parametrize("change", ["value", "ttl", "gone", "type"])
def test_what_changed_meanwhile_stays(store: RedisStore, client: "Redis", now: datetime, change: str) -> None:
    fill_hashes(client, now, dead=10)

    def meanwhile(_: Lot) -> None:
        match change:
            case "value":
                client.hset("s:4", "exp", "4000000000")
            case "ttl":
                client.pexpire("s:4", 10_000_000)
            case "gone":
                client.delete("s:4")
            case "type":
                client.set("s:4", "x")

    memory = Memory(meanwhile=meanwhile)
    target = target_of(HASH, "hash", memory)
    plan = scan(store, target, dry_run=False)
    batch = store.delete_batch(target, plan.work, plan.work.shards[0], None, 1000, plan.cutoff)
    assert batch.deleted == 9
    assert "s:4" not in memory.names and len(memory.names) == 9
    assert client.exists("s:4") == (change != "gone")


def test_json_and_its_owner(store: RedisStore, client: "Redis", now: datetime) -> None:
    for n in range(10):
        value = {"cookie": {"expires": (now - timedelta(days=1)).isoformat()}, "user": {"id": n if n % 2 else f"u{n}"}}
        client.set(f"s:{n}", json.dumps(value if n else {"cookie": value["cookie"], "user": 5}))
    before, memory = whole(client), Memory()
    target = target_of(JsonExpiry(("cookie", "expires")), "string", memory, owner="user.id")
    assert clean(store, target) == (10, 0)
    assert sorted(r.owner for r in memory.records) == sorted(
        [b"", b"1", b"3", b"5", b"7", b"9", b"u2", b"u4", b"u6", b"u8"]
    )
    memory.back_to(store, target)
    assert same(before, whole(client))


@pytest.mark.parametrize(
    ("members", "owner"),
    [
        ('"user": {"uid": 4711}', b"4711"),
        ('"user": {"uid": 4711.0}', b"4711"),
        ('"user": {"uid": -0}', b"0"),
        ('"user": {"uid": 1234567890123456}', b"1234567890123456"),
        ('"user": {"uid": 0.1}', b"0.1"),
        ('"user": {"uid": 9007199254740993}', b"9007199254740993"),
        ('"user": {"uid" :\n175928847299117063 }', b"175928847299117063"),
        ('"user": {"uid": -175928847299117063, "text": "\\"uid\\": 1, \\/ \\u1234"}', b"-175928847299117063"),
        # Where it cannot be told which of two it is, or how it was written, it is nobody's.
        ('"user": {"uid": 175928847299117063}, "peer": {"uid": 175928847299117064}', b""),
        ('"user": {"uid": 175928847299117063}, "peer": {"uid": "x"}', b""),
        ('"user": {"u\\u0069d": 175928847299117063, "x\\"uid": 175928847299117064}', b""),
        ('"user": {"uid": {"uid": 175928847299117063}}', b""),
        ('"user": {"uid": 1.75928847299117063e17}', b""),
        ('"user": {"uid": null}', b""),
    ],
)
def test_an_owner_that_is_a_number_is_entered_in_digits(
    store: RedisStore, client: "Redis", now: datetime, members: str, owner: bytes
) -> None:
    client.set("s:1", f'{{"exp": {int(now.timestamp()) - 60}, {members}}}')
    memory = Memory(whole=False)
    target = target_of(JsonExpiry(("exp",), EpochUnit.SECONDS), "string", memory, owner="user.uid")
    assert clean(store, target) == (1, 0)
    assert [record.owner for record in memory.records] == [owner]


def msgpack_of(seconds: int) -> bytes:
    return b"\x81\xa3exp\xce" + seconds.to_bytes(4, "big")


def test_values_that_are_judged_here(store: RedisStore, client: "Redis", now: datetime) -> None:
    for n in range(120):
        client.set(f"s:{n}", msgpack_of(int(now.timestamp()) + (-60 if n < 100 else 60)))
    before, memory = whole(client), Memory()
    target = target_of(MsgpackExpiry(("exp",), EpochUnit.SECONDS), "string", memory)
    assert clean(store, target) == (100, 0)
    assert len(memory.names) == 100
    assert memory.back_to(store, target) == {Fate.RESTORED: 100}
    after = whole(client)
    # Live ones got their TTL back from the pass, as ever.
    assert {key: dump for key, (dump, _) in after.items()} == {key: dump for key, (dump, _) in before.items()}
    told = Memory(whole=False)
    assert clean(store, target_of(target.expiry, "string", told)) == (100, 0)
    assert len(told.names) == 100


@pytest.mark.parametrize(
    ("expiry", "key_type", "changes", "says"),
    [
        (MembersExpiry(("x:{member}",)), "set", {"removals": True}, "members of keys"),
        (PointerExpiry("s:", "x:"), "string", {"quarantine": True}, "would point nowhere"),
        (ValueExpiry(), "string", {"removals": True, "owner": "uid"}, "a hash's field or from JSON"),
        (MsgpackExpiry(("exp",)), "string", {"removals": True, "owner": "uid"}, "a hash's field or from JSON"),
        (HASH, "hash", {"removals": True, "identifier": "x"}, "asked for by their own name"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    store: RedisStore, client: "Redis", expiry: Any, key_type: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        scan(store, target_of(expiry, key_type, None, **changes), dry_run=False)


def test_pointers_are_told_of_after_the_second_look(store: RedisStore, client: "Redis") -> None:
    for n in range(5):
        client.set(f"s:{n}", f"x:{n}")
    memory = Memory(whole=False)
    assert clean(store, target_of(PointerExpiry("s:", "x:"), "string", memory)) == (5, 0)
    assert memory.names == [f"s:{n}" for n in range(5)]


def test_why_the_server_takes_nothing_back(store: RedisStore, client: "Redis", now: datetime) -> None:
    fill_hashes(client, now, dead=2)
    memory = Memory()
    target = target_of(HASH, "hash", memory)
    assert clean(store, target) == (2, 0)
    lot = Lot(memory.records)
    damaged = Lot([record._replace(body=record.body[:-9] + b"\xff" * 9) for record in memory.records])
    version = store.put_back(target, damaged, dry_run=False)
    client.config_set("maxmemory", "1")
    try:
        full = store.put_back(target, lot, dry_run=False)
    finally:
        client.config_set("maxmemory", "0")
    assert version.fates == full.fates == (Fate.REFUSED, Fate.REFUSED)
    assert version.reasons == ("the server does not take a DUMP of another version",)
    assert len(full.reasons) == 1 and "out of memory (maxmemory)" in full.reasons[0]
    assert store.put_back(target, lot, dry_run=False) == PutBack((Fate.RESTORED, Fate.RESTORED))


def test_a_login_that_may_not_restore_is_not_told_of_versions(
    store: RedisStore, client: "Redis", now: datetime
) -> None:
    fill_hashes(client, now, dead=1)
    memory = Memory()
    target = target_of(HASH, "hash", memory)
    assert clean(store, target) == (1, 0)
    client.acl_setuser("weak", True, passwords=["+weak"], keys=["*"], categories=["+@all"], commands=["-restore"])
    weak = open_redis(replace(store.config, url=store.config.url.replace("redis://", "redis://weak:weak@")))
    try:
        back = weak.put_back(target, Lot(memory.records), dry_run=False)
    finally:
        weak.close()
        client.acl_deluser("weak")
    assert back.fates == (Fate.REFUSED,) and "whether the login may run it" in back.reasons[0]


def scripts(client: "Redis") -> int:
    info: Any = client.info("commandstats")
    return int(info["cmdstat_evalsha"]["calls"]) if "cmdstat_evalsha" in info else 0


def test_a_script_has_no_more_bytes_than_it_may_have_keys(store: RedisStore, client: "Redis") -> None:
    memory = Memory()
    target, counts = target_of(HASH, "hash", memory), Counts()
    kept = Kept(store.client, target, memory)
    for n in range(9):
        client.set(f"s:{n}", os.urandom(1_000_000))
    for name in ("take", "put_back"):
        client.script_load(load_script("fence", name).source)
    before = whole(client)
    for key, (dump, _) in before.items():
        kept.add(key, None, b"", b"", dump, counts)
    begun = scripts(client)
    kept.take(counts)
    # Four of them fit into 4 MiB.
    assert scripts(client) - begun == 3
    assert counts.deleted == 9 and not whole(client)
    begun = scripts(client)
    assert memory.back_to(store, target) == {Fate.RESTORED: 9}
    assert scripts(client) - begun == 3
    assert same(before, whole(client))


@pytest.mark.parametrize("exclude", [(), ("s:none*",)])
def test_a_batch_ends_where_what_it_keeps_is_too_much_to_have_in_memory(
    store: RedisStore, client: "Redis", now: datetime, exclude: tuple[str, ...]
) -> None:
    memory = Memory()
    for n in range(40):
        dies = int((now - timedelta(hours=1)).timestamp())
        client.hset(f"s:{n}", mapping={"exp": str(dies), "blob": os.urandom(1_000_000)})
    target = replace(target_of(HASH, "hash", memory), source=KeySource("s:*", "hash", exclude=exclude))
    held: list[int] = []
    hold = memory.hold

    def measured(lot: Lot) -> None:
        held.append(sum(len(record.body) for record in lot.records))
        hold(lot)

    memory.hold = measured  # type: ignore[method-assign]
    assert clean(store, target, size=1000) == (40, 0)
    # One more script than it may have.
    assert max(held) <= BYTES_A_BATCH + BYTES_A_SCRIPT and sum(held) > 40_000_000


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("one_in", [1, 9])
def test_whose_each_key_was_however_many_of_them_go(
    client: "Redis", store: RedisStore, now: datetime, whole: bool, one_in: int
) -> None:
    """Where most keys go, an owner is read along with its expiry; where few do, after it."""
    owners = [b"u", None, b"", b"x" * 5000, b"\xff\n 2", "Zoe\u0308".encode()]
    expected: dict[bytes, bytes] = {}
    for n in range(120):
        owner, dead = owners[n % len(owners)], n % one_in == 0
        exp = int((now + timedelta(hours=-1 if dead else 1)).timestamp())
        client.hset(f"s:{n}", mapping={"exp": str(exp), **({} if owner is None else {"uid": owner})})
        if dead:
            # One that is longer than any owner is nobody's: it is not read.
            expected[b"s:%d" % n] = b"" if owner is None or len(owner) > 4096 else owner
    memory = Memory(whole=whole)
    assert clean(store, target_of(HASH, "hash", memory, owner="uid", removals=True)) == (len(expected), 0)
    assert {record.identifier: record.owner for record in memory.records} == expected
    assert all(record.died == int((now - timedelta(hours=1)).timestamp()) * 1000 for record in memory.records)


@pytest.mark.parametrize(("key_type", "refused"), [("list", True), ("zset", True), ("string", False), ("hash", False)])
def test_an_owner_is_asked_for_only_of_keys_that_can_name_one(
    store: RedisStore, client: "Redis", key_type: str, refused: bool
) -> None:
    """A script that asks a list for a field fails in the middle of its keys."""
    client.set("s:1", "x")
    target = target_of(NativeTtl(), key_type, Memory(whole=False), owner="uid", removals=True)
    codes = {found.code for found in store.preflight(target)}
    assert ("redis.keeping" in codes) is refused
