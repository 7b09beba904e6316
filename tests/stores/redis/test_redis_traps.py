"""The traps of the service whose layout this is (session hashes and refresh_index pointers), each as a test."""

import secrets
from datetime import datetime, timedelta

import pytest
from redis_support import POINTERS, SESSIONS, census, drain, in_two_steps, snapshot, target

from cleanup_pipeline.model.target import HashFieldExpiry, JwtKeyExpiry
from cleanup_pipeline.stores.redis import store as store_module

HOUR = 3600


class Service:
    """Writes as the service does: hash, pointer, then one EXPIREAT each, and no transaction around them."""

    def __init__(self, client, now: datetime) -> None:
        self.client = client
        self.now = int(now.timestamp())

    def session(self, user: str, token: str, lives: int, *, ttl: bool = True) -> str:
        key = f"session:{user}:device"
        self.client.hset(
            key, mapping={"user_id": user, "refresh_token": token, "created_at": 1, "expires_at": self.now + lives}
        )
        if ttl:
            self.client.expireat(key, self.now + lives)
        return key

    def pointer(self, token: str, to: str, lives: int | None = None) -> str:
        self.client.set(f"refresh_index:{token}", to, exat=None if lives is None else self.now + lives)
        return f"refresh_index:{token}"


@pytest.fixture
def service(client, now):
    return Service(client, now)


def keys(client) -> set[str]:
    return {key.decode() for key in client.scan_iter()}


def test_r1_keys_without_ttl_are_repaired_or_removed_by_what_they_say(service, store, client, now):
    live = service.session("live", "t1", HOUR, ttl=False)
    service.session("dead", "t2", -HOUR, ttl=False)
    ttl_kept = service.session("with ttl", "t3", HOUR)
    index = service.pointer("t1", live)
    service.pointer("t2", "session:dead:device")
    before = snapshot(client)
    assert census(store, SESSIONS, now).details == {"live_without_ttl": 1, "expired_without_ttl": 1}

    (pointers,) = drain(store, POINTERS, now)
    (sessions,) = drain(store, SESSIONS, now)

    assert keys(client) == {live, index, ttl_kept}
    assert (pointers.repaired, sessions.repaired) == (1, 1)
    after = snapshot(client)
    assert after[ttl_kept.encode()] == before[ttl_kept.encode()]
    # All three end at the same instant, the one that their values name.
    assert {after[key.encode()][1] for key in (live, index)} == {before[ttl_kept.encode()][1]}


def test_r2_superseded_pointers_go_and_no_session_with_them(service, store, client, now):
    session = service.session("u", "new", HOUR)
    old = service.pointer("old", session, HOUR)
    older = service.pointer("older", session)
    new = service.pointer("new", session, HOUR)
    before = snapshot(client)
    assert census(store, POINTERS, now).details["superseded"] == 2
    drain(store, POINTERS, now)
    assert keys(client) == {session, new}
    assert {old, older}.isdisjoint(keys(client))
    assert snapshot(client) == {key: before[key] for key in (session.encode(), new.encode())}


def test_r3_dangling_pointers_go(service, store, client, now):
    service.pointer("orphan", "session:nobody:device", HOUR)
    service.pointer("orphan without ttl", "session:nobody:device")
    seen = census(store, POINTERS, now)
    assert (seen.expired, seen.details["dangling"], seen.oldest_expired) == (2, 2, None)
    drain(store, POINTERS, now)
    assert keys(client) == set()


def test_r4_a_ttl_shorter_than_the_value_is_counted_and_left(service, store, client, now):
    session = service.session("u", "t", HOUR)
    client.expireat(session, service.now + 600)
    exact = service.session("v", "t", HOUR)
    before = snapshot(client)
    assert census(store, SESSIONS, now).details == {"ttl_shorter_than_value": 1}
    (outcome,) = drain(store, SESSIONS, now)
    assert (outcome.live, outcome.repaired, outcome.deleted) == (2, 0, 0)
    assert snapshot(client) == before
    assert exact in keys(client)


