"""One batch: find the `_id`s of some expired documents, then delete by those `_id`s with the whole predicate repeated.

MongoDB has no DELETE with a limit. A document that is renewed between the two commands no longer matches, and stays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import json_util
from pymongo.collection import Collection
from pymongo.cursor import Cursor as Found
from pymongo.errors import NotPrimaryError, OperationFailure

from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Bound
from cleanup_pipeline.model.removed import Handover
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.mongo.collection import Document
from cleanup_pipeline.stores.mongo.predicate import Predicate, Query, both

WINDOW = 5_000
"""Documents or index entries that a batch of full size looks at: bounds its time where few of them are expired."""

STUCK = 3
"""Batches in a row that deleted nothing they found, after which a walk steps over that instant."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch works on. `size` and `window` are in documents, `patience` in ms for each command."""

    collection: Collection[Document]
    predicate: Predicate
    size: int
    window: int
    patience: int
    fence: Query = field(default_factory=dict[str, Any])
    """Matches nothing once the lease that the batch was given has run out. Empty: no lease, or an older server."""
    lease_over: Callable[[], bool] | None = None
    """Whether the lease has run out by the server's clock; None without one."""
    unset: tuple[str, ...] = ()
    """Fields that expired documents lose instead of being deleted; the expiry is among them, or within one."""
    rule: Target | None = None
    handover: Handover | None = None
    """Who is told of what goes; None: nobody."""
    delete_kept: "Callable[[Batch, Sequence[Any]], int] | None" = None
    """Deletes in place of `_delete` where somebody is told."""


class UnsureWriteError(OperationFailure):
    """A change of many documents that failed, or of which the write concern did: `at_most` were changed all the same,
    None where the server did not say."""

    at_most: int | None = None


class LeaseRefusedError(Exception):
    """The server held its clock against the lease, and it was over."""


def refuse_unfenced(batch: Batch) -> None:
    """Before a change: ask a server for its clock that cannot be told to look at it in the change itself."""
    if batch.lease_over is not None and not batch.fence and batch.lease_over():
        raise LeaseRefusedError


def notice_refusal(batch: Batch) -> None:
    """After a change that found nothing to change: was it for the fence?"""
    if batch.fence and batch.lease_over is not None and batch.lease_over():
        raise LeaseRefusedError


