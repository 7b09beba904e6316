"""What a target's collection is: found by looking at some documents and the indexes, changing nothing.

Only the types of fields are asked for: what sessions hold never leaves the server.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import SourceMissingError, StoreError
from cleanup_pipeline.stores.mongo.predicate import ABSENT, NUMBERS, Query, readable_types

Document = dict[str, Any]
SAMPLE = 20
SEARCHED = 1_000
"""Documents that may be looked at to find a sample within a target's guards."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index that leads with the expiry field."""

    name: str
    ttl_seconds: float | None
    """None: not a TTL index."""


def source_of(target: Target) -> tuple[CollectionSource, FieldExpiry]:
    """The parts of the target that this store needs. Raises TypeError for a target of another store type."""
    if not isinstance(target.source, CollectionSource) or not isinstance(target.expiry, FieldExpiry):
        raise TypeError(f"target {target.name} is not a collection with an expiry field")
    if target.members is not None:
        raise TypeError(f"target {target.name} stands for many: each of its members is a target of its own here")
    return target.source, target.expiry


def require_collection(database: Database[Document], target: Target) -> None:
    """Raises SourceMissingError when there is no such collection, StoreError when it is a view."""
    source, _ = source_of(target)
    place = f"targets.{target.name}.collection"
    entry = next(iter(database.list_collections(filter={"name": source.collection})), None)
    if entry is None:
        close = get_close_matches(source.collection, database.list_collection_names(), n=1)
        raise SourceMissingError(
            f"collection {source.collection} does not exist in database {database.name}",
            setting=place,
            remedy=f"did you mean {close[0]}?" if close else "correct the name or create the collection",
        )
    if entry.get("type", "collection") != "collection":
        raise StoreError(
            f"{source.collection} is a {entry['type']}",
            setting=place,
            remedy="name the collection that holds the records",
        )


def expiry_index(collection: Collection[Document], expiry: FieldExpiry) -> Index | None:
    """An index that leads with the field and covers every document that has it; a TTL index is preferred.

    None for a field of several types: no range of an index holds what has expired.
    """
    if expiry.or_unit is not None:
        return None
    found = [
        Index(name, spec.get("expireAfterSeconds"))
        for name, spec in collection.index_information().items()
        if spec["key"][0][0] == expiry.field
        and spec["key"][0][1] in {1, -1}
        and "partialFilterExpression" not in spec
        and not spec.get("hidden")
    ]
    return min(found, key=lambda index: index.ttl_seconds is None, default=None)


def examine(
    collection: Collection[Document], target: Target, index: Index | None, guards: Query, patience: int
) -> list[Finding]:
    """Findings from samples of the documents, from the indexes and from the login's rights; `patience` in ms.

    Raises SourceMissingError when no document of the sample looks like the layout's.
    """
    source, expiry = source_of(target)
    _require_layout(collection, target, source, patience)
    types = [row[0] for row in types_of(collection, guards, [expiry.field], patience, expiry.pull)]
    findings = _expiry_types(types, target, expiry)
    findings += _index(collection, index, expiry, target.grace)
    findings += _rights(collection)
    return findings


def types_of(
    collection: Collection[Document], guards: Query, fields: Sequence[str], patience: int, pull: str | None = None
) -> list[tuple[str, ...]]:
    """The BSON types of some fields in a sample of documents, or of elements of the array at `pull`."""
    pipeline: list[Query] = [
        {"$limit": SEARCHED},
        {"$match": guards},
        *([{"$unwind": f"${pull}"}] if pull else []),
        {"$limit": SAMPLE},
        {"$project": {"_id": 0, "types": [{"$type": f"${field}"} for field in fields]}},
    ]
    return [tuple(row["types"]) for row in collection.aggregate(pipeline, maxTimeMS=patience)]


def _require_layout(collection: Collection[Document], target: Target, source: CollectionSource, patience: int) -> None:
    wanted: dict[str, tuple[str, ...] | None] = {**dict.fromkeys(source.required_fields), **dict(source.field_types)}
    if not wanted:
        return
    sample = types_of(collection, {}, list(wanted), patience)
    fits = [[_fits(kind, types) for kind, types in zip(row, wanted.values(), strict=True)] for row in sample]
    if not sample or any(all(row) for row in fits):
        return
    absent = {
        name: sorted({row[n] for row, fit in zip(sample, fits, strict=True) if not fit[n]})
        for n, name in enumerate(wanted)
        if not all(fit[n] for fit in fits)
    }
    what = [
        f"no {name}" if kinds == ["missing"] else f"{name} as {' or '.join(kinds)}"
        for name, kinds in sorted(absent.items())
    ]
    raise SourceMissingError(
        f"collection {source.collection} is not that of layout {target.layout}: its documents have {', '.join(what)}",
        setting=f"targets.{target.name}.layout",
        remedy="name another layout, or describe the collection with `collection` and `expires`",
    )


