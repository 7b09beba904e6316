"""What a target's collection is: found by looking at a handful of documents and the indexes, changing nothing."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bson import Decimal128
from pymongo.collection import Collection
from pymongo.database import Database

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import SourceMissingError, StoreError

Document = dict[str, Any]
SAMPLE = 20


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
    return target.source, target.expiry


def require_collection(database: Database[Document], target: Target) -> None:
    """Raises SourceMissingError when there is no such collection, StoreError when it is a view."""
    source, _ = source_of(target)
    names = {entry["name"]: entry for entry in database.list_collections()}
    place = f"targets.{target.name}.collection"
    if source.collection not in names:
        close = get_close_matches(source.collection, names, n=1)
        raise SourceMissingError(
            f"collection {source.collection} does not exist in database {database.name}",
            setting=place,
            remedy=f"did you mean {close[0]}?" if close else "correct the name or create the collection",
        )
    if names[source.collection].get("type", "collection") != "collection":
        raise StoreError(
            f"{source.collection} is a {names[source.collection]['type']}",
            setting=place,
            remedy="name the collection that holds the records",
        )


def expiry_index(collection: Collection[Document], field: str) -> Index | None:
    """An index that leads with the field and covers every document that has it; a TTL index is preferred."""
    found = [
        Index(name, spec.get("expireAfterSeconds"))
        for name, spec in collection.index_information().items()
        if spec["key"][0][0] == field
        and spec["key"][0][1] in {1, -1}
        and "partialFilterExpression" not in spec
        and not spec.get("hidden")
    ]
    return min(found, key=lambda index: index.ttl_seconds is None, default=None)


def examine(collection: Collection[Document], target: Target, index: Index | None) -> list[Finding]:
    """Findings from a sample of the documents and from the indexes.

    Raises SourceMissingError when no document of the sample looks like the layout's.
    """
    source, expiry = source_of(target)
    sample = list(collection.find({}, limit=SAMPLE))
    if sample and source.required_fields:
        complete = [d for d in sample if all(name in d for name in source.required_fields)]
        if not complete:
            absent = sorted({name for name in source.required_fields for d in sample if name not in d})
            raise SourceMissingError(
                f"collection {source.collection} is not that of layout {target.layout}: "
                f"its documents have no {', '.join(absent)}",
                setting=f"targets.{target.name}.layout",
                remedy="name another layout, or describe the collection with `collection` and `expires`",
            )
    findings = _types(sample, target, expiry)
    findings += _index(collection, index, expiry)
    return findings


def _types(sample: list[Document], target: Target, expiry: FieldExpiry) -> list[Finding]:
    values = [_at(document, expiry.field) for document in sample]
    present = [value for value in values if value is not None]
    if not present or any(_readable(value, expiry) for value in present):
        return []
    kind = type(present[0]).__name__
    if expiry.unit is None and isinstance(present[0], int | float | Decimal128):
        remedy = f"set `unit: s` (ms, ns) in targets.{target.name}.expires if it holds epoch numbers"
    else:
        remedy = "name the field that holds the expiry as a date; records without one are left"
    what = f"{expiry.field} is {kind} in every document looked at, not a {'date' if expiry.unit is None else 'number'}"
    return [Finding(Severity.WARNING, what, remedy)]


def _index(collection: Collection[Document], index: Index | None, expiry: FieldExpiry) -> list[Finding]:
    if index is None:
        statement = f'db.{collection.name}.createIndex({{"{expiry.field}": 1}})'
        what = f"no index on {expiry.field}: every pass reads the whole collection once"
        return [Finding(Severity.INFO, what, statement)]
    if index.ttl_seconds is not None:
        what = (
            f"TTL index {index.name} removes dates {index.ttl_seconds:g} s after they pass, within about a minute; "
            "what is left for a pass is what it has not got to"
        )
        return [Finding(Severity.INFO, what, "drop this target if the server keeps up")]
    return []


def _readable(value: Any, expiry: FieldExpiry) -> bool:
    from datetime import datetime

    if expiry.unit is None:
        return isinstance(value, datetime)
    return isinstance(value, int | float | Decimal128) and not isinstance(value, bool)


def _at(document: Document, path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
