"""Records that are elements of an array: pulled out of their documents, which stay.

The condition is in the update itself, so that an element that was renewed is not pulled. A document is one write,
however many of its elements go; documents are taken until those have a batch's size of expired elements.
"""

from collections.abc import Mapping
from typing import Any

from pymongo.errors import NotPrimaryError, OperationFailure

from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.stores.mongo.batches import (
    Batch,
    UnsureWriteError,
    changed,
    encoded,
    from_id,
    notice_refusal,
    patiently,
    refuse_unfenced,
    unsure,
)
from cleanup_pipeline.stores.mongo.collection import Document
from cleanup_pipeline.stores.mongo.predicate import Predicate, Query, both

LOOKS = 3
"""How often documents of one batch are tried that somebody else changes meanwhile."""


def sweep_arrays(batch: Batch, cursor: Cursor) -> BatchOutcome:
    """Once through the collection in the order of `_id`; the cursor holds the `_id` to go on from."""
    start = cursor.get("from")
    ahead = from_id(batch.collection.find({}, {"_id": 1}), start).skip(batch.window)
    edge = [document["_id"] for document in patiently(batch, ahead, 1)]
    limit = batch.size + int(start is not None)
    found = patiently(batch, from_id(batch.collection.find(batch.predicate.expired, {"_id": 1}), start), limit)
    if edge:
        found = found.max([("_id", edge[0])])
    candidates = [document["_id"] for document in found]
    full = len(candidates) == limit
    if cursor.get("past") and candidates and encoded(candidates[0]) == start:
        # Whatever is left in the last document of the batch before was looked at there.
        candidates = candidates[1:]
    before = _expired_in(batch, candidates)
    taken: list[Any] = []
    elements = 0
    for identifier in candidates:
        if taken and elements + before.get(encoded(identifier), 0) > batch.size:
            break
        taken.append(identifier)
        elements += before.get(encoded(identifier), 0)
    pulled, left = _pull(batch, taken, before)
    if taken and (full or len(taken) < len(candidates)):
        onward: Cursor | None = {"from": encoded(taken[-1]), "past": 1}
    else:
        onward = {"from": encoded(edge[0])} if edge else None
    return BatchOutcome(scanned=elements, deleted=pulled, cursor=onward, live=left, largest=pulled)


def unwound(predicate: Predicate) -> list[Query]:
    """The stages after which each element of the array is a document of its own."""
    return [
        {"$match": both({predicate.pull or "": {"$type": "array"}}, predicate.guards)},
        {"$unwind": f"${predicate.pull}"},
        *([{"$match": predicate.unwound}] if predicate.unwound else []),
    ]


def _expired_in(batch: Batch, identifiers: list[Any]) -> dict[str, int]:
    """How many elements have expired in each of these documents."""
    if not identifiers:
        return {}
    match = both({"_id": {"$in": identifiers}}, batch.predicate.expired)
    stages = [
        {"$match": match},
        *unwound(batch.predicate),
        {"$match": {"$expr": {"$eq": [batch.predicate.state, "expired"]}}},
        {"$group": {"_id": "$_id", "n": {"$sum": 1}}},
    ]
    rows = batch.collection.aggregate(stages, maxTimeMS=batch.patience, batchSize=len(identifiers))
    return {encoded(row["_id"]): int(row["n"]) for row in rows}


def _pull(batch: Batch, identifiers: list[Any], before: Mapping[str, int]) -> tuple[int, int]:
    """How many elements were pulled out of these documents, and how many expired ones were left in them.

    The server says how many documents it changed, not how many elements. So documents with as many expired elements go
    together, each only while it still has so many: those that a login or a logout changed meanwhile are counted anew.
    """
    expression = batch.predicate.dead_elements
    if expression is None:
        try:
            _change(batch, identifiers, {})
        except UnsureWriteError as fault:
            # Documents are not elements.
            fault.at_most = None
            raise
        left = sum(_left_in(batch, identifiers, None).values())
        return max(0, sum(before.get(encoded(each), 0) for each in identifiers) - left), left
    pulled, rest = 0, identifiers
    for _ in range(LOOKS):
        alike: dict[int, list[Any]] = {}
        for identifier in rest:
            if count := before.get(encoded(identifier), 0):
                alike.setdefault(count, []).append(identifier)
        missed = False
        for count, group in alike.items():
            try:
                changed_ = _change(batch, group, {"$expr": {"$eq": [expression, count]}})
            except UnsureWriteError as fault:
                fault.at_most = None if fault.at_most is None else pulled + count * fault.at_most
                raise
            pulled += count * changed_
            missed = missed or changed_ < len(group)
        if not missed:
            return pulled, 0
        before = _left_in(batch, identifiers, pulled)
        rest = identifiers
    return pulled, sum(before.values())


def _left_in(batch: Batch, identifiers: list[Any], pulled: int | None) -> dict[str, int]:
    """As `_expired_in`, after `pulled` elements went, or nobody knows how many."""
    try:
        return _expired_in(batch, identifiers)
    except (OperationFailure, NotPrimaryError) as fault:
        raise unsure(fault, pulled) from fault


def _change(batch: Batch, identifiers: list[Any], unchanged: Query) -> int:
    """How many documents lost their expired elements."""
    if not identifiers:
        return 0
    refuse_unfenced(batch)
    change = {"$pull": {batch.predicate.pull: batch.predicate.element}}
    query = both(both({"_id": {"$in": identifiers}}, batch.predicate.expired), batch.fence)
    if unchanged:
        query = {"$and": [query, unchanged]}
    command: Document = {
        "update": batch.collection.name,
        "updates": [{"q": query, "u": change, "multi": True, "hint": {"_id": 1}}],
        "maxTimeMS": batch.patience,
    }
    answer = changed(batch, command)
    if not answer["n"]:
        notice_refusal(batch)
    return int(answer["nModified"])
