"""Values that are too large to be read: their length is asked for first, they stay, and are counted."""

import json
from datetime import timedelta

import msgspec
import pytest
from redis_support import census, drain, target

from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    MsgpackExpiry,
    PointerExpiry,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit

PAST = 1_500_000_000
MIB = 2**20


def calls(client, command: str) -> int:
    return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def big(rule: str) -> bytes:
    padding = "x" * (MIB + 1)
    if rule == "json":
        return json.dumps({"exp": PAST, "data": padding}).encode()
    if rule in ("msgpack", "msgpack_iso"):
        return msgspec.msgpack.encode({"exp": PAST, "data": padding})
    return str(PAST).encode() + b"." + b"0" * 5000


RULES = {
    "json": JsonExpiry(("exp",), EpochUnit.SECONDS),
    "msgpack": MsgpackExpiry(("exp",), EpochUnit.SECONDS),
    "msgpack_iso": MsgpackExpiry(("exp",), None),
    "value": ValueExpiry(),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_value_that_is_too_large_is_not_read_and_stays(store, client, now, rule):
    cleaned = target("b:*", "string", RULES[rule])
    client.set("b:big", big(rule))
    client.config_resetstat()
    counted = census(store, cleaned, now)
    outcomes = drain(store, cleaned, now)
    assert (counted.unparsable, counted.expired, counted.details) == (1, 0, {"too_large": 1})
    assert sum(each.unparsable for each in outcomes) == 1 and sum(each.deleted for each in outcomes) == 0
    assert client.exists("b:big") == 1
    assert calls(client, "get") + calls(client, "getrange") == 0 and calls(client, "strlen") > 0


def test_a_field_or_a_pointer_that_is_too_large_is_not_read_and_stays(store, client, now):
    client.hset("h:big", "expires_at", big("value"))
    client.set("p:big", "s:" + "x" * 5000)
    client.set("p:to", "s:wide")
    client.hset("s:wide", mapping={"token": "y" * 5000, "expires_at": PAST})
    pointers = PointerExpiry("p:", "s:", "token", HashFieldExpiry("expires_at"))
    client.config_resetstat()
    for cleaned in (target("h:*", "hash", HashFieldExpiry("expires_at")), target("p:*", "string", pointers)):
        assert sum(each.deleted for each in drain(store, cleaned, now)) == 0
        assert "too_large" in census(store, cleaned, now).details
    assert calls(client, "hget") == 0 and client.dbsize() == 4


def test_a_key_that_is_too_long_to_hold_a_token_stays(store, client, now):
    client.set("r:" + "a" * 20_000, 1)
    cleaned = target("r:*", "string", JwtKeyExpiry("r:"))
    assert sum(each.unparsable for each in drain(store, cleaned, now)) == 1 and client.dbsize() == 1


def test_one_script_reads_a_few_megabytes_at_most(store, client, now):
    """All of them go, a few in each script."""
    for n in range(24):
        client.set(f"b:{n}", json.dumps({"exp": PAST, "data": "x" * (MIB - 100)}))
    client.config_resetstat()
    assert sum(each.deleted for each in drain(store, target("b:*", "string", RULES["json"]), now)) == 24
    scripts = calls(client, "evalsha") + calls(client, "eval")
    assert calls(client, "get") == 24 and scripts >= 24 / 5


def test_values_that_are_read_here_are_few_at_a_time(store, client, now):
    """MessagePack timestamps: read by the client, in answers of a few megabytes."""
    dead = now - timedelta(days=1)
    for n in range(12):
        client.set(f"m:{n}", msgspec.msgpack.encode({"exp": dead, "data": "x" * (MIB - 100)}))
    assert sum(each.deleted for each in drain(store, target("m:*", "string", RULES["msgpack_iso"]), now)) == 12


def test_deep_json_is_left(store, client, now):
    client.set("b:deep", "[" * 50_000 + "]" * 50_000)
    client.set("b:deeper", '{"exp":' * 5000 + str(PAST) + "}" * 5000)
    outcomes = drain(store, target("b:*", "string", RULES["json"]), now)
    assert sum(each.unparsable for each in outcomes) == 2 and client.dbsize() == 2


def test_a_long_list_gives_few_members_to_a_script(store, client, now, monkeypatch):
    """LREM passes every element behind the one that it removes."""
    from cleanup_pipeline.model.target import MembersExpiry
    from cleanup_pipeline.stores.redis import references

    monkeypatch.setattr(references, "PASSED_AT_ONCE", 1000)
    for n in range(100):
        client.set(f"k:{n}", 1)
    client.rpush("l:a", *(f"gone{n}" for n in range(100)), *(str(n) for n in range(100)))
    cleaned = target("l:*", "list", MembersExpiry(("k:{member}",)))
    client.config_resetstat()
    assert sum(each.deleted for each in drain(store, cleaned, now)) == 100
    assert calls(client, "evalsha") + calls(client, "eval") >= 100 / 10 and client.llen("l:a") == 100
