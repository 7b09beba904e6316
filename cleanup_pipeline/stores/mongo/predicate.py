"""The expiry rule of a target as MongoDB query and aggregation expressions.

A query condition on an array matches if any element does, and so does a dotted path through one: every array on the
path rules a document out, or a user would go because one of his tokens died.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cleanup_pipeline.model.target import FieldExpiry, Scalar
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, EpochUnit

Query = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = EPOCH + timedelta(seconds=FIRST_PLAUSIBLE_SECONDS)
NUMBERS = ["int", "long", "double", "decimal"]
ABSENT = ["missing", "null", "undefined"]


@dataclass(frozen=True, slots=True)
class Predicate:
    """Who is expired, as a query, and which state a document is in, as an aggregation expression."""

    field: str
    expired: Query
    between: Query
    """The part of `expired` that an index on the field answers by itself."""
    guards: Query
    state: Query
    """Gives `live`, `expired`, `without_expiry` or `unparsable`."""


def compile_predicate(
    expiry: FieldExpiry, where: Mapping[str, Scalar], required: Sequence[str], cutoff: datetime
) -> Predicate:
    """The expressions for a field and a cutoff. Numbers are compared as numbers, so that no sentinel overflows."""
    limit, zero, first = _bounds(expiry.unit, cutoff)
    types = readable_types(expiry.unit)
    paths = _paths(expiry.field)
    guards = guards_of(where, required)
    between: Query = {expiry.field: {"$lt": limit, "$gte": first}}
    dead: list[Query] = [{expiry.field: {"$type": types, "$lt": limit, "$gte": first}}, *_no_arrays(paths)]
    value = f"${expiry.field}"
    kind = {"$type": value}
    state: Query = {
        "$switch": {
            "branches": [
                {"case": {"$or": [{"$isArray": f"${path}"} for path in paths]}, "then": "unparsable"},
                {"case": {"$in": [kind, ABSENT]}, "then": "without_expiry"},
                {"case": {"$not": [{"$in": [kind, types]}]}, "then": "unparsable"},
                {"case": {"$lte": [value, zero]}, "then": "without_expiry"},
                {"case": {"$lt": [value, first]}, "then": "unparsable"},
                {"case": {"$lt": [value, limit]}, "then": "expired"},
            ],
            "default": "live",
        }
    }
    return Predicate(expiry.field, {"$and": [*dead, *guards.get("$and", [])]}, between, guards, state)


def guards_of(where: Mapping[str, Scalar], required: Sequence[str]) -> Query:
    """The documents that belong to the target: equal means equal, not "an array that has it among others".

    A document without one of the `required` fields is another application's, whatever its expiry says.
    """
    parts = [part for name, value in sorted(where.items()) for part in ({name: value}, *_no_arrays(_paths(name)))]
    parts += [{name: {"$exists": True}} for name in required]
    return {"$and": parts} if parts else {}


def from_bound(expiry: FieldExpiry, value: Any) -> datetime | None:
    """The instant that a stored expiry stands for; None when it stands for none."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if expiry.unit is None or not isinstance(value, int | float):
        return None
    try:
        return EPOCH + timedelta(microseconds=int(value) * 1_000_000 // expiry.unit.per_second)
    except (OverflowError, ValueError):
        return None


def readable_types(unit: EpochUnit | None) -> list[str]:
    """The BSON types, by alias, that an expiry in this unit may have; None is a date."""
    return ["date"] if unit is None else NUMBERS


def _bounds(unit: EpochUnit | None, cutoff: datetime) -> tuple[Any, Any, Any]:
    """Dead before the first, without expiry up to the second, implausible up to the third."""
    if unit is None:
        # BSON dates have milliseconds: a cutoff cut down to them lets records die late, never early.
        return cutoff.replace(microsecond=cutoff.microsecond // 1000 * 1000), EPOCH, FIRST
    return (
        (cutoff - EPOCH) // timedelta(microseconds=1) * unit.per_second // 1_000_000,
        0,
        FIRST_PLAUSIBLE_SECONDS * unit.per_second,
    )


def _paths(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def _no_arrays(paths: list[str]) -> list[Query]:
    return [{path: {"$not": {"$type": "array"}}} for path in paths]