def _fits(kind: str, types: tuple[str, ...] | None) -> bool:
    return kind != "missing" if types is None else kind in types


def _expiry_types(types: list[str], target: Target, expiry: FieldExpiry) -> list[Finding]:
    wanted = "number" if expiry.unit else "date or number" if expiry.or_unit else "date"
    place = f"targets.{target.name}.expires"
    present = [kind for kind in types if kind not in ABSENT]
    if types and not present:
        what = f"none of the {len(types)} documents looked at has {expiry.field}"
        return [
            Finding(
                Severity.WARNING,
                what,
                f"correct the field in {place} if they should; such documents are left",
                code="mongo.field-missing",
            )
        ]
    wrong = Counter(kind for kind in present if kind not in readable_types(expiry))
    findings: list[Finding] = []
    for kind, count in wrong.items():
        what = (
            f"{expiry.field} is {kind}, not a {wanted}, in {count} of {len(types)} documents looked at; they are left"
        )
        if expiry.unit is None and kind in NUMBERS:
            remedy = f"set `unit: s` (ms, ns) in {place} if it holds epoch numbers"
        elif expiry.unit is not None and kind == "date":
            remedy = f"leave out `unit` in {place} if it holds dates"
        else:
            remedy = f"name a field that holds the expiry as a {wanted}"
        findings.append(Finding(Severity.WARNING, what, remedy, code="mongo.field-type"))
    return findings


def _index(
    collection: Collection[Document], index: Index | None, expiry: FieldExpiry, grace: timedelta
) -> list[Finding]:
    if expiry.pull is not None and index is not None and index.ttl_seconds is not None:
        what = f"TTL index {index.name} is on an array: it removes the whole document when its first element dies"
        return [
            Finding(
                Severity.WARNING, what, "drop the index if only the elements are meant to go", code="mongo.ttl-array"
            )
        ]
    if expiry.pull is not None or expiry.or_unit is not None:
        return []
    if expiry.ttl_index and (index is None or index.ttl_seconds is None):
        what = f"no TTL index on {expiry.field}, by which the framework would have the server remove its documents"
        after = int(grace.total_seconds())
        statement = f'db.{collection.name}.createIndex({{"{expiry.field}": 1}}, {{expireAfterSeconds: {after}}})'
        return [Finding(Severity.INFO, what, f"until then this target does it; {statement}", code="mongo.ttl-absent")]
    if index is None:
        statement = f'db.{collection.name}.createIndex({{"{expiry.field}": 1}})'
        what = f"no index on {expiry.field}: every pass reads the whole collection once"
        return [Finding(Severity.INFO, what, statement, code="mongo.no-expiry-index")]
    if index.ttl_seconds is not None:
        what = (
            f"TTL index {index.name} removes dates {index.ttl_seconds:g} s after they pass, within about a minute; "
            "what is left for a pass is what it has not got to"
        )
        return [Finding(Severity.INFO, what, "drop this target if the server keeps up", code="mongo.ttl-does-it")]
    return []


def standing(hello: Mapping[str, Any]) -> list[Finding]:
    """What the server's own answer says about deleting by it."""
    found = []
    if not hello.get("isWritablePrimary", True):
        what = "the server is not the primary"
        found.append(Finding(Severity.ERROR, what, "list the whole replica set", "hello", code="mongo.not-primary"))
    if hello.get("msg") == "isdbgrid":
        what = "sharded cluster: a batch may go to several shards"
        found.append(Finding(Severity.INFO, what, "", "hello", code="mongo.sharded"))
    return found


def rights_of(name: str, privileges: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Whether the login may remove from a collection, by its full name, as far as the server lists its rights."""
    database, _, collection = name.partition(".")
    if not missing_right(database, collection, privileges):
        return []
    what = f"the login may not remove documents from {name}"
    remedy = f"grant find and remove on {name}, as role readWrite does"
    return [Finding(Severity.WARNING, what, remedy, "connectionStatus", code="mongo.rights")]


def missing_right(database: str, collection: str, privileges: Sequence[Mapping[str, Any]]) -> bool:
    """True when the server lists rights, as for showPrivileges, and none of them is to remove from the collection.

    A server without access control, or one that lists no rights, says nothing here; the delete itself will.
    """
    place = {"db": ("", database), "collection": ("", collection)}
    for privilege in privileges:
        where = privilege.get("resource", {})
        here = where.get("anyResource") or all(where.get(key, "elsewhere") in names for key, names in place.items())
        if here and "remove" in privilege.get("actions", ()):
            return False
    return bool(privileges)


def _rights(collection: Collection[Document]) -> list[Finding]:
    answer = collection.database.client.admin.command("connectionStatus", showPrivileges=True)
    privileges = answer.get("authInfo", {}).get("authenticatedUserPrivileges") or []
    return rights_of(collection.full_name, privileges)
