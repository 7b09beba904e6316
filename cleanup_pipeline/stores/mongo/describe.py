"""The collections of a database with the fields of a few of their documents."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from bson import Binary, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from pymongo.database import Database

from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.words import plausible_unit
from cleanup_pipeline.stores.mongo.collection import Document

MOST_COLLECTIONS = 200
SAMPLE = 30
MOST_FIELDS = 200
DEEPEST = 4
_NAMES: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool,), "bool"),
    ((datetime, DatetimeMS), "date"),
    ((Int64,), "long"),
    ((int,), "int"),
    ((float,), "double"),
    ((Decimal128,), "decimal"),
    ((str,), "string"),
    ((ObjectId,), "objectId"),
    ((Binary, bytes), "binData"),
    ((dict,), "object"),
    ((list,), "array"),
)


def collections(database: Database[Document], patience: int) -> list[Seen]:
    """Those of the URL's own database; `patience` in ms for each of them."""
    names = sorted(
        name
        for name in database.list_collection_names(filter={"type": "collection"}, authorizedCollections=True)
        if not name.startswith("system.")
    )
    seen = []
    for name in names[:MOST_COLLECTIONS]:
        sample = list(database[name].find({}).limit(SAMPLE).max_time_ms(patience))
        seen.append(Seen(name, tuple(_fields(sample)), sampled=len(sample)))
    return seen


def _fields(sample: list[Document]) -> Iterator[SeenField]:
    values: dict[tuple[str, str | None], list[Any]] = {}
    for document in sample:
        for path, array, value in _leaves(document, "", None, DEEPEST):
            if (path, array) in values or len(values) < MOST_FIELDS:
                values.setdefault((path, array), []).append(value)
    for (path, array), found in values.items():
        types = list(dict.fromkeys(_name(value) for value in found if value is not None))
        numbers = [float(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
        yield SeenField(path, " or ".join(types) or "null", plausible_unit(numbers), array=array)


def _leaves(value: Document, prefix: str, array: str | None, depth: int) -> Iterator[tuple[str, str | None, Any]]:
    for key, inner in value.items():
        path = f"{prefix}{key}"
        # A field whose name has a dot in it has no path.
        if "." in key or key.startswith("$"):
            continue
        yield path, array, inner
        if isinstance(inner, dict) and depth:
            yield from _leaves(inner, f"{path}.", array, depth - 1)
        elif isinstance(inner, list) and depth and array is None:
            for element in inner[:SAMPLE]:
                if isinstance(element, dict):
                    yield from _leaves(element, f"{path}.", path, depth - 1)


def _name(value: Any) -> str:
    return next((name for types, name in _NAMES if isinstance(value, types)), type(value).__name__)
