"""The expiry rule of a target as MongoDB query and aggregation expressions.

A query condition on an array matches if any element does, and so does a dotted path through one: every array on the
path rules a document out, or a user would go because one of his tokens died.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cleanup_pipeline.model.target import FieldExpiry, Scalar
from cleanup_pipeline.model.words import EpochUnit

Query = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBERS = ["int", "long", "double", "decimal"]


@dataclass(frozen=True, slots=True)
class Predicate:
    """Who is expired, as a query, and which state a document is in, as an aggregation expression."""

    field: str
    expired: Query
    guards: Query
    state: Query
    """Gives `live`, `expired`, `without_expiry` or `unparsable`."""


def compile_predicate(
    expiry: FieldExpiry, where: Mapping[str, Scalar], required: Sequence[str], cutoff: datetime
) -> Predicate:
    """The expressions for a field and a cutoff. Numbers are compared as numbers, so that no sentinel overflows.

    A document without one of the `required` fields is another application's, whatever its expiry says.
    """
    limit, zero, types = _bounds(expiry.unit, cutoff)
    parents = expiry.field.split(".")
    paths = [".".join(parents[: n + 1]) for n in range(len(parents))]
    arrays = [{path: {"$not": {"$type": "array"}}} for path in paths]
    conditions: list[Query] = [{name: value} for name, value in sorted(where.items())]
    conditions += [{name: {"$exists": True}} for name in required]
    guards: Query = {"$and": conditions} if conditions else {}
    dead: Query = {expiry.field: {"$type": types, "$lt": limit, "$gt": zero}}
    value = f"${expiry.field}"
    kind = {"$type": value}
    state: Query = {
        "$switch": {
            "branches": [
                {"case": {"$or": [{"$isArray": f"${path}"} for path in paths]}, "then": "unparsable"},
                {"case": {"$in": [kind, ["missing", "null", "undefined"]]}, "then": "without_expiry"},
                {"case": {"$not": [{"$in": [kind, types]}]}, "then": "unparsable"},
                {"case": {"$lte": [value, zero]}, "then": "without_expiry"},
                {"case": {"$lt": [value, limit]}, "then": "expired"},
            ],
            "default": "live",
        }
    }
    everything = [dead, *arrays, *conditions]
    return Predicate(expiry.field, {"$and": everything}, guards, state)


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


def _bounds(unit: EpochUnit | None, cutoff: datetime) -> tuple[Any, Any, list[str]]:
    if unit is None:
        # BSON dates have milliseconds: a cutoff cut down to them lets records die late, never early.
        return cutoff.replace(microsecond=cutoff.microsecond // 1000 * 1000), EPOCH, ["date"]
    return (cutoff - EPOCH) // timedelta(microseconds=1) * unit.per_second // 1_000_000, 0, NUMBERS
