"""Documents that somebody is told of as they go, or that are kept before they go, and writing them again.

A document that is kept is read as the bytes that the server sent, written away, and deleted while the server's own is
equal to those bytes as a whole.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import bson
from bson.binary import UUID_SUBTYPE, Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import NotPrimaryError, OperationFailure, PyMongoError

from cleanup_pipeline.model.canary import CANARY_PREFIX
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.removed import Fate, Lot, PutBack, Removed
from cleanup_pipeline.model.target import FieldExpiry, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo.batches import (
    Batch,
    LeaseRefusedError,
    UnsureWriteError,
    changed,
    notice_refusal,
    refuse_unfenced,
    unsure,
)
from cleanup_pipeline.stores.mongo.collection import Document
from cleanup_pipeline.stores.mongo.predicate import Query, both, from_bound, units_of

# As the client has it: a date that Python cannot hold is a way to say "never".
_AUTO = DatetimeConversion.DATETIME_AUTO
AS_SENT: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument, datetime_conversion=_AUTO)
_AWARE: CodecOptions[Document] = CodecOptions(tz_aware=True, datetime_conversion=_AUTO)
UUID_BYTES = 16
DUPLICATE, NOT_VALID = 11000, 121
MOST_BYTES = 12 * 1024 * 1024
"""Of documents that one command compares or inserts: a command may have 48 MB, and a document is in it with its
condition."""

BYTES_A_LOT = 32 * 1024 * 1024
"""Of documents that are in memory until they are written away."""


def delete_kept(batch: Batch, identifiers: Sequence[Any]) -> int:
    """Delete these documents, or unset their fields, and hand them over; how many that were."""
    number = read = 0
    lots = _read(batch, identifiers)
    while documents := _next(lots, counted=number > 0):
        read += len(documents)
        try:
            number += _delete_lot(batch, documents)
        except UnsureWriteError as fault:
            # The caller counts nothing of a batch that failed: what went before is among what may have.
            fault.at_most = None if fault.at_most is None else fault.at_most + number
            raise
        except (OperationFailure, NotPrimaryError) as fault:
            raise (unsure(fault, number) if number else fault) from None
        except (StoreError, LeaseRefusedError):
            # Of this lot nothing went. What did is counted, and the next batch meets the fault.
            if not number:
                raise
            break
        # Not two lots at once.
        del documents
    if read and not number:
        notice_refusal(batch)
    return number


def _next(lots: Iterator[list[RawBSONDocument]], *, counted: bool) -> list[RawBSONDocument]:
    """The next lot, empty behind the last one. Nothing is under way: what is `counted` is not lost by a fault."""
    try:
        return next(lots, [])
    except PyMongoError:
        if not counted:
            raise
        return []


def _delete_lot(batch: Batch, documents: Sequence[RawBSONDocument]) -> int:
    assert batch.handover is not None  # noqa: S101 - whoever asks for it has set it
    lot = Lot([removed(batch, document) for document in documents], (_form(batch),))
    if batch.handover.whole:
        batch.handover.hold(lot)
    refuse_unfenced(batch)
    number, which, perhaps, under_way = 0, list[int](), list[int](), list[int]()
    try:
        for start, some in _parts(documents):
            under_way = list(range(start, start + len(some)))
            try:
                deleted = _delete(batch, some)
            except UnsureWriteError as fault:
                fault.at_most = None if fault.at_most is None else fault.at_most + number
                raise
            number += deleted
            try:
                gone, doubtful = _which(batch, some, deleted)
            except (OperationFailure, NotPrimaryError) as fault:
                raise unsure(fault, number) from fault
            which += [start + n for n in gone]
            perhaps += [start + n for n in doubtful]
            under_way = []
    finally:
        batch.handover.gone(lot, which, perhaps=[*perhaps, *under_way])
    return number


def _read(batch: Batch, identifiers: Sequence[Any]) -> Iterator[list[RawBSONDocument]]:
    """The documents, as many at a time as may be in memory."""
    raw: Collection[Any] = batch.collection.with_options(codec_options=AS_SENT)
    query = both({"_id": {"$in": list(identifiers)}}, batch.predicate.expired)
    # Where nothing is to be put back, only what is asked for is read.
    fields = None if _whole(batch) else _named(batch)
    found = raw.find(query, fields).hint([("_id", 1)]).limit(len(identifiers))
    some, size = list[RawBSONDocument](), 0
    with found.batch_size(len(identifiers)).max_time_ms(batch.patience) as cursor:
        for document in cursor:
            some.append(document)
            size += len(document.raw)
            if size >= BYTES_A_LOT:
                yield some
                some, size = [], 0
    if some:
        yield some


def _whole(batch: Batch) -> bool:
    return batch.handover is not None and batch.handover.whole


def _named(batch: Batch) -> Query:
    target = batch.rule
    assert target is not None  # noqa: S101 - as above
    assert isinstance(target.expiry, FieldExpiry)  # noqa: S101 - a collection has no other rule
    return {"_id": 1, **{name: 1 for name in (target.identifier, target.owner, target.expiry.field) if name}}


def removed(batch: Batch, document: RawBSONDocument) -> Removed:
    """What is handed over of a document that was read with `AS_SENT`."""
    body = bytes(document.raw) if _whole(batch) else b""
    assert batch.handover is not None and batch.rule is not None  # noqa: S101 - as above
    planted = batch.rule.canaries is not None and str(document["_id"]).startswith(CANARY_PREFIX)
    if not batch.handover.named:
        return Removed(body=body, planted=planted)
    plain = bson.decode(document.raw, _AWARE)
    expiry = batch.rule.expiry
    assert isinstance(expiry, FieldExpiry)  # noqa: S101 - as above
    died = None
    if units_of(expiry):
        instant = from_bound(expiry, _at(plain, expiry.field))
        died = None if instant is None else _milliseconds(instant)
    owner = _at(plain, batch.rule.owner) if batch.rule.owner else None
    return Removed(
        written(_at(plain, batch.rule.identifier or "_id")),
        b"" if owner is None else written(owner),
        died,
        body,
        planted=planted,
    )


def written(value: Any) -> bytes:
    """A value as a person would write it: an ObjectId by its 24 digits, text as it is, a whole number in digits."""
    if isinstance(value, Binary) and value.subtype == UUID_SUBTYPE and len(value) == UUID_BYTES:
        value = UUID(bytes=bytes(value))
    elif isinstance(value, bytes):
        # Among them UUIDs of the old subtype: which order their bytes are in, only the application knows.
        value = value.hex()
    elif isinstance(value, DatetimeMS) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value).encode()


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _form(batch: Batch) -> dict[str, Any]:
    collection = batch.collection
    return {
        "store": "mongo",
        "collection": [collection.database.name, collection.name],
        "unset": list(batch.unset),
    }


def _parts(documents: Sequence[RawBSONDocument]) -> list[tuple[int, list[RawBSONDocument]]]:
    parts: list[tuple[int, list[RawBSONDocument]]] = []
    size = MOST_BYTES
    for number, document in enumerate(documents):
        if size + len(document.raw) > MOST_BYTES:
            parts.append((number, []))
            size = 0
        parts[-1][1].append(document)
        size += len(document.raw)
    return parts


def _delete(batch: Batch, documents: Sequence[RawBSONDocument]) -> int:
    """As `batches.delete`, a condition for each document where it has to be the same as a whole."""
    answer = changed(batch, _command(batch, documents))
    return int(answer["nModified"] if batch.unset else answer["n"])


def _command(batch: Batch, documents: Sequence[RawBSONDocument]) -> Document:
    name, limits, hint = batch.collection.name, {"maxTimeMS": batch.patience}, {"_id": 1}
    change = {"$unset": dict.fromkeys(batch.unset, "")}
    if not _whole(batch):
        queries = [{"_id": {"$in": [document["_id"] for document in documents]}}]
    else:
        queries = [
            {"_id": document["_id"], "$expr": {"$eq": ["$$ROOT", {"$literal": document}]}} for document in documents
        ]
    conditions = [both(both(query, batch.predicate.expired), batch.fence) for query in queries]
    many = not _whole(batch)
    if batch.unset:
        updates = [{"q": each, "u": change, "multi": many, "hint": hint} for each in conditions]
        return {"update": name, "updates": updates, "ordered": False, **limits}
    deletes = [{"q": each, "limit": 0 if many else 1, "hint": hint} for each in conditions]
    return {"delete": name, "deletes": deletes, "ordered": False, **limits}


def _which(batch: Batch, documents: Sequence[RawBSONDocument], deleted: int) -> tuple[list[int], list[int]]:
    """Which of them went, and which may have gone by somebody else: the server only says how many."""
    if deleted == len(documents):
        return list(range(deleted)), []
    identifiers = [document["_id"] for document in documents]
    query: Query = {"_id": {"$in": identifiers}}
    if batch.unset:
        # Of a document that stays, what it lost is what tells.
        query = both(query, batch.predicate.expired)
    raw: Collection[Any] = batch.collection.with_options(codec_options=AS_SENT)
    found = raw.find(query, {"_id": 1}).limit(len(identifiers)).batch_size(len(identifiers))
    there = {_key(document["_id"]) for document in found.max_time_ms(batch.patience)}
    gone = [n for n, identifier in enumerate(identifiers) if _key(identifier) not in there]
    return (gone, []) if len(gone) == deleted else ([], gone)


def _key(identifier: Any) -> bytes:
    return bson.encode({"": identifier})


def findings(target: Target, field_of_pull: str | None) -> list[Finding]:
    """What forbids telling of a target's documents, or keeping them."""
    if not (target.removals or target.quarantine) or field_of_pull is None:
        return []
    what = "its records are elements of arrays, which are pulled by a condition and never read"
    remedy = f"leave it out of targets.{target.name}"
    return [Finding(Severity.ERROR, f"cannot keep what goes: {what}", remedy, code="mongo.keeping")]


