"""Guards on fields as conditions of a query, and, for elements of an array, as aggregation expressions.

A query condition on an array matches if any element does: equal means equal here, not "an array that has it among
others", so that an array anywhere on the path rules a document out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cleanup_pipeline.model.rules import FieldGuard, FieldTest, Guard
from cleanup_pipeline.model.target import CollectionSource, Scalar

Query = dict[str, Any]
NUMBERS = ["int", "long", "double", "decimal"]
ABSENT = ["missing", "null", "undefined"]


def guards_of(source: CollectionSource, where: Mapping[str, Scalar], guards: Sequence[Guard] = ()) -> Query:
    """The documents that belong to a target.

    A document without one of the required fields, or with one of another type, is another application's, whatever its
    expiry says. Raises TypeError for a guard of another store.
    """
    query: Query = {}
    for name, value in sorted(where.items()):
        query = both(query, {path: {"$not": {"$type": "array"}} for path in paths_of(name)})
        query = both(query, {name: {"$eq": value}})
    for name in source.required_fields:
        query = both(query, {name: {"$exists": True}})
    for name, types in source.field_types:
        if "array" not in types:
            query = both(query, {name: {"$not": {"$type": "array"}}})
        query = both(query, {name: {"$type": list(types)}})
    for guard in guards:
        query = both(query, condition(guard, paths_of(_checked(guard).field)))
    return query


def condition(guard: Guard, paths: Sequence[str]) -> Query:
    """One guard as conditions on these paths, of which the last is the field's own."""
    guard, query = _checked(guard), {path: {"$not": {"$type": "array"}} for path in paths}
    name = paths[-1]
    match guard.test:
        case FieldTest.IN if guard.or_missing:
            return both(query, {"$or": [{name: {"$in": list(guard.values)}}, {name: {"$exists": False}}]})
        case FieldTest.IN:
            return both(query, {name: {"$in": list(guard.values)}})
        case FieldTest.EXISTS:
            return both(query, {name: {"$exists": True, "$ne": None}})
        case FieldTest.MISSING:
            # Null is missing, as in an index. What lies within something that is not a document is, too.
            return both(query, {name: {"$in": [None]}})
        case FieldTest.LACKS:
            text = re.escape(str(guard.values[0]))
            return both(both(query, {name: {"$type": ["string"]}}), {name: {"$not": {"$regex": text}}})
        case FieldTest.AT_LEAST:
            return both(query, {name: {"$type": NUMBERS, "$gte": guard.values[0]}})


def within(guards: Sequence[Guard], pull: str | None) -> tuple[list[Guard], list[FieldGuard]]:
    """Guards on documents, and those on elements of the array at `pull`, whose fields are within the element."""
    if pull is None:
        return list(guards), []
    start = f"{pull}."
    outer: list[Guard] = []
    inner: list[FieldGuard] = []
    for guard in guards:
        checked = _checked(guard)
        if checked.field.startswith(start):
            name = checked.field.removeprefix(start)
            inner.append(FieldGuard(name, checked.test, checked.values, checked.or_missing))
        else:
            outer.append(guard)
    return outer, inner


def paths_of(path: str) -> list[str]:
    """A dotted path and every path that leads to it, the shortest first."""
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
        elif path == "$or" or any(operator in have and have[operator] != asked for operator, asked in wanted.items()):
            apart.append({path: wanted})
        else:
            merged[path] = {**have, **wanted}
    return {**merged, "$and": apart} if apart else merged


def _checked(guard: Guard) -> FieldGuard:
    if not isinstance(guard, FieldGuard):
        raise TypeError("a guard of a column is not one of a field")
    return guard
