"""Ranges of a shard key, so that each deletion of a sharded collection goes to the one shard that has the documents.

They come from the settings, or from the cluster's own list of chunks (config.collections and config.chunks, as
https://www.mongodb.com/docs/manual/reference/config-database/ describes them). Whatever lies in no range, such as a
document without the key or one whose key is of another type, is cleaned at the end by commands to every shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from bson import json_util
from bson.max_key import MaxKey
from bson.min_key import MinKey
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from cleanup_pipeline.model.outcome import Cursor
from cleanup_pipeline.model.plan import Shard
from cleanup_pipeline.model.target import Chunks, Target
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo.collection import Document
from cleanup_pipeline.stores.mongo.predicate import Predicate, Query, both

MOST_RANGES = 1000
"""Once those that lie side by side on one shard are one."""
KEY, RANGES, REST, AT = "shard_key", "ranges", "rest", "range"
_OPTIONS = json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True)


@dataclass(frozen=True, slots=True)
class Range:
    """Documents whose key is at least `low` and below `high`; MinKey and MaxKey are open."""

    low: Any
    high: Any
    shard: str = ""

    def query(self, key: str) -> Query:
        """As a condition on the key alone, which is what a router looks at."""
        bounds: Query = {}
        if not isinstance(self.low, MinKey):
            bounds["$gte"] = self.low
        if not isinstance(self.high, MaxKey):
            bounds["$lt"] = self.high
        return {key: bounds} if bounds else {key: {"$exists": True}}


def ranges_of(client: MongoClient[Document], collection: Collection[Document], target: Target) -> list[Range]:
    """In the order of the key. Raises StoreError where the cluster's list does not help."""
    chunks = target.chunks
    if chunks is None:
        return []
    if chunks.at:
        edges = [MinKey(), *chunks.at, MaxKey()]
        return [Range(low, high) for low, high in pairwise(edges)]
    return _from_cluster(client, collection, target, chunks)


def _from_cluster(
    client: MongoClient[Document], collection: Collection[Document], target: Target, chunks: Chunks
) -> list[Range]:
    place, name = f"targets.{target.name}.chunks", collection.full_name
    give = "write the edges as `at`, or leave `chunks` out"
    try:
        known = client["config"]["collections"].find_one({"_id": name})
        if known is None or known.get("dropped"):
            raise StoreError(f"{name} is not sharded", setting=place, remedy=give)
        first, kind = next(iter(dict(known.get("key") or {}).items()), ("", None))
        if first != chunks.key:
            raise StoreError(f"{name} is sharded by {first}, not by {chunks.key}", setting=place, remedy=give)
        if kind == "hashed":
            what = f"{name} is sharded by a hash of {first}, of which no query can name a range"
            raise StoreError(what, setting=place, remedy="leave `chunks` out")
        # Before MongoDB 5.0 by name, since then by the collection's own identifier.
        belong: list[Query] = [{"ns": name}] + ([{"uuid": known["uuid"]}] if "uuid" in known else [])
        rows = client["config"]["chunks"].find({"$or": belong}, {"min": 1, "max": 1, "shard": 1})
        found = [Range(row["min"][first], row["max"][first], str(row["shard"])) for row in rows.sort("min", 1)]
    except OperationFailure as fault:
        what = f"the login may not read the cluster's chunks ({type(fault).__name__})"
        raise StoreError(what, setting=place, remedy=f"grant read on config, or {give}") from None
    merged = _merged(found)
    if len(merged) > MOST_RANGES:
        raise StoreError(f"it has {len(merged):,} ranges, of at most {MOST_RANGES:,}", setting=place, remedy=give)
    return merged


def _merged(found: Sequence[Range]) -> list[Range]:
    """Neighbours on one shard as one range; chunks of one value of the key, told apart by further fields, as well."""
    merged: list[Range] = []
    for one in found:
        if merged and (merged[-1].shard == one.shard or one.low == one.high):
            merged[-1] = replace(merged[-1], high=one.high)
        elif one.low != one.high:
            # A chunk that ends within a value of the key shares that value with the next one.
            merged.append(one)
    return merged


def cut(key: str, ranges: Sequence[Range], most: int) -> tuple[Shard, ...]:
    """Disjoint shards that cover every document: neighbouring ranges, and at the end what lies in none of them."""
    count = min(max(1, most - 1), len(ranges))
    groups = [ranges[len(ranges) * i // count : len(ranges) * (i + 1) // count] for i in range(count)]
    shards = [Shard(i, {KEY: key, RANGES: _pack(group)}) for i, group in enumerate(groups)]
    return (*shards, Shard(len(shards), {KEY: key, REST: _pack(ranges)}))


def within(predicate: Predicate, shard: Shard, cursor: Cursor) -> Predicate:
    """The predicate, of the range that the cursor is in alone."""
    if KEY not in shard.bounds:
        return predicate
    key = str(shard.bounds[KEY])
    if REST in shard.bounds:
        others = [one.query(key) for one in _unpack(str(shard.bounds[REST]))]
        mine: Query = {"$and": [{"$nor": others}]}
    else:
        mine = _unpack(str(shard.bounds[RANGES]))[int(cursor.get(AT) or 0)].query(key)
    # As guards, so that a walk bounds how far it looks for documents of this range.
    return replace(predicate, expired=both(predicate.expired, mine), guards=both(predicate.guards, mine))


def onward(shard: Shard, cursor: Cursor, after: Cursor | None) -> Cursor | None:
    """The cursor of the shard, once that of the range is known; None behind the last range."""
    if RANGES not in shard.bounds:
        return after
    at = int(cursor.get(AT) or 0)
    if after is not None:
        return {**after, AT: at}
    return {AT: at + 1} if at + 1 < len(_unpack(str(shard.bounds[RANGES]))) else None


def _pack(ranges: Sequence[Range]) -> str:
    return json_util.dumps([[one.low, one.high] for one in ranges], json_options=_OPTIONS)


def _unpack(text: str) -> list[Range]:
    return [Range(low, high) for low, high in json_util.loads(text, json_options=_OPTIONS)]
