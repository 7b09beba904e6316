"""Sizes, cursors, concurrent writers, faults in the middle: what a batch promises."""

import random
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis_support import POINTERS, REVOKED, SESSIONS, census, drain, in_two_steps, snapshot, target

from cleanup_pipeline.model.plan import Census, Shard
from cleanup_pipeline.model.target import HashFieldExpiry, JsonExpiry, NativeTtl, ValueExpiry
from cleanup_pipeline.stores.redis import store as store_module
from cleanup_pipeline.stores.redis import sweep
from cleanup_pipeline.stores.redis.rules import SLICE

SHARD = Shard(0)


def fill(client, dead: int, live: int, now) -> tuple[set[bytes], set[bytes]]:
    second = int(now.timestamp())
    gone = {f"session:dead:{n}".encode() for n in range(dead)}
    kept = {f"session:live:{n}".encode() for n in range(live)}
    with client.pipeline(transaction=False) as pipe:
        for key in gone:
            pipe.hset(key, "expires_at", second - 100)
        for key in kept:
            pipe.hset(key, "expires_at", second + 3600)
        pipe.execute()
    return gone, kept


def test_no_batch_and_no_script_removes_more_than_its_size(store, client, now):
    for size in (1, 7, 100, 1000, 5000):
        _, kept = fill(client, 1200 if size > 1 else 60, 100, now)
        outcomes = drain(store, SESSIONS, now, size=size)
        assert max(o.deleted for o in outcomes) <= min(size, 1000)
        assert max(o.largest for o in outcomes) <= min(size, SLICE)
        assert set(client.keys()) == kept
        # No deletion is counted twice, although pages that overflow a batch are read again. A live key may be, when
        # the server shrinks its table between two pages and SCAN names it again.
        assert sum(o.deleted for o in outcomes) == (1200 if size > 1 else 60)
        assert 100 <= sum(o.live for o in outcomes) < 200
        assert sum(o.scanned for o in outcomes) == sum(o.deleted + o.live for o in outcomes)
        client.flushall()


def test_the_plan_is_one_shard_and_says_why(store, now):
    work = store.plan(SESSIONS, now, Census())
    assert (work.strategy, work.shards) == ("scan_script", (Shard(0),))
    assert "SCAN" in work.why


def test_cursors_are_text_and_begin_again_where_they_point(store, client, now):
    _, kept = fill(client, 500, 500, now)
    work = store.plan(SESSIONS, now, Census())
    first = store.delete_batch(SESSIONS, work, SHARD, None, 100, now)
    assert first.cursor is not None
    assert isinstance(first.cursor["scan"], str)
    again = store.delete_batch(SESSIONS, work, SHARD, first.cursor, 100, now)
    assert again.deleted > 0
    outcome = first
    while outcome.cursor is not None:
        outcome = store.delete_batch(SESSIONS, work, SHARD, outcome.cursor, 100, now)
    assert set(client.keys()) == kept
    # The largest cursor there is, as a server of 2^64 buckets might answer: taken as it is.
    store.delete_batch(SESSIONS, work, SHARD, {"scan": str(2**64 - 1)}, 100, now)


def test_sparse_keys_among_many_others_take_few_batches(store, client, now):
    with client.pipeline(transaction=False) as pipe:
        for n in range(20_000):
            pipe.set(f"cache:{n}", "")
        pipe.execute()
    gone, kept = fill(client, 5, 5, now)
    outcomes = drain(store, SESSIONS, now)
    assert sum(o.deleted for o in outcomes) == len(gone)
    assert len(outcomes) <= 8
    assert set(client.keys("session:*")) == kept
    assert client.dbsize() == 20_005


def test_an_empty_database_is_done_at_once(store, now):
    (outcome,) = drain(store, SESSIONS, now)
    assert (outcome.scanned, outcome.deleted, outcome.cursor) == (0, 0, None)


def test_a_second_sweep_finds_nothing(store, client, now):
    fill(client, 300, 300, now)
    drain(store, SESSIONS, now)
    before = snapshot(client)
    outcomes = drain(store, SESSIONS, now)
    assert (sum(o.deleted for o in outcomes), sum(o.repaired for o in outcomes)) == (0, 0)
    assert snapshot(client) == before
    assert store.survivors(SESSIONS, now, timedelta(seconds=30)) == 0


def test_keys_that_hold_glob_characters_or_no_text_at_all(store, client, now):
    second = int(now.timestamp())
    names = [b"*:*", b"?:?", b"[a]:b", b"\\:\\", b"\xff\xfe:\x00", b"\r\n:\n", b"a:" + b"x" * 5000, " :ü".encode()]
    for n, name in enumerate(names):
        client.hset(b"session:dead" + name, "expires_at", second - 100 - n)
        client.hset(b"session:live" + name, "expires_at", second + 3600)
    drain(store, SESSIONS, now)
    assert set(client.keys()) == {b"session:live" + name for name in names}


