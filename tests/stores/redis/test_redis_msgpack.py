"""MessagePack values: what the server reads, what the client reads, and what changed meanwhile."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis_support import census, drain, snapshot, target

from cleanup_pipeline.model.target import MsgpackExpiry
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.redis import values
from cleanup_pipeline.stores.redis.msgpack import unpack

ENCODE = msgspec.msgpack.encode
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
DATES = st.integers(-(10**9), 10**10).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
DOCUMENTS = st.recursive(
    SCALARS | DATES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(DOCUMENTS)
def test_what_is_packed_is_read_back(document: Any) -> None:
    assert unpack(ENCODE(document)) == msgspec.convert(tupled(document), Any)


def tupled(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: tupled(value) for name, value in node.items()}
    return tuple(tupled(value) for value in node) if isinstance(node, list) else node


@given(st.binary())
def test_other_bytes_are_refused_or_are_a_value(data: bytes) -> None:
    try:
        unpack(data)
    except ValueError:
        return


@pytest.mark.parametrize("unit", [None, EpochUnit.SECONDS, EpochUnit.MILLISECONDS])
@pytest.mark.parametrize("size", [3, 1000])
def test_the_dead_go_the_live_get_their_ttl_back_and_the_rest_stays(store, client, now, unit, size):
    def at(distance: int) -> Any:
        instant = now + timedelta(seconds=distance)
        return instant if unit is None else instant.timestamp() * unit.per_second

    for n in range(20):
        client.set(f"m:dead{n}", ENCODE({"a": {"exp": at(-100 - n)}, "data": [1, 2]}))
    client.set("m:live", ENCODE({"a": {"exp": at(500)}}))
    junk = [
        b"",
        b"junk",
        b"\xc1",
        ENCODE(7),
        ENCODE({"a": 1}),
        ENCODE({"a": {"exp": "soon"}}),
        ENCODE({"a": {"exp": True}}),
    ]
    junk += [ENCODE({"a": {"exp": at(-100)}}) * 2, ENCODE({"a": {"exp": 3600}})]
    for n, value in enumerate(junk):
        client.set(f"m:junk{n}", value)
    client.set("m:never", ENCODE({"a": {"exp": None}}))
    client.set("m:missing", ENCODE({"a": {}}))
    client.hset("m:hash", "exp", 1)
    before = snapshot(client)
    cleaned = target("m:*", "string", MsgpackExpiry(("a", "exp"), unit))
    counted = census(store, cleaned, now)
    assert (counted.expired, counted.live, counted.without_expiry, counted.unparsable) == (20, 1, 2, len(junk))
    assert snapshot(client) == before
    outcomes = drain(store, cleaned, now, size=size)
    assert sum(o.deleted for o in outcomes) == 20
    assert max(o.deleted for o in outcomes) <= size
    assert (sum(o.repaired for o in outcomes), 400 < client.ttl("m:live") <= 500) == (1, True)
    after = snapshot(client)
    left = {key: value for key, value in before.items() if not key.startswith(b"m:dead")}
    assert {key: dump for key, (dump, _) in after.items()} == {key: dump for key, (dump, _) in left.items()}


def test_a_value_written_between_reading_and_removing_stays(store, client, now, monkeypatch):
    dead, fresh = ENCODE({"exp": now - timedelta(1)}), ENCODE({"exp": now + timedelta(1)})
    for n in range(4):
        client.set(f"m:{n}", dead)
    original = values.run_scripts

    def refreshed(*arguments, **named):
        client.set("m:1", fresh)
        client.delete("m:2")
        client.hset("m:2", "x", "y")
        return original(*arguments, **named)

    monkeypatch.setattr(values, "run_scripts", refreshed)
    drain(store, target("m:*", "string", MsgpackExpiry(("exp",))), now)
    assert (client.get("m:1"), client.type("m:2"), client.dbsize()) == (fresh, b"hash", 2)


def test_a_ttl_that_wins_keeps_the_key(store, client, now):
    for key, ttl in (("m:kept", 500), ("m:gone", None)):
        client.set(key, ENCODE({"exp": now - timedelta(1)}), ex=ttl)
    drain(store, target("m:*", "string", MsgpackExpiry(("exp",), ttl_wins=True)), now)
    assert client.keys() == [b"m:kept"]
