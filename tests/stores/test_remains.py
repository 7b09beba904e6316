"""The look of a witness on the three stores: the oldest dead record, how many there are, and when it gives up."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pymongo
import pytest
import redis
from psycopg import sql

from cleanup_pipeline.engine.remains import remains_of
from cleanup_pipeline.model.outcome import Remains
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    CollectionSource,
    ColumnExpiry,
    FieldExpiry,
    KeySource,
    MembersExpiry,
    TableSource,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import Store, StoreError
from cleanup_pipeline.stores.open import open_store
from cleanup_pipeline.stores.postgres.predicate import compile_predicate
from cleanup_pipeline.stores.postgres.shape import AWARE, Shape
from cleanup_pipeline.stores.postgres.statements import identifier, statement

NOW = datetime.now(UTC).replace(microsecond=0)
AGES = [timedelta(days=1), timedelta(days=9), timedelta(hours=1)]
LONG = timedelta(seconds=20)
OLDEST = NOW - timedelta(days=9)


@dataclass
class Place:
    """Three records that died at AGES, one that lives, one without expiry."""

    store: Store
    target: Target


@pytest.fixture(params=["postgres", "redis", "mongo"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    kind = StoreType(request.param)
    url: str = request.getfixturevalue(f"{kind}_url")
    dies = [*(NOW - age for age in AGES), NOW + timedelta(days=1)]
    if kind is StoreType.POSTGRES:
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
            db.execute("INSERT INTO s SELECT 0, unnest(%s::timestamptz[])", ([*dies, None],))
        target = target_of(kind, TableSource("s"), ColumnExpiry("expires_at"))
    elif kind is StoreType.REDIS:
        with redis.Redis.from_url(url) as client:
            client.mset({f"s:{n}": int(at.timestamp()) for n, at in enumerate(dies)} | {"s:never": 0})
        target = target_of(kind, KeySource("s:*", "string"), ValueExpiry())
    else:
        url = f"{url}&serverMonitoringMode=poll"
        with pymongo.MongoClient[Any](url) as docs:
            docs.get_default_database()["c"].insert_many([*({"e": at} for at in dies), {"other": 1}])
        target = target_of(kind, CollectionSource("c"), FieldExpiry("e"))
    store = open_store(StoreConfig("main", kind, url))
    yield Place(store, target)
    store.close()


def target_of(kind: StoreType, source: Any, expiry: Any, **more: Any) -> Target:
    return Target("web", "main", kind, "sessions", "session", source, expiry, **more)


def test_the_oldest_and_how_many(place: Place) -> None:
    look = place.store.remains
    assert look(place.target, NOW, LONG) == Remains(3, OLDEST, known=True)
    # What is within its grace is nobody's business, and the oldest is what is past it.
    assert look(place.target, NOW - timedelta(days=2), LONG) == Remains(1, OLDEST, known=True)
    assert look(place.target, NOW - timedelta(days=30), LONG) == Remains(0, None, known=True)
    at, remains = remains_of(place.store, place.target)
    assert remains.count == 3 and abs(at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_table_that_cannot_be_read_in_time_is_unknown(postgres_url: str) -> None:
    target = target_of(StoreType.POSTGRES, TableSource("s"), ColumnExpiry("expires_at"))
    store = open_store(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    with psycopg.connect(postgres_url, autocommit=True) as db, psycopg.connect(postgres_url) as other:
        db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
        db.execute("INSERT INTO s VALUES (0, now() - interval '1 day')")
        assert store.remains(target, NOW, LONG).count == 1
        other.execute("LOCK TABLE s")
        assert store.remains(target, NOW, timedelta(milliseconds=200)) == Remains(None, None, known=False)
    store.close()


def test_the_oldest_is_found_by_the_index(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
        db.execute("INSERT INTO s SELECT n, now() - n * interval '1 s' FROM generate_series(1, 20000) n")
        db.execute("CREATE INDEX by_expiry ON s (expires_at)")
        db.execute("ANALYZE s")
        predicate = compile_predicate(ColumnExpiry("expires_at"), Shape("public", {"expires_at": AWARE}), NOW)
        look = statement("oldest_expired", table=identifier("s"), expiry=predicate.expiry, expired=predicate.expired)
        plan = str(db.execute(sql.SQL("EXPLAIN ") + look, predicate.parameters).fetchall())
    assert "using by_expiry" in plan and "Sort" not in plan and "Aggregate" not in plan


def test_a_walk_that_is_cut_short_is_unknown(redis_url: str) -> None:
    target = target_of(StoreType.REDIS, KeySource("s:*", "string"), ValueExpiry())
    with redis.Redis.from_url(redis_url) as client:
        client.mset({f"s:{n}": int((NOW - timedelta(days=1)).timestamp()) for n in range(5000)})
    store = open_store(StoreConfig("main", StoreType.REDIS, redis_url))
    assert store.remains(target, NOW, timedelta(0)) == Remains(None, None, known=False)
    assert store.remains(target, NOW, LONG).count == 5000
    store.close()


def test_members_have_no_instant(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.sadd("index:1", "a", "b", "c")
        client.set("s:a", "x")
    expiry = MembersExpiry(("s:{member}",))
    target = target_of(StoreType.REDIS, KeySource("index:*", "set"), expiry)
    store = open_store(StoreConfig("main", StoreType.REDIS, redis_url))
    assert store.remains(target, NOW, LONG) == Remains(2, None, known=True)
    store.close()


def test_elements_of_arrays(mongo_url: str) -> None:
    url = f"{mongo_url}&serverMonitoringMode=poll"
    with pymongo.MongoClient[Any](url) as docs:
        tokens = [{"e": NOW - age} for age in AGES]
        docs.get_default_database()["c"].insert_many([{"t": tokens[:2]}, {"t": tokens[2:]}, {"t": []}])
    target = target_of(StoreType.MONGO, CollectionSource("c"), FieldExpiry("t.e", pull="t"))
    store = open_store(StoreConfig("main", StoreType.MONGO, url))
    assert store.remains(target, NOW, LONG) == Remains(3, OLDEST, known=True)
    store.close()


def test_what_cannot_be_cleaned_cannot_be_judged(postgres_url: str) -> None:
    target = target_of(StoreType.POSTGRES, TableSource("nowhere"), ColumnExpiry("expires_at"))
    store = open_store(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    with pytest.raises(StoreError, match="does not exist"):
        remains_of(store, target)
    store.close()