def window_of(size: int, full_size: int) -> int:
    """How many documents a batch of `size` may look at: one that was halved for being slow looks at half as many."""
    return max(size, WINDOW * size // max(1, full_size))


def walk(batch: Batch, index: str, cursor: Cursor) -> BatchOutcome:
    """Oldest first along an index on the expiry; the cursor holds the instant to go on from."""
    field, last, stuck = batch.predicate.field, cursor.get("last"), int(cursor.get("stuck") or 0)
    bounds: list[Query] = []
    if last is not None:
        step = "$gt" if cursor.get("past") or stuck >= STUCK else "$gte"
        bounds.append({field: {step: decoded_id(last)}})
    # Whatever the guards rule out is read as well: without an edge, one batch might read all that is dead.
    edge = _edge(batch, index, bounds) if batch.predicate.guards else None
    at_edge = edge is not None and encoded(edge) == last
    if edge is not None:
        bounds.append({field: {"$lte" if at_edge else "$lt": edge}})
    query = {"$and": [batch.predicate.expired, *bounds]}
    found = batch.collection.find(query, {"_id": 1, field: 1}).sort(field, 1).hint(index)
    candidates = list(patiently(batch, found, batch.size))
    deleted = _delete(batch, [document["_id"] for document in candidates])
    if len(candidates) == batch.size:
        # Renewed documents no longer match, so the same instant again gets on; some that cannot be deleted do not.
        stuck = 0 if deleted else stuck + 1
        return _outcome(batch.size, deleted, {"last": encoded(value_at(candidates[-1], field)), "stuck": stuck})
    if edge is not None:
        return _outcome(len(candidates), deleted, {"last": encoded(edge), "past": int(at_edge)})
    return _outcome(len(candidates), deleted, None)


def sweep(batch: Batch, cursor: Cursor) -> BatchOutcome:
    """Once through the collection in the order of `_id`; the cursor holds the `_id` to go on from."""
    start = cursor.get("from")
    ahead = from_id(batch.collection.find({}, {"_id": 1}), start).skip(batch.window)
    edge = list(patiently(batch, ahead, 1))
    found = patiently(batch, from_id(batch.collection.find(batch.predicate.expired, {"_id": 1}), start), batch.size)
    if edge:
        found = found.max([("_id", edge[0]["_id"])])
    candidates = [document["_id"] for document in found]
    deleted = _delete(batch, candidates)
    if len(candidates) < batch.size:
        return _outcome(len(candidates), deleted, {"from": encoded(edge[0]["_id"])} if edge else None)
    last = encoded(candidates[-1])
    if last == start and not deleted:
        # A batch of one that cannot be deleted: without stepping past it, it would come back for ever.
        onward = [encoded(d["_id"]) for d in patiently(batch, from_id(batch.collection.find({}, {"_id": 1}), start), 2)]
        beyond = [identifier for identifier in onward if identifier != start]
        return _outcome(batch.size, deleted, {"from": beyond[0]} if beyond else None)
    return _outcome(batch.size, deleted, {"from": last})


def _edge(batch: Batch, index: str, bounds: list[Query]) -> Any:
    """The expiry that lies `window` index entries ahead, from the index alone; None when the end is nearer."""
    field = batch.predicate.field
    query = {"$and": [batch.predicate.between, *bounds]}
    ahead = batch.collection.find(query, {"_id": 0, field: 1}).sort(field, 1).hint(index).skip(batch.window)
    value = next((value_at(document, field) for document in patiently(batch, ahead, 1)), None)
    # An index over arrays can answer with one; a batch without an edge is slow, not wrong.
    return None if isinstance(value, list) else value


def _delete(batch: Batch, identifiers: list[Any]) -> int:
    if not identifiers:
        return 0
    if batch.delete_kept is not None:
        return batch.delete_kept(batch, identifiers)
    refuse_unfenced(batch)
    # delete_many() cannot carry maxTimeMS, so the command is written out.
    query = both(both({"_id": {"$in": identifiers}}, batch.predicate.expired), batch.fence)
    name, limits = batch.collection.name, {"maxTimeMS": batch.patience}
    command: Document = {"delete": name, "deletes": [{"q": query, "limit": 0, "hint": {"_id": 1}}], **limits}
    if batch.unset:
        change = {"$unset": dict.fromkeys(batch.unset, "")}
        command = {"update": name, "updates": [{"q": query, "u": change, "multi": True, "hint": {"_id": 1}}], **limits}
    answer = changed(batch, command)
    deleted = int(answer["nModified"] if batch.unset else answer["n"])
    if not deleted:
        notice_refusal(batch)
    return deleted


def changed(batch: Batch, command: Document) -> Document:
    """The answer to a command that changes documents. Raises UnsureWriteError where some may have been changed."""
    concern = batch.collection.write_concern.document
    try:
        answer = batch.collection.database.command(command | ({"writeConcern": concern} if concern else {}))
    except (OperationFailure, NotPrimaryError) as fault:
        # A change of many documents is not one transaction: what ended it came after none of them, or some.
        raise unsure(fault, None) from fault
    for failed in (*answer.get("writeErrors", ()), answer.get("writeConcernError")):
        if failed:
            raised = UnsureWriteError(failed.get("errmsg", "the change failed"), failed.get("code"), failed)
            raised.at_most = int(answer.get("nModified", answer.get("n", 0)))
            raise raised
    return dict(answer)


def unsure(fault: OperationFailure | NotPrimaryError, at_most: int | None) -> UnsureWriteError:
    """The same fault, of a batch that may have changed `at_most` records."""
    details = dict(fault.details) if isinstance(fault.details, Mapping) else {}
    raised = UnsureWriteError(str(fault), details.get("code"), details)
    raised.at_most = at_most
    return raised


def patiently(batch: Batch, found: Found[Document], limit: int) -> Found[Document]:
    """At most `limit` documents in one answer, within the patience of the batch."""
    # Without a batch size the server answers with 101 documents and wants to be asked for the rest.
    return found.limit(limit).batch_size(limit).max_time_ms(batch.patience)


def from_id(found: Found[Document], start: Bound) -> Found[Document]:
    """In the order of `_id`, from an encoded one on, itself included."""
    # A query `_id > x` stays within x's own type; an index bound does not.
    found = found.sort("_id", 1).hint([("_id", 1)])
    return found if start is None else found.min([("_id", decoded_id(start))])


def _outcome(found: int, deleted: int, cursor: dict[str, Bound] | None) -> BatchOutcome:
    # On a sharded cluster an `_id` need not be unique: more can go than were found.
    return BatchOutcome(scanned=found, deleted=deleted, cursor=cursor, live=max(0, found - deleted), largest=deleted)


def value_at(document: Document, path: str) -> Any:
    """What a document has at a dotted path; the first array on the way where there is one."""
    value: Any = document
    for part in path.split("."):
        if isinstance(value, list):
            break
        value = value[part]
    return value


def encoded(value: Any) -> str:
    """A BSON value as text that keeps its type, for a cursor."""
    return json_util.dumps({"v": value}, json_options=json_util.CANONICAL_JSON_OPTIONS)


def decoded_id(text: Bound) -> Any:
    """The inverse of `encoded`."""
    options = json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True)
    return json_util.loads(str(text), json_options=options)["v"]
