"""Records named one by one are what the census counts, whatever the rule; and sparing one leaves it."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pymongo
import pytest
import redis
from bson import ObjectId

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outline import State
from cleanup_pipeline.model.rules import AgeGuard, LatestExpiry, StartExpiry
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    CollectionSource,
    ColumnExpiry,
    Expiry,
    FieldExpiry,
    HashFieldExpiry,
    JsonExpiry,
    KeySource,
    MsgpackExpiry,
    PointerExpiry,
    Source,
    TableSource,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, Mode, StoreType
from cleanup_pipeline.stores.base import NamesRecords, Store, StoreError
from cleanup_pipeline.stores.mongo.naming import name_of
from cleanup_pipeline.stores.open import open_store

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
PAST, FUTURE = NOW - 2 * HOUR, NOW + 2 * HOUR
SOON = timedelta(seconds=30)


def target_of(store_type: StoreType, source: Source, expiry: Expiry, **more: object) -> Target:
    return Target("t", "s", store_type, "sessions", "session", source, expiry, mode=Mode.DELETE, pause=0 * HOUR, **more)  # type: ignore[arg-type]


def states(store: Store, target: Target) -> Counter[State]:
    """As records are named, after a check that the census says the same of them."""
    assert isinstance(store, NamesRecords)
    store.preflight(target)
    named = list(store.sightings(target, NOW, SOON))
    assert len({each.id for each in named}) == len(named)
    for each in named:
        if each.dies is not None:
            assert (each.dies < NOW) == (each.state is State.EXPIRED), each
    found = Counter(each.state for each in named)
    census = store.census(target, NOW, SOON)
    counted = (census.expired, census.live, census.without_expiry, census.unparsable)
    assert tuple(found[state] for state in State) == counted
    return found


def left_after(store: Store, target: Target) -> int | None:
    """Expired records after a pass without Dagster."""
    plan = scan(store, target, dry_run=False)
    for shard in plan.work.shards:
        clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(lambda _: None))
    return store.survivors(target, plan.cutoff, SOON)


HASHES = KeySource("h:*", "hash")
STRINGS = KeySource("s:*", "string")


@pytest.mark.parametrize(
    ("source", "expiry"),
    [
        (HASHES, HashFieldExpiry("e")),
        (STRINGS, ValueExpiry()),
        (STRINGS, JsonExpiry(("e",), ttl_wins=True)),
        (STRINGS, MsgpackExpiry(("e",), EpochUnit.SECONDS)),
        (KeySource("p:*", "string"), PointerExpiry("p:", "h:", "id", HashFieldExpiry("e"))),
    ],
    ids=["hash", "value", "json", "msgpack", "pointer"],
)
def test_redis(redis_url: str, source: KeySource, expiry: Expiry) -> None:
    client = redis.Redis.from_url(redis_url)
    for n, at in enumerate([PAST, PAST, FUTURE, None, "odd"]):
        instant = int(at.timestamp()) if isinstance(at, datetime) else at
        match expiry:
            case HashFieldExpiry() | PointerExpiry():
                client.hset(f"h:{n}", mapping={"id": str(n), **({} if instant is None else {"e": instant})})
                client.set(f"p:{n}", f"h:{n or 'gone'}")
            case JsonExpiry():
                iso = at.isoformat() if isinstance(at, datetime) else at
                client.set(f"s:{n}", json.dumps({} if iso is None else {"e": iso}), ex=999 if n == 0 else None)
            case MsgpackExpiry():
                # A map of one: the text `e`, and a number of 32 bits or the text `odd`.
                value = b"\xa3odd" if instant == "odd" else b"\xce" + int(instant or 0).to_bytes(4)
                client.set(f"s:{n}", b"\x80" if instant is None else b"\x81\xa1e" + value)
            case _:
                client.set(f"s:{n}", 0 if instant is None else instant)
    client.rpush("s:list", "another type")
    target = target_of(StoreType.REDIS, source, expiry)
    store = open_store(StoreConfig("s", StoreType.REDIS, redis_url))
    found = states(store, target)
    assert found.total() == 5 and found[State.EXPIRED] == (1 if isinstance(expiry, JsonExpiry) else 2)
    store.close()
    client.close()


def test_postgres(postgres_url: str) -> None:
    store = open_store(StoreConfig("s", StoreType.POSTGRES, postgres_url))
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE two (a int, b text, e bigint, began timestamptz, PRIMARY KEY (b, a))")
        db.execute("CREATE TABLE bare (e timestamptz)")
        rows = [(1, "x", PAST), (2, "it's", PAST), (1, "y", FUTURE), (3, "z", None)]
        for a, b, at in rows:
            db.execute("INSERT INTO two VALUES (%s, %s, %s, %s)", (a, b, at and int(at.timestamp()), at))
        db.execute("INSERT INTO two VALUES (9, 'odd', 5, '1980-01-01')")
        source = TableSource("two")
        numbers = target_of(StoreType.POSTGRES, source, ColumnExpiry("e", unit=EpochUnit.SECONDS))
        one_each = {State.LIVE: 1, State.WITHOUT_EXPIRY: 1, State.UNPARSABLE: 1}
        assert states(store, numbers) == {State.EXPIRED: 2, **one_each}
        start = StartExpiry(ColumnExpiry("began"), timedelta(minutes=5))
        latest = LatestExpiry((ColumnExpiry("e", unit=EpochUnit.SECONDS), start))
        old = (AgeGuard(ColumnExpiry("began"), HOUR),)
        assert states(store, target_of(StoreType.POSTGRES, source, latest, guards=old)) == {State.EXPIRED: 2}

        spared = target_of(StoreType.POSTGRES, source, numbers.expiry, spared=("(it's,2)",))
        assert left_after(store, spared) == 0
        assert db.execute("SELECT a, b FROM two WHERE e > 9 ORDER BY b").fetchall() == [(2, "it's"), (1, "y")]

        bare = target_of(StoreType.POSTGRES, TableSource("bare"), ColumnExpiry("e"))
        with pytest.raises(StoreError, match="its rows have no key by which they could be named"):
            states(store, bare)
    store.close()


def test_mongo(mongo_url: str) -> None:
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(mongo_url)
    ids = [ObjectId(), 7, "text", {"of": "two"}]
    web = client.get_default_database().web
    web.insert_many([{"_id": each, "e": PAST} for each in ids])
    web.insert_many([{"_id": 1, "e": FUTURE}, {"_id": 2}, {"_id": 3, "e": "odd"}])
    store = open_store(StoreConfig("s", StoreType.MONGO, mongo_url))
    target = target_of(StoreType.MONGO, CollectionSource("web"), FieldExpiry("e"))
    assert states(store, target) == {
        State.EXPIRED: 4, State.LIVE: 1, State.WITHOUT_EXPIRY: 1, State.UNPARSABLE: 1,
    }  # fmt: skip
    assert isinstance(store, NamesRecords)
    names = [each.id for each in store.sightings(target, NOW, SOON) if each.state is State.EXPIRED]
    assert {str(ids[0]), "7", "text"} < set(names)
    spared = target_of(StoreType.MONGO, CollectionSource("web"), FieldExpiry("e"), spared=tuple(names))
    assert left_after(store, spared) == 0 and web.count_documents({}) == 7
    assert left_after(store, target) == 0 and web.count_documents({}) == 3
    store.close()
    client.close()


def test_no_two_ids_of_mongo_have_one_name(mongo_url: str) -> None:
    """A number and the same in text are two documents: one of them spared, the other one goes."""
    first = ObjectId()
    ids = [12, "12", -7, "-7", first, str(first), '{"v": 1.5}', 1.5, "{x", {"a": 1}, True, "text", "007", b"\x01"]
    assert len({name_of(each) for each in ids}) == len(ids)
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(mongo_url)
    web = client.get_default_database().web
    web.insert_many([{"_id": each, "e": PAST} for each in ids])
    store = open_store(StoreConfig("s", StoreType.MONGO, mongo_url))
    names = {each: name_of(ids[each]) for each in range(0, len(ids), 2)}
    target = target_of(StoreType.MONGO, CollectionSource("web"), FieldExpiry("e"), spared=tuple(names.values()))
    assert left_after(store, target) == 0
    assert web.count_documents({}) == len(names)
    for number in names:
        assert web.find_one({"_id": ids[number]}) is not None
    store.close()
    client.close()
