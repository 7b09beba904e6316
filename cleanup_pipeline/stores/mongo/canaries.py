"""Planted documents: known by an `_id` that is their mark."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, WriteError

from cleanup_pipeline.model.canary import CANARY_PREFIX, Canary, CanaryKind, CanarySettings, new_mark
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.rules import FieldGuard, FieldTest
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo.collection import Document, source_of
from cleanup_pipeline.stores.mongo.connect import milliseconds
from cleanup_pipeline.stores.mongo.faults import translated
from cleanup_pipeline.stores.mongo.predicate import EPOCH, Query, compile_predicate

_BY_BSON: dict[str, Any] = {
    "bool": False,
    "int": 0,
    "long": 0,
    "double": 0.0,
    "object": {},
    "array": [],
    "date": EPOCH,
}


class DocumentCanaries:
    """The canaries of one collection."""

    counted = True

    def __init__(self, config: StoreConfig, target: Target, collection: Collection[Document]) -> None:
        self._config, self._target, self._collection = config, target, collection

    def refusals(self) -> Sequence[Finding]:
        _, expiry = source_of(self._target)
        place = f"targets.{self._target.name}.canaries"
        problems: list[tuple[str, str]] = []
        if expiry.pull is not None or self._target.unset:
            problems.append(("canaries are whole documents, and this target removes parts of one", f"remove {place}"))
        with translated(self._config, self._target):
            listed = self._collection.database.list_collections(filter={"name": self._collection.name})
            options: Document = next(iter(listed), {}).get("options", {})
        if options.get("validator"):
            what = "the collection has a validator, and what it takes is not known here"
            problems.append((what, f"remove {place}"))
        refused = [
            Finding(Severity.ERROR, f"no canary can be planted: {what}", remedy, code="canaries.refused")
            for what, remedy in problems
        ]
        idle = self._of_ttl()
        if idle and not refused:
            words = " and ".join(sorted(idle))
            what = f"canaries ({words}) are not planted, as a TTL index would remove them by itself"
            return [Finding(Severity.INFO, what, code="canaries.ttl")]
        return refused

    def make(self, several: Sequence[Canary]) -> Sequence[Canary]:
        source, expiry = source_of(self._target)
        idle = self._of_ttl()
        if expiry.field in source.required_fields or expiry.field in dict(source.field_types):
            idle |= {CanaryKind.WITHOUT_EXPIRY, CanaryKind.UNPARSABLE}
        return [replace(each, identity={"_id": each.mark}) for each in several if each.kind not in idle]

    def plant(self, several: Sequence[Canary], cutoff: datetime) -> None:
        with translated(self._config, self._target):
            for each in several:
                try:
                    self._collection.insert_one(self._document(each))
                except (WriteError, DuplicateKeyError) as fault:
                    raise self._refused(f"the collection does not take one (error {fault.code})") from None
            self._require(several, cutoff)

    def present(self, several: Sequence[Canary]) -> frozenset[str]:
        with translated(self._config, self._target):
            identities = [each.identity["_id"] for each in several]
            found = self._collection.find({"_id": {"$in": identities}}, {"_id": 1}).max_time_ms(self._patience)
            there = {row["_id"] for row in found}
        return frozenset(each.mark for each in several if each.identity["_id"] in there)

    def remove(self, several: Sequence[Canary]) -> None:
        identities = [str(each.identity["_id"]) for each in several]
        with translated(self._config, self._target):
            self._collection.delete_many({"_id": {"$in": [one for one in identities if one.startswith(CANARY_PREFIX)]}})

    @property
    def _patience(self) -> int:
        return milliseconds(self._config.statement_timeout)

    def _of_ttl(self) -> frozenset[CanaryKind]:
        """The kinds that the server may remove by itself while a pass goes on."""
        _, expiry = source_of(self._target)
        with translated(self._config, self._target):
            indexes = self._collection.index_information().values()
        own = [
            spec
            for spec in indexes
            if "expireAfterSeconds" in spec and [key for key, _ in spec["key"]] == [expiry.field]
        ]
        if not own or expiry.unit is not None:
            return frozenset()
        return frozenset({CanaryKind.EXPIRED, CanaryKind.GRACE})

    def _document(self, canary: Canary) -> Document:
        source, expiry = source_of(self._target)
        types = dict(source.field_types)
        document: Document = {"_id": canary.mark}
        for name in source.required_fields:
            _put(document, name, _of_type(types.get(name, ())))
        for name in types:
            _put(document, name, _of_type(types[name]))
        for guard in self._target.guards:
            if isinstance(guard, FieldGuard):
                _guard(document, guard)
        for name, value in self._target.where.items():
            _put(document, name, value)
        with translated(self._config, self._target):
            indexes = self._collection.index_information().values()
        for spec in indexes:
            # A field that is missing is null, of which a unique index takes only one.
            if spec.get("unique") and not any(_has(document, str(key)) for key, _ in spec["key"]):
                _put(document, str(spec["key"][0][0]), new_mark())
        for name, value in (self._target.canaries or CanarySettings()).values.items():
            _put(document, name, value)
        _drop(document, expiry.field)
        if canary.kind is CanaryKind.UNPARSABLE:
            _put(document, expiry.field, "cleanup-canary")
        elif canary.dies_at is not None:
            at = canary.dies_at - expiry.lifetime
            _put(document, expiry.field, at if expiry.unit is None else _number(at, expiry.unit.per_second))
        return document

    def _require(self, several: Sequence[Canary], cutoff: datetime) -> None:
        source, expiry = source_of(self._target)
        of = self._target
        predicate = compile_predicate(expiry, source, cutoff, where=of.where, guards=of.guards, since=of.since)
        match = {"$and": [{"_id": {"$in": [each.mark for each in several]}}, predicate.guards]}
        stages: list[Query] = [{"$match": match}, {"$project": {"state": predicate.state}}]
        states = {row["_id"]: row["state"] for row in self._collection.aggregate(stages, maxTimeMS=self._patience)}
        doomed = {"$and": [{"_id": {"$in": [each.mark for each in several]}}, predicate.expired]}
        dead = {row["_id"] for row in self._collection.find(doomed, {"_id": 1}).max_time_ms(self._patience)}
        for each in several:
            wanted = "live" if each.kind in {CanaryKind.LIVE, CanaryKind.GRACE} else str(each.kind)
            if states.get(each.mark) != wanted or (each.mark in dead) != (each.kind is CanaryKind.EXPIRED):
                raise self._refused(f"the target's rule and guards do not take a planted document for {each.kind}")

    def _refused(self, what: str) -> StoreError:
        place = f"targets.{self._target.name}.canaries"
        return StoreError(
            f"no canary can be planted, so nothing was deleted: {what}",
            setting=place,
            remedy=f"give values that fit in {place}.values",
        )


def _of_type(types: Sequence[str]) -> Any:
    if not types or "string" in types:
        return new_mark()
    if "objectId" in types:
        return ObjectId()
    return next((_BY_BSON[kind] for kind in types if kind in _BY_BSON), new_mark())


def _guard(document: Document, guard: FieldGuard) -> None:
    match guard.test:
        case FieldTest.IN | FieldTest.AT_LEAST:
            _put(document, guard.field, guard.values[0])
        case FieldTest.EXISTS:
            _put(document, guard.field, new_mark())
        case FieldTest.LACKS:
            _put(document, guard.field, "".join(c for c in new_mark() if c not in str(guard.values[0])))
        case FieldTest.MISSING:
            pass


def _place(document: Document, path: str) -> tuple[Document, str]:
    *way, name = path.split(".")
    for part in way:
        inner = document.setdefault(part, {})
        document = inner if isinstance(inner, dict) else document
    return document, name


def _put(document: Document, path: str, value: Any) -> None:
    place, name = _place(document, path)
    place[name] = value


def _has(document: Document, path: str) -> bool:
    place: Any = document
    for part in path.split("."):
        if not isinstance(place, dict) or part not in place:
            return False
        place = place[part]
    return True


def _drop(document: Document, path: str) -> None:
    if _has(document, path):
        place, name = _place(document, path)
        del place[name]


def _number(at: datetime, per_second: int) -> int:
    return (at - EPOCH) // timedelta(microseconds=1) * per_second // 1_000_000