def test_r5_garbage_is_unknown_in_the_session_and_in_what_a_pointer_reads(service, store, client, now):
    for number, value in enumerate(["", "abc", "0x1", "1e9", "NaN", "12 34", "9" * 400]):
        session = service.session(f"u{number}", f"t{number}", -HOUR, ttl=False)
        client.hset(session, "expires_at", value)
        service.pointer(f"t{number}", session)
    missing = service.session("missing", "t", -HOUR, ttl=False)
    client.hdel(missing, "expires_at")
    service.pointer("t", missing)
    zero = service.session("zero", "z", -HOUR, ttl=False)
    client.hset(zero, "expires_at", "0")
    service.pointer("z", zero)
    before = snapshot(client)
    (sessions,) = drain(store, SESSIONS, now)
    (pointers,) = drain(store, POINTERS, now)
    assert snapshot(client) == before
    # 400 nines are a number, of a year that never comes.
    assert (sessions.unparsable, sessions.without_expiry, sessions.live) == (6, 2, 1)
    assert (pointers.unparsable, pointers.live) == (8, 1)


def test_r6_keys_of_any_slot_in_one_script(service, store, client, now):
    for number in range(300):
        service.session(f"{{{number}}}", "t", -HOUR, ttl=False)
    outcomes = drain(store, SESSIONS, now)
    assert sum(o.deleted for o in outcomes) == 300
    assert keys(client) == set()


def test_r7_the_census_is_the_true_number(service, store, client, now):
    for number in range(40):
        service.session(f"live{number}", "t", HOUR + number)
    for number in range(30):
        service.session(f"dead{number}", "t", -HOUR - number, ttl=False)
    client.hset("session:x:1", "expires_at", "0")
    client.hset("session:x:2", "expires_at", "?")
    client.set("session:legacy:string", "{}")
    client.sadd("session:lookup:user", "a")
    seen = census(store, SESSIONS, now)
    assert (seen.live, seen.expired, seen.without_expiry, seen.unparsable, seen.exact) == (40, 30, 1, 1, True)
    assert seen.oldest_expired is not None
    assert int(seen.oldest_expired.timestamp()) == service.now - HOUR - 29
    assert store.survivors(SESSIONS, now, timedelta(seconds=30)) == 30


def test_legacy_keys_of_another_type_under_the_same_prefix_are_left(service, store, client, now):
    client.set("session:legacy:token", '{"expires_at":1}')
    client.rpush("session:legacy:list", "1")
    client.zadd("session:legacy:zset", {"a": 1})
    client.hset("refresh_index:hash", "refresh_token", "x")
    before = snapshot(client)
    drain(store, SESSIONS, now)
    drain(store, POINTERS, now)
    assert snapshot(client) == before


def test_a_pointer_dies_with_the_expiry_of_its_session_which_stays(service, store, client, now):
    session = service.session("u", "t", -HOUR, ttl=False)
    service.pointer("t", session, HOUR)
    before = snapshot(client)
    drain(store, POINTERS, now)
    assert snapshot(client) == {session.encode(): before[session.encode()]}


def test_pointers_whose_value_is_not_ours_are_left(service, store, client, now):
    client.set("refresh_index:a", "users:1")
    client.set("refresh_index:b", "")
    client.set("refresh_index:c", b"\xffsession:")
    client.set("refresh_index:d", "session:a list")
    client.rpush("session:a list", "x")
    client.set("refresh_index:e", "session:nameless")
    client.hset("session:nameless", "expires_at", "1600000000")
    before = snapshot(client)
    (outcome,) = drain(store, POINTERS, now)
    assert (outcome.unparsable, outcome.deleted) == (5, 0)
    assert snapshot(client) == before


