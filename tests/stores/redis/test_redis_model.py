"""Random keyspaces against a second, independent reading of the rules in Python."""

import re
from datetime import timedelta
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_support import POINTERS, drain, snapshot, target

from cleanup_pipeline.model.target import HashFieldExpiry
from cleanup_pipeline.model.words import EpochUnit

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GARBAGE = st.one_of(
    st.sampled_from(
        ["", "0", "0.0", "-1", "nan", "inf", "0x65000000", "1e9", " 1600000000", "1600000000 ", "1_600_000_000"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.integers(-10, 10**30).map(str),
    st.decimals(0, 10**12, places=4, allow_nan=False, allow_infinity=False).map(str),
)
# Well away from the clock, which goes on while the test runs.
DISTANCE = st.one_of(st.integers(-(10**9), -1), st.just(0), st.integers(60, 10**9))
TTL = st.one_of(st.none(), st.integers(10**6, 10**9))


def verdict(text: str | None, unit: EpochUnit, cutoff: Fraction) -> str:
    """dead, live, or untouched, of one expiry as text; `cutoff` in seconds."""
    if text is None or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text, re.ASCII):
        return "untouched"
    seconds = Fraction(text) / unit.per_second
    if seconds < 10**9:
        return "untouched"
    if seconds >= 253_402_300_800:
        return "untouched"
    return "dead" if seconds < cutoff else "live"


def at(now, distance: int, unit: EpochUnit) -> str:
    return str((int(now.timestamp() * 1000) + distance * 1000) * unit.per_second // 1000)


@RELAXED
@given(
    records=st.lists(st.tuples(st.one_of(DISTANCE, GARBAGE, st.none()), TTL), max_size=30),
    unit=st.sampled_from(EpochUnit),
    size=st.integers(1, 40),
)
def test_hash_fields(store, client, records, unit, size):
    client.flushall()
    now = store.clock()
    cutoff = Fraction(int(now.timestamp() * 1000), 1000)
    expected: dict[bytes, tuple[str, int | None]] = {}
    for number, (value, ttl) in enumerate(records):
        key = f"s:{number}"
        text = at(now, value, unit) if isinstance(value, int) else value
        client.hset(key, mapping={"other": "x"} if text is None else {"e": text})
        if ttl:
            client.pexpire(key, ttl)
        expected[key.encode()] = (verdict(text, unit, cutoff), ttl)
    before = snapshot(client)
    drain(store, target("s:*", "hash", HashFieldExpiry("e", unit)), now, size)
    _compare(before, snapshot(client), expected, now)


@RELAXED
@given(
    sessions=st.lists(st.tuples(st.sampled_from("abc"), st.one_of(DISTANCE, GARBAGE, st.none())), max_size=8),
    pointers=st.lists(
        st.tuples(st.sampled_from("abcd"), st.one_of(st.integers(0, 10), st.just("users:1"), st.just("")), TTL),
        max_size=20,
        unique_by=lambda pointer: pointer[0],
    ),
)
def test_pointers(store, client, sessions, pointers):
    client.flushall()
    now = store.clock()
    cutoff = Fraction(int(now.timestamp() * 1000), 1000)
    for number, (token, value) in enumerate(sessions):
        fields = {"refresh_token": token}
        if value is not None:
            fields["expires_at"] = at(now, value, EpochUnit.SECONDS) if isinstance(value, int) else value
        client.hset(f"session:{number}", mapping=fields)
    expected: dict[bytes, tuple[str, int | None]] = {}
    for token, to, ttl in pointers:
        key = f"refresh_index:{token}"
        client.set(key, f"session:{to}" if isinstance(to, int) else to, px=ttl)
        if not isinstance(to, int):
            outcome = "untouched"
        elif to >= len(sessions) or sessions[to][0] != token:
            outcome = "dead"
        else:
            raw = client.hget(f"session:{to}", "expires_at")
            outcome = verdict(None if raw is None else raw.decode(), EpochUnit.SECONDS, cutoff)
        expected[key.encode()] = (outcome, ttl)
    before = snapshot(client)
    drain(store, POINTERS, now)
    after = snapshot(client)
    untouched = {key: ("untouched", None) for key in before if key.startswith(b"session:")}
    _compare(before, after, expected | untouched, now)


def _compare(before, after, expected, now) -> None:
    assert set(after) == {key for key, (outcome, _) in expected.items() if outcome != "dead"}
    for key, (dump, end) in after.items():
        assert dump == before[key][0]
        outcome, ttl = expected[key]
        if outcome == "live" and ttl is None:
            # One that dies this very instant is not repaired: PEXPIREAT would be a deletion.
            assert end == -1 or end == 0 or end > (now - timedelta(seconds=1)).timestamp() * 1000
            continue
        assert end == before[key][1]