def test_a_writer_that_refreshes_all_the_while_loses_nothing(server, store, client, now):
    gone, kept = fill(client, 2500, 2500, now)
    every = sorted(gone | kept)
    refreshed: set[bytes] = set()
    begun, stop = threading.Event(), threading.Event()

    def write() -> None:
        choose = random.Random(5)
        with Redis.from_url(server.url) as writer:
            while not stop.is_set():
                key = choose.choice(every)
                writer.hset(key, "expires_at", int(now.timestamp()) + 3600)
                refreshed.add(key)
                begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(10)
        outcomes = drain(store, SESSIONS, now, size=100)
    finally:
        stop.set()
        thread.join()
    left = set(client.keys())
    assert refreshed & gone
    assert kept | refreshed <= left
    assert left == kept | refreshed
    assert sum(o.deleted for o in outcomes) >= len(gone - refreshed)
    assert max(o.deleted for o in outcomes) <= 100


def test_looking_changes_nothing(store, client, now):
    second = int(now.timestamp())
    fill(client, 300, 300, now)
    client.pexpire("session:live:1", 9_000_000)
    client.set("refresh_index:a", "session:nobody:1")
    client.set("refresh_index:b", "session:live:2")
    client.set("revoked_token:x.e30.y", "revoked")
    client.set("v:1", second - 100)
    client.set("v:2", second + 100_000)
    client.set("j:1", '{"e":"2020-01-01T00:00:00Z"}')
    before = snapshot(client)
    looked = [
        SESSIONS,
        POINTERS,
        REVOKED,
        target("v:*", "string", ValueExpiry()),
        target("j:*", "string", JsonExpiry(("e",))),
        target("v:*", "string", NativeTtl()),
    ]
    for cleaned in looked:
        store.preflight(cleaned)
        census(store, cleaned, now)
        store.plan(cleaned, now, Census())
        store.survivors(cleaned, now, timedelta(seconds=30))
    assert snapshot(client) == before


def test_looking_gives_up_in_time_and_says_so(store, client, now):
    fill(client, 1500, 1500, now)
    cut = store.census(SESSIONS, now, timedelta(0))
    assert cut.exact is False
    assert cut.expired is not None
    assert 0 < cut.expired < 1500
    assert store.survivors(SESSIONS, now, timedelta(0)) is None
    whole = census(store, SESSIONS, now)
    assert (whole.exact, whole.expired, whole.live) == (True, 1500, 1500)


def test_a_server_that_forgot_the_script_is_told_it_again(store, client, now):
    _, kept = fill(client, 300, 10, now)
    work = store.plan(SESSIONS, now, Census())
    first = store.delete_batch(SESSIONS, work, SHARD, None, 50, now)
    client.script_flush()
    assert first.cursor is not None
    while first.cursor is not None:
        first = store.delete_batch(SESSIONS, work, SHARD, first.cursor, 50, now)
    assert set(client.keys()) == kept


def test_a_fault_in_the_middle_keeps_the_count_of_what_was_done(store, client, now, monkeypatch):
    _, kept = fill(client, 1000, 1000, now)
    original = sweep.clean_slice
    calls = 0

    def lost_at_the_third(*arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RedisConnectionError("Connection closed by server.")
        return original(*arguments)

    monkeypatch.setattr(store_module, "clean_slice", lost_at_the_third)
    # Without pauses a batch is several scripts.
    outcomes = drain(store, replace(in_two_steps(SESSIONS), pause=timedelta(0)), now)
    assert calls > 3
    assert sum(o.deleted for o in outcomes) == 1000
    assert 1000 <= sum(o.live for o in outcomes) < 2000
    assert set(client.keys()) == kept


def test_a_script_stops_for_its_time_and_the_rest_is_done_by_the_next(store, client, now):
    """Documents of some 20 KiB take a script well over its budget, where the server can tell the time."""
    second = int(now.timestamp())
    filler = ",".join(f'"{n}":[{n},{n}]' for n in range(1500))
    for n in range(200):
        client.set(f"j:{n}", f'{{{filler},"exp":{second + (3600 if n % 2 else -100)}}}')
    cleaned = target("j:*", "string", JsonExpiry(("exp",), HashFieldExpiry("x").unit))
    outcomes = drain(store, cleaned, now)
    assert sum(o.deleted for o in outcomes) == 100
    assert set(client.keys()) == {f"j:{n}".encode() for n in range(1, 200, 2)}
    if client.eval("return rawget(_G, 'os') and 1 or 0", 0):
        assert max(o.largest for o in outcomes) < 100


def test_a_sweep_does_not_make_sessions_look_used(store, client, now):
    try:
        client.client_no_touch("OFF")
    except ResponseError:
        pytest.skip("CLIENT NO-TOUCH came with Redis 7.2")
    fill(client, 0, 1, now)
    client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        client.hset("session:live:0", "x", "y")
        used = client.execute_command("OBJECT", "FREQ", "session:live:0")
        for _ in range(30):
            census(store, SESSIONS, now)
        assert client.execute_command("OBJECT", "FREQ", "session:live:0") == used
    finally:
        client.config_set("maxmemory-policy", "noeviction")