def test_pointer_identifiers_are_compared_byte_by_byte(service, store, client, now):
    tokens = ["*", "t?", "[a]", "a:b", "%d", "T", "\\", "tail\n", "refresh_index:x"]
    for number, token in enumerate(tokens):
        service.pointer(token, service.session(f"u{number}", token, HOUR), HOUR)
    service.pointer("t", "session:u5:device", HOUR)
    binary = b"refresh_index:\xff\x00\xfe"
    client.hset("session:bin:1", mapping={"refresh_token": b"\xff\x00\xfe", "expires_at": service.now + HOUR})
    client.set(binary, "session:bin:1")
    before = snapshot(client)
    drain(store, POINTERS, now)
    after = snapshot(client)
    assert set(before) - set(after) == {b"refresh_index:t"}
    assert after[binary][0] == before[binary][0]


def test_no_pointer_ever_takes_its_session_along(service, store, client, now):
    for number in range(400):
        token = secrets.token_hex(4)
        session = service.session(f"u{number}", token, HOUR if number % 2 else -HOUR, ttl=False)
        service.pointer(token if number % 3 else "old" + token, session, HOUR if number % 5 else None)
    sessions = {k: v for k, v in snapshot(client).items() if k.startswith(b"session:")}
    outcomes = drain(store, POINTERS, now, size=50)
    assert sum(o.deleted for o in outcomes) > 100
    assert {k: v for k, v in snapshot(client).items() if k.startswith(b"session:")} == sessions


def test_the_race_a_session_refreshed_between_scan_and_script_stays(service, store, client, now, monkeypatch):
    refreshed = [service.session(f"back{n}", "t", -HOUR, ttl=False) for n in range(20)]
    for number in range(20):
        service.session(f"gone{number}", "t", -HOUR, ttl=False)
    original = store_module.clean_slice
    candidates: list[bytes] = []

    def refresh_first(sweep, names, *rest):
        candidates.extend(names)
        for session in refreshed:
            client.hset(session, "expires_at", service.now + HOUR)
        return original(sweep, names, *rest)

    monkeypatch.setattr(store_module, "clean_slice", refresh_first)
    outcomes = drain(store, in_two_steps(SESSIONS), now)
    assert {key.decode() for key in candidates} >= set(refreshed)
    assert keys(client) == set(refreshed)
    assert (sum(o.deleted for o in outcomes), sum(o.live for o in outcomes)) == (20, 20)


def test_the_race_a_pointer_whose_session_was_rotated_back_stays(service, store, client, now, monkeypatch):
    session = service.session("u", "other", HOUR)
    pointer = service.pointer("t", session, HOUR)
    original = store_module.clean_slice

    def rotate_first(*arguments):
        client.hset(session, "refresh_token", "t")
        return original(*arguments)

    monkeypatch.setattr(store_module, "clean_slice", rotate_first)
    drain(store, in_two_steps(POINTERS), now)
    assert keys(client) == {session, pointer}


def test_the_race_a_key_that_became_another_type_stays(service, store, client, now, monkeypatch):
    session = service.session("u", "t", -HOUR, ttl=False)
    original = store_module.clean_slice

    def replace_first(*arguments):
        client.delete(session)
        client.set(session, "a string now")
        return original(*arguments)

    monkeypatch.setattr(store_module, "clean_slice", replace_first)
    (outcome,) = drain(store, in_two_steps(SESSIONS), now)
    assert (outcome.scanned, outcome.deleted) == (0, 0)
    assert client.get(session) == b"a string now"


def test_excluded_keys_are_neither_counted_nor_touched(service, store, client, now):
    service.session("u", "t", -HOUR, ttl=False)
    client.hset("session:lookup:user", "expires_at", "1600000000")
    before = snapshot(client)
    cleaned = target("session:*", "hash", HashFieldExpiry("expires_at"), exclude=("session:lookup:*",))
    assert census(store, cleaned, now).expired == 1
    drain(store, cleaned, now)
    assert snapshot(client) == {b"session:lookup:user": before[b"session:lookup:user"]}


def test_a_jwt_key_outside_its_prefix_is_left(store, client, now):
    client.set("revoked:a.e30.c", "x")
    (outcome,) = drain(store, target("revoked*", "string", JwtKeyExpiry("revoked_token:")), now)
    assert (outcome.unparsable, client.exists("revoked:a.e30.c")) == (1, 1)
