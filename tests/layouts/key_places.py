"""A MongoDB database or a Redis server with the records of a case in it, and the naive commands against them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pymongo
import redis
from bson import ObjectId

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.model.outcome import ShardOutcome, TargetReport
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.reporting.fold import fold_target
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.mongo import open_mongo
from cleanup_pipeline.stores.redis import open_redis
from tests.layouts.keys_case import GONE, Found, KeyCase, Record, after, before, encoder, in_redis


@dataclass
class MongoPlace:
    """A database with the records of a case in it."""

    url: str

    def write(self, case: KeyCase, targets: Sequence[Target]) -> dict[tuple[str, Any], Record]:
        records = {(r.place, before(r.written)["_id"]): r for r in [*case.records, *foreign(case, targets)]}
        assert len(records) >= len(case.records)
        with self._client() as client:
            for collection in {record.place for record in case.records}:
                self._of(client, targets)[collection].delete_many({})
            for (collection, _), record in records.items():
                self._of(client, targets)[collection].insert_one(before(record.written))
        return records

    def read(self, case: KeyCase, targets: Sequence[Target]) -> Found:
        with self._client() as client:
            database = self._of(client, targets)
            return {(name, d["_id"]): d for name in {r.place for r in case.records} for d in database[name].find()}

    def do(self, command: Mapping[str, Any], targets: Sequence[Target]) -> None:
        with self._client() as client:
            collection = self._of(client, targets)[command["collection"]]
            if "update" in command:
                collection.update_many(command["filter"], command["update"])
            else:
                collection.delete_many(command["filter"])

    def open(self) -> Store:
        return open_mongo(StoreConfig("main", StoreType.MONGO, f"{self.url}&serverMonitoringMode=poll"))

    def _client(self) -> "pymongo.MongoClient[dict[str, Any]]":
        return pymongo.MongoClient(self.url, tz_aware=True)

    @staticmethod
    def _of(client: "pymongo.MongoClient[dict[str, Any]]", targets: Sequence[Target]) -> Any:
        source = targets[0].source
        name = source.database if isinstance(source, CollectionSource) else None
        return client[name] if name else client.get_default_database()


def foreign(case: KeyCase, targets: Sequence[Target]) -> Iterator[Record]:
    """For each field that a preset asks for, a record that would go but for a field of another type, or without it."""
    for target in targets:
        assert isinstance(target.source, CollectionSource)
        collection = target.source.collection
        models = [record for record in case.records if record.place == collection and _dies(record)]
        for (name, _), (number, model) in product(target.source.field_types, enumerate(models)):
            for what in ("of another type", "missing"):
                document = dict(before(model.written))
                if name not in document:
                    # Of another step, which asks less of it.
                    continue
                if name == "_id":
                    if what == "missing":
                        continue
                    document["_id"] = ObjectId()
                else:
                    document["_id"] = f"{target.name}: {name} {what} {number}"
                    document[name] = True if not isinstance(document[name], bool) else "true"
                    if what == "missing":
                        del document[name]
                yield Record(collection, f"{name} {what}", document)
        for name, (number, model) in product(target.source.required_fields, enumerate(models)):
            document = {key: value for key, value in before(model.written).items() if key != name}
            yield Record(collection, f"{name} missing", document | {"_id": f"{target.name}: without {name} {number}"})


def _dies(record: Record) -> bool:
    return after(record.written) is GONE or after(record.written) != before(record.written)


@dataclass
class RedisPlace:
    """A server with the keys of a case in it."""

    url: str

    def write(self, case: KeyCase, targets: Sequence[Target]) -> dict[tuple[str, Any], Record]:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            for record in case.records:
                self._set(client, record)
        return {(record.place, None): record for record in case.records}

    @staticmethod
    def _set(client: "redis.Redis", record: Record) -> None:
        value = before(record.written)
        key, encode = value["key"], encoder(value.get("codec"))
        if "string" in value:
            client.set(key, value["string"])
        elif "elements" in value:
            client.set(key, in_redis(value))
        elif "hash" in value:
            client.hset(key, mapping=value["hash"])
        elif "set" in value:
            client.sadd(key, *map(encode, value["set"]))
        elif "list" in value:
            client.rpush(key, *map(encode, value["list"]))
        else:
            client.zadd(key, {encode(member): score for member, score in value["zset"].items()})
        if "ttl" in value:
            client.expire(key, int(parse_duration(value["ttl"]).total_seconds()))

    def read(self, case: KeyCase, targets: Sequence[Target]) -> Found:
        with redis.Redis.from_url(self.url) as client:
            return {(key.decode(), None): _held(client, key) for key in client.scan_iter()}

    def do(self, command: Mapping[str, Any], targets: Sequence[Target]) -> None:
        with redis.Redis.from_url(self.url) as client:
            _NAIVE[command["what"]](client, command)

    def open(self) -> Store:
        return open_redis(StoreConfig("main", StoreType.REDIS, self.url))


def _held(client: "redis.Redis", key: bytes) -> Any:
    kind = client.type(key).decode()
    match kind:
        case "string":
            return client.get(key)
        case "hash":
            return client.hgetall(key)
        case "set":
            return client.smembers(key)
        case "list":
            return client.lrange(key, 0, -1)
        case _:
            return dict(client.zrange(key, 0, -1, withscores=True))


def _json_past(client: "redis.Redis", command: Mapping[str, Any]) -> None:
    """Keys whose JSON has an instant at a path that has passed; those that it cannot read, too, if it says so."""
    for key in client.scan_iter(command["keys"]):
        try:
            node = json.loads(client.get(key))
            for name in command["path"].split("."):
                node = node[name]
            past = datetime.fromisoformat(node) < datetime.now(UTC)
        except (ValueError, TypeError, KeyError):
            past = bool(command.get("unreadable"))
        if past:
            client.delete(key)


def _without_key(client: "redis.Redis", command: Mapping[str, Any]) -> None:
    """Members for which no key of a template exists."""
    for key in client.scan_iter(command["keys"]):
        kind = client.type(key).decode()
        for member in _held(client, key):
            if not client.exists(command["template"].encode().replace(b"{member}", member)):
                {"set": client.srem, "zset": client.zrem, "list": lambda k, m: client.lrem(k, 0, m)}[kind](key, member)


def _by_score(client: "redis.Redis", command: Mapping[str, Any]) -> None:
    for key in client.scan_iter(command["keys"]):
        client.zremrangebyscore(key, command.get("low", "-inf"), command["now"])


def _without_ttl(client: "redis.Redis", command: Mapping[str, Any]) -> None:
    for key in client.scan_iter(command["keys"]):
        if client.ttl(key) < 0:
            client.delete(key)


def _followed(client: "redis.Redis", command: Mapping[str, Any]) -> None:
    """Pointers without TTL, and what they point to."""
    for key in client.scan_iter(command["keys"]):
        if client.type(key) == b"string" and client.ttl(key) < 0:
            client.delete(key, client.get(key))


def _nothing(client: "redis.Redis", command: Mapping[str, Any]) -> None:
    """What the server does by itself."""


_NAIVE: Mapping[str, Callable[["redis.Redis", Mapping[str, Any]], None]] = {
    "json_past": _json_past,
    "without_key": _without_key,
    "by_score": _by_score,
    "without_ttl": _without_ttl,
    "followed": _followed,
    "nothing": _nothing,
}

Place = MongoPlace | RedisPlace


def clean(place: Place, targets: Sequence[Target]) -> dict[str, TargetReport]:
    """A pass over targets, one after another, without Dagster."""
    reports = {}
    store = place.open()
    try:
        for target in targets:
            plan = scan(store, target, dry_run=False)
            outcomes: list[ShardOutcome] = []
            for shard in plan.work.shards:
                clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(outcomes.append))
            left = store.survivors(target, plan.cutoff, timedelta(seconds=10))
            reports[target.name] = fold_target(plan, outcomes, left)
    finally:
        store.close()
    return reports
