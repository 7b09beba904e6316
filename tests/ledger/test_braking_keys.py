"""The brakes on Redis: each holds its case on a real server, and not what is like it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from cleanup_pipeline.engine.looks import newest_of, shape_of
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.model.brake import BrakeSettings
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    KeySource,
    MsgpackExpiry,
    NativeTtl,
    ScoreExpiry,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, StoreType
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.open import open_store
from tests.ledger.test_braking import DAY, HOUR, WEB, Cleaner

KEYS = replace(
    WEB, store_type=StoreType.REDIS, source=KeySource("session:*", "hash"), expiry=HashFieldExpiry("expires_at")
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    opened = open_store(StoreConfig("main", StoreType.REDIS, redis_url))
    yield opened
    opened.close()


@pytest.fixture
def cleaner(ledger: Ledger, store: Store) -> Cleaner:
    return Cleaner(ledger, store)


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


def write(client: "redis.Redis", count: int, first: timedelta, *, named: str = "a", per: int = 1) -> None:
    """`count` sessions that end at now + `first` and then each a minute later, in seconds times `per`."""
    start = datetime.now(UTC) + first
    pipe = client.pipeline(transaction=False)
    for n in range(count):
        at = int((start + timedelta(minutes=n)).timestamp()) * per
        pipe.hset(f"session:{named}:{n}", "expires_at", at)
    pipe.execute()


def remove(client: "redis.Redis", named: str) -> None:
    client.delete(*client.scan_iter(f"session:{named}:*"))


def test_far_more_than_ever(client: "redis.Redis", cleaner: Cleaner) -> None:
    cleaner.past(30, expired=20)
    write(client, 500, HOUR)
    write(client, 40, -2 * DAY, named="old")
    assert cleaner.held(KEYS) == set()
    write(client, 4000, -4 * DAY, named="many")
    assert cleaner.held(KEYS) == {"unusual"}
    assert cleaner.let_go() == {"unusual"}
    assert cleaner.held(KEYS) == set()
    assert cleaner.held(replace(KEYS, brakes=BrakeSettings(unusual_count=None, unusual_share=None))) == set()


def test_keys_from_a_backup(client: "redis.Redis", cleaner: Cleaner) -> None:
    write(client, 500, HOUR)
    write(client, 100, 2 * DAY, named="new")
    assert cleaner.held(KEYS) == set()
    # Some log out: others are as new.
    client.delete(*[f"session:new:{n}" for n in range(80, 100)])
    assert cleaner.held(KEYS) == set()
    remove(client, "new")
    assert cleaner.held(KEYS) == {"restored"}
    assert "expire" in cleaner.ledger.brakes.held("web")[0].brake.what
    assert cleaner.let_go() == {"restored"}
    assert cleaner.held(KEYS) == set()
    assert cleaner.held(replace(KEYS, brakes=BrakeSettings(unusual_from=200, restored=None))) == set()


def test_few_keys_are_not_from_a_backup(client: "redis.Redis", cleaner: Cleaner) -> None:
    write(client, 30, HOUR)
    write(client, 20, 2 * DAY, named="new")
    assert cleaner.held(KEYS) == set()
    remove(client, "new")
    assert cleaner.held(KEYS) == set()


def test_another_unit(client: "redis.Redis", cleaner: Cleaner) -> None:
    write(client, 300, HOUR)
    assert cleaner.held(KEYS) == set()
    # As a rolling release writes both: the type is not told from so few, and the share is.
    for n in range(110):
        client.hset(f"session:b:{n}", "expires_at", "never mind")
    assert cleaner.held(KEYS) == {"changed"}
    assert cleaner.let_go() == {"changed"}
    assert cleaner.held(KEYS) == set()
    for n in range(400):
        client.hset(f"session:c:{n}", "expires_at", "never mind")
    assert cleaner.held(KEYS) == {"changed", "unreadable"}
    off = BrakeSettings(changed=False, unreadable_rise=None, unreadable=False)
    assert cleaner.held(replace(KEYS, brakes=off)) == set()


def test_another_type(client: "redis.Redis", cleaner: Cleaner) -> None:
    write(client, 300, HOUR)
    assert cleaner.held(KEYS) == set()
    write(client, 300, HOUR, per=1000)
    mine = replace(KEYS, expiry=HashFieldExpiry("expires_at"), brakes=BrakeSettings(unusual_from=200, restored=None))
    with pytest.raises(Exception, match="have one after 2100"):
        cleaner.held(mine)
    # Where the rule is put right, the record of what it was is another rule's.
    assert cleaner.held(replace(mine, expiry=HashFieldExpiry("expires_at", unit=EpochUnit.MILLISECONDS))) == set()
    for n in range(300):
        client.hset(f"session:a:{n}", "expires_at", f"{n}")
    write(client, 10, HOUR, named="b")
    assert "changed" in cleaner.held(mine)
    assert any(each.brake.about == "seconds since 1970 -> number" for each in cleaner.ledger.brakes.held("web"))


SHAPES: list[tuple[str, Any, Target, str | None]] = [
    ("hash", "1900000000", KEYS, "seconds since 1970"),
    ("hash", "1900000000000", KEYS, "milliseconds since 1970"),
    ("hash", "2030-01-01T00:00:00Z", KEYS, "an ISO 8601 time"),
    ("string", b'{"a":{"exp":1900000000}}', replace(KEYS, expiry=JsonExpiry(("a", "exp"))), "seconds since 1970"),
    ("string", b'{"a":{"exp":null}}', replace(KEYS, expiry=JsonExpiry(("a", "exp"))), None),
    ("string", b"\x81\xa3exp\xce\x71\x3f\xb3\x00", replace(KEYS, expiry=MsgpackExpiry(("exp",))), "seconds since 1970"),
    ("string", b"1900000000", replace(KEYS, expiry=ValueExpiry()), "seconds since 1970"),
    ("zset", 1_900_000_000_000, replace(KEYS, expiry=ScoreExpiry()), "milliseconds since 1970"),
    ("string", b"x", replace(KEYS, expiry=NativeTtl()), None),
]


@pytest.mark.parametrize(("kind", "value", "target", "shape"), SHAPES)
def test_the_type_of_an_expiry(
    client: "redis.Redis", store: Store, kind: str, value: Any, target: Target, shape: str | None
) -> None:
    if kind == "hash":
        client.hset("session:1", "expires_at", value)
    elif kind == "zset":
        client.zadd("session:1", {"a": value})
    else:
        client.set("session:1", value)
    assert shape_of(store, replace(target, source=KeySource("session:*", kind))) == shape


def test_the_newest_is_the_tenth_of_all(client: "redis.Redis", store: Store) -> None:
    write(client, 900, HOUR)
    plan = scan(store, KEYS, dry_run=True)
    tenth = datetime.fromtimestamp(int(client.hget("session:a:890", "expires_at") or 0), UTC)
    assert plan.newest == tenth
    client.flushall()
    write(client, 9, HOUR)
    assert scan(store, KEYS, dry_run=True).newest is None
    assert newest_of(store, replace(KEYS, name="other")) is None