def put_back(collection: Collection[Document], lot: Lot, patience: int, *, dry_run: bool) -> PutBack:
    """`PutsBack.put_back`, for a collection whose name a form has."""
    unset = [str(name) for name in lot.forms[0]["unset"]]
    documents = [RawBSONDocument(record.body, AS_SENT) for record in lot.records]
    if unset:
        return PutBack(tuple(_fields_back(collection, document, unset, dry_run) for document in documents))
    raw: Collection[Any] = collection.with_options(codec_options=AS_SENT)
    if dry_run:
        query = {"_id": {"$in": [document["_id"] for document in documents]}}
        there = {_key(document["_id"]) for document in raw.find(query, {"_id": 1}).max_time_ms(patience)}
        return PutBack(tuple(Fate.EXISTS if _key(d["_id"]) in there else Fate.RESTORED for d in documents))
    fates, reasons = [Fate.RESTORED] * len(documents), dict[str, None]()
    for start, some in _parts(documents):
        answer = raw.database.command({"insert": raw.name, "documents": some, "ordered": False}, codec_options=_AWARE)
        for fault in answer.get("writeErrors", ()):
            again = fault.get("code") == DUPLICATE
            fates[start + fault["index"]] = Fate.EXISTS if again else Fate.REFUSED
            if not again:
                reasons[f"error {fault.get('code')} of the server"] = None
        if answer.get("writeConcernError"):
            raise OperationFailure("the write concern was not met", answer["writeConcernError"].get("code"))
    return PutBack(tuple(fates), tuple(reasons))


def _fields_back(collection: Collection[Document], document: RawBSONDocument, unset: list[str], dry: bool) -> Fate:
    """Give a document that stayed its fields back, if they are still missing."""
    plain = bson.decode(document.raw, _AWARE)
    values = {name: _at(plain, name) for name in unset if _has(plain, name)}
    query: Query = {"_id": document["_id"], **{name: {"$exists": False} for name in unset}}
    if dry:
        found = collection.find_one(query, {"_id": 1}) is not None
    else:
        found = bool(collection.update_one(query, {"$set": values}).modified_count)
    if found:
        return Fate.RESTORED
    return Fate.EXISTS if collection.find_one({"_id": document["_id"]}, {"_id": 1}) else Fate.LEFT


def _has(document: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True
