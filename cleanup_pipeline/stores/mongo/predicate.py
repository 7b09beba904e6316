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
    """Gives `live`, `expired`, `without_expiry` or `unparsable`, and `earlier` for what died before the window."""
    element: Query
    """Who is expired among the elements of the array at `pull`; empty where documents are deleted."""
    count: Query
    """Gives the number of those elements in a document."""
    pull: str | None


def compile_predicate(
    expiry: FieldExpiry,
    where: Mapping[str, Scalar],
    required: Sequence[str],
    cutoff: datetime,
    since: datetime | None = None,
) -> Predicate:
    """The expressions for a field and a cutoff. Numbers are compared as numbers, so that no sentinel overflows.

    With `since`, what died before it is neither expired nor anything else that is counted.
    """
    limit, zero, first = _bounds(expiry.unit, cutoff)
    begin = first if since is None else max(first, _bounds(expiry.unit, since)[0])
    types = readable_types(expiry.unit)
    paths = _paths(expiry.field)
    guards = guards_of(where, required)
    between: Query = {expiry.field: {"$lt": limit, "$gte": begin}}
    dead: Query = {"$type": types, "$lt": limit, "$gte": begin, "$not": {"$type": "array"}}
    element: Query = {}
    count: Query = {}
    if expiry.pull is not None:
        # Once unwound, the array itself is on no path any more: what is on one lies within an element.
        paths = [path for path in paths if path.startswith(f"{expiry.pull}.")]
        within = expiry.field.removeprefix(f"{expiry.pull}.")
        # Of several instants nobody knows which is meant.
        single = {part: {"$not": {"$type": "array"}} for part in _paths(within) if part != within}
        element, inner = {**single, within: dead}, f"$$element.{within}"
        is_dead = [{"$in": [{"$type": inner}, types]}, {"$lt": [inner, limit]}, {"$gte": [inner, begin]}]
        array = {"$cond": [{"$isArray": f"${expiry.pull}"}, f"${expiry.pull}", []]}
        count = {"$size": {"$filter": {"input": array, "as": "element", "cond": {"$and": is_dead}}}}
        whole: Query = {expiry.pull: {"$elemMatch": element}}
    else:
        # One condition a field: a server may well evaluate a nested $and a second time for each document.
        whole = {**{path: {"$not": {"$type": "array"}} for path in paths}, expiry.field: dead}
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
                {"case": {"$lt": [value, begin]}, "then": "earlier"},
                {"case": {"$lt": [value, limit]}, "then": "expired"},
            ],
            "default": "live",
        }
    }
    return Predicate(expiry.field, both(whole, guards), between, guards, state, element, count, expiry.pull)


def guards_of(where: Mapping[str, Scalar], required: Sequence[str]) -> Query:
    """The documents that belong to the target: equal means equal, not "an array that has it among others".

    A document without one of the `required` fields is another application's, whatever its expiry says.
    """
    guards: Query = {}
    for name, value in sorted(where.items()):
        guards = both(guards, {path: {"$not": {"$type": "array"}} for path in _paths(name)})
        guards = both(guards, {name: {"$eq": value}})
    for name in required:
        guards = both(guards, {name: {"$exists": True}})
    return guards


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


def both(one: Query, other: Query) -> Query:
    """Both conditions in one document, with an $and only where they ask the same of a field."""
    merged = dict(one)
    apart: list[Query] = list(merged.pop("$and", []))
    for path, wanted in other.items():
        have = merged.get(path, {})
        if path == "$and":
            apart += wanted
        elif any(operator in have and have[operator] != asked for operator, asked in wanted.items()):
            apart.append({path: wanted})
        else:
            merged[path] = {**have, **wanted}
    return {**merged, "$and": apart} if apart else merged
