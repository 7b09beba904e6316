"""The documents of a collection one by one, named by their `_id`: for plans, which show a few and follow up on many."""

import re
from collections.abc import Generator, Sequence
from dataclasses import replace
from heapq import nlargest
from time import monotonic
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection

from cleanup_pipeline.model.outline import ClientCount, Clients, Sighting, State
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError
from cleanup_pipeline.stores.mongo.batches import decoded_id, encoded
from cleanup_pipeline.stores.mongo.collection import Document, source_of
from cleanup_pipeline.stores.mongo.predicate import Predicate, Query, both, from_bound

_STATES = {"expired": State.EXPIRED, "live": State.LIVE, "late": State.LIVE, "without_expiry": State.WITHOUT_EXPIRY}
DOCUMENTS_A_FETCH = 2000
_WHOLE = re.compile(r"-?[0-9]+")


def name_of(value: Any) -> str:
    """An `_id` as people write it: text, a whole number and an ObjectId as they are, anything else as extended JSON.

    No two `_id`s that MongoDB tells apart have one name: text that could be one of the others is extended JSON as well.
    """
    if isinstance(value, str):
        return encoded(value) if _is_other(value) else value
    return str(value) if isinstance(value, ObjectId | int) and not isinstance(value, bool) else encoded(value)


def _is_other(text: str) -> bool:
    return text.startswith("{") or ObjectId.is_valid(text) or _WHOLE.fullmatch(text) is not None


def shown(value: Any) -> str:
    """A client as people write it, where nothing hangs on its type."""
    return value if isinstance(value, str) else name_of(value)


def sparing(predicate: Predicate, spared: Sequence[str]) -> Predicate:
    """The predicate, less the documents of these names."""
    if not spared:
        return predicate
    return replace(predicate, expired=both(predicate.expired, {"_id": {"$nin": [_value(name) for name in spared]}}))


def _value(name: str) -> Any:
    """The `_id` of a name."""
    if name.startswith("{"):
        return decoded_id(name)
    if _WHOLE.fullmatch(name):
        return int(name)
    return ObjectId(name) if ObjectId.is_valid(name) else name


def all_of(
    collection: Collection[Document], target: Target, predicate: Predicate, patience: int
) -> Generator[Sighting, None, None]:
    """Every document. `patience` in ms. Raises BatchTimeoutError."""
    _refuse_elements(target)
    yield from _found(collection, target, predicate, [], patience)


def nearest(
    collection: Collection[Document], target: Target, predicate: Predicate, index: str | None, count: int, patience: int
) -> list[Sighting]:
    """The oldest and the youngest that are expired, and the live ones that die next, by index where there is one."""
    _refuse_elements(target)
    ends = monotonic() + patience / 1000
    found: list[Sighting] = []
    if index is not None and predicate.between:
        limit = predicate.between[predicate.field]["$lt"]
        beyond = both({predicate.field: {"$gte": limit, "$not": {"$type": "array"}}}, predicate.guards)
        for query, order in ((predicate.expired, 1), (predicate.expired, -1), (beyond, 1)):
            rows = collection.find(query, {"_id": 1}).sort(predicate.field, order).hint(index).limit(count)
            ids = [row["_id"] for row in rows.max_time_ms(_left(target, ends))]
            if ids:
                stages = [{"$match": {"_id": {"$in": ids}}}]
                found += _found(collection, target, predicate, stages, _left(target, ends))
    else:
        for states, order in ((["expired"], 1), (["expired"], -1), (["live", "late"], 1)):
            of_state: list[Query] = [{"$match": {"state": {"$in": states}}}]
            of_state += [{"$sort": {"instant": order}}, {"$limit": count}]
            sorted_ = collection.aggregate([*_judged(predicate, target), *of_state], maxTimeMS=_left(target, ends))
            found += [_sighting(row, target) for row in sorted_]
    return list({each.id: each for each in found}.values())


def odd(
    collection: Collection[Document], target: Target, predicate: Predicate, count: int, patience: int
) -> list[Sighting]:
    """Some without expiry, and some that cannot be read."""
    _refuse_elements(target)
    ends = monotonic() + patience / 1000
    found: list[Sighting] = []
    for state in ("without_expiry", "unparsable"):
        stages = [*_judged(predicate, target), {"$match": {"state": state}}, {"$limit": count}]
        found += [_sighting(row, target) for row in collection.aggregate(stages, maxTimeMS=_left(target, ends))]
    return found


def by_client(
    collection: Collection[Document], target: Target, predicate: Predicate, most: int, patience: int
) -> Clients:
    """Expired documents by client; groups are taken one by one, and only the largest kept."""
    _refuse_elements(target)
    group = {"$group": {"_id": f"${target.client}", "count": {"$sum": 1}}}
    none, total, top = 0, 0, list[tuple[int, str]]()
    for row in collection.aggregate([{"$match": predicate.expired}, group], maxTimeMS=patience):
        total += int(row["count"])
        if row["_id"] is None:
            none += int(row["count"])
            continue
        top.append((int(row["count"]), shown(row["_id"])))
        if len(top) > most * 100:
            top = nlargest(most, top)
    top = sorted(top, key=lambda each: (-each[0], each[1]))[:most]
    counted = tuple(ClientCount(client, count) for count, client in top)
    return Clients(counted, total - none - sum(each.count for each in counted), none)


def _judged(predicate: Predicate, target: Target) -> list[Query]:
    client = f"${target.client}" if target.client else None
    shown = {"_id": 1, "state": predicate.state, "instant": predicate.instant, "client": client or {"$literal": None}}
    return [{"$match": predicate.guards}, {"$project": shown}]


def _found(
    collection: Collection[Document], target: Target, predicate: Predicate, first: list[Query], patience: int
) -> Generator[Sighting, None, None]:
    ends = monotonic() + patience / 1000
    stages = [*first, *_judged(predicate, target)]
    for number, row in enumerate(collection.aggregate(stages, maxTimeMS=patience, batchSize=DOCUMENTS_A_FETCH)):
        # What died before the window is none of it.
        if row["state"] != "earlier":
            yield _sighting(row, target)
        if number % DOCUMENTS_A_FETCH == 0 and monotonic() > ends:
            raise _too_long(target)


def _sighting(row: Document, target: Target) -> Sighting:
    _, expiry = source_of(target)
    state = _STATES.get(row["state"], State.UNPARSABLE)
    known = state in {State.EXPIRED, State.LIVE}
    client = row.get("client")
    dies = from_bound(expiry, row.get("instant")) if known else None
    return Sighting(name_of(row["_id"]), state, dies, None if client is None else shown(client))


def _left(target: Target, ends: float) -> int:
    left = int((ends - monotonic()) * 1000)
    if left <= 0:
        raise _too_long(target)
    return left


def _refuse_elements(target: Target) -> None:
    if source_of(target)[1].pull is not None:
        raise StoreError(
            "its records are elements of arrays, which have no name",
            setting=f"targets.{target.name}.expires.pull",
            remedy="go by the counts",
        )


def _too_long(target: Target) -> BatchTimeoutError:
    return BatchTimeoutError(
        "its documents could not be read in the time that there is",
        setting=f"targets.{target.name}.census_timeout",
        remedy="raise it, or go by the counts",
    )
