"""What Redis could do alone: keys that have a TTL go by themselves; the commands that are printed are run."""

from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from redis_support import target

from cleanup_pipeline.engine.advice import advise
from cleanup_pipeline.model.advice import Native
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    MembersExpiry,
    NativeTtl,
    PointerExpiry,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.redis import RedisStore


@pytest.mark.parametrize(
    ("expiry", "unit"),
    [
        (ValueExpiry(), 1),
        (ValueExpiry(EpochUnit.MILLISECONDS), 1000),
        (JsonExpiry(("e",), EpochUnit.SECONDS), 1),
    ],
)
def test_expire_in_the_writer(store: RedisStore, client: "Redis[Any]", expiry: Any, unit: int) -> None:
    of = target('s "x":*', "string", expiry, grace=timedelta(hours=1))
    at = int(store.clock().timestamp()) + 1000
    client.set('s "x":ID', f'{{"e": {at}}}' if isinstance(expiry, JsonExpiry) else at * unit)
    advice = advise(store, of)
    assert (advice.native, advice.why) == (Native.POSSIBLE, ("1 live and 0 expired keys have no TTL",))
    command = advice.ways[0].steps[1].command
    name, key, value = command.split(' "')[0], 's "x":ID', command.split(" ")[-1]
    assert command == f'{name} "s \\"x\\":ID" EXPIRY+{3600 * unit}'
    assert value == f"EXPIRY+{3600 * unit}"
    client.execute_command(name, key, at * unit + 3600 * unit)
    assert 4000 < client.ttl(key) <= 4600
    assert advise(store, of).native is Native.WORKS


def test_hashes_say_what_has_to_be_so_before_a_pass_gives_a_ttl(store: RedisStore, client: "Redis[Any]") -> None:
    client.hset("s:1", "e", int(store.clock().timestamp()) + 1000)
    steps = [step.what for step in advise(store, target("s:*", "hash", HashFieldExpiry("e"))).ways[0].steps]
    assert any("repair_ttl: true" in step for step in steps)
    of = target("s:*", "hash", HashFieldExpiry("e", repair_ttl=True))
    assert any("passes give a live key" in step.what for step in advise(store, of).ways[0].steps)


def test_what_the_server_does_and_cannot_do(store: RedisStore, client: "Redis[Any]") -> None:
    client.set("s:1", "x", ex=100)
    of = target("s:*", "string", NativeTtl())
    assert advise(store, of).native is Native.WORKS
    client.set("s:2", "x")
    assert advise(store, of).native is Native.CHANGE_FIRST
    for expiry, kind in ((MembersExpiry(("s:{member}",)), "set"), (PointerExpiry("i:", "s:"), "string")):
        advice = advise(store, target("i:*", kind, expiry))
        assert advice.native is Native.NO and advice.why
