"""Documents that cannot be removed, kept out of the batches that follow. Their `_id`s travel in the cursor.

The engine bounds how many there can be.
"""

from dataclasses import replace

from cleanup_pipeline.model.outcome import Cursor
from cleanup_pipeline.stores.mongo.batches import Batch, decoded_id, encoded, from_id, patiently
from cleanup_pipeline.stores.mongo.predicate import Predicate, Query, both

PARKED = "parked"


def without_parked(predicate: Predicate, cursor: Cursor) -> Predicate:
    """The predicate, less the documents that the cursor names as parked."""
    parked = [decoded_id(text) for text in _texts(cursor)]
    return replace(predicate, expired=both(predicate.expired, {"_id": {"$nin": parked}})) if parked else predicate


def carried(onward: Cursor | None, cursor: Cursor) -> Cursor | None:
    """The next cursor, which still knows the parked documents."""
    return onward if onward is None or PARKED not in cursor else {**onward, PARKED: cursor[PARKED]}


def park_next(batch: Batch, index: str | None, cursor: Cursor) -> Cursor:
    """The cursor with the first document that a batch would take there parked; unchanged when there is none."""
    expired, field = batch.predicate.expired, batch.predicate.field
    if index is None:
        found = from_id(batch.collection.find(expired, {"_id": 1}), cursor.get("from"))
    else:
        last = cursor.get("last")
        bound: list[Query] = [] if last is None else [{field: {"$gte": decoded_id(last)}}]
        found = batch.collection.find({"$and": [expired, *bound]}, {"_id": 1}).sort(field, 1).hint(index)
    first = next(iter(patiently(batch, found, 1)), None)
    return cursor if first is None else {**cursor, PARKED: "\n".join([*_texts(cursor), encoded(first["_id"])])}


def _texts(cursor: Cursor) -> list[str]:
    return str(cursor.get(PARKED) or "").splitlines()
