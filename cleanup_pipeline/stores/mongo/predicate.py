"""The expiry rule of a target as MongoDB query and aggregation expressions.

A query condition on an array matches if any element does, and so does a dotted path through one: every array on the
path rules a document out, or a user would go because one of his tokens died.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cleanup_pipeline.model.rules import Guard
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Scalar
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS, EpochUnit
from cleanup_pipeline.stores.mongo.guards import ABSENT, NUMBERS, Query, both, condition, guards_of, paths_of, within

__all__ = ["ABSENT", "NUMBERS", "Predicate", "Query", "both", "compile_predicate", "from_bound", "readable_types"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = EPOCH + timedelta(seconds=FIRST_PLAUSIBLE_SECONDS)
LATE = EPOCH + timedelta(seconds=LAST_PLAUSIBLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Predicate:
    """Who is expired, as a query, and which state a document is in, as an aggregation expression."""

    field: str
    expired: Query
    between: Query
    """The part of `expired` that an index on the field answers by itself; empty where none can."""
    guards: Query
    state: Query
    """Gives `live`, `late` (which lives, too), `expired`, `without_expiry` or `unparsable`, and `earlier` for what died
    before the window."""
    instant: Any
    """The expiry as an expression: of one type, whatever it is in the document."""
    element: Query
    """Who is expired among the elements of the array at `pull`; empty where documents are deleted."""
    unwound: Query
    """The guards on elements, once each is a document of its own."""
    pull: str | None
    dead_elements: Query | None = None
    """How many elements of a document's array have expired, as an expression; None where guards on elements decide,
    too, or there is no array."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """How values of some BSON types are read."""

    types: list[str]
    limit: Any
    """Dead before it."""
    zero: Any
    """Without expiry up to it."""
    first: Any
    """Implausible before it."""
    begin: Any
    """Not of this window before it."""
    late: Any
    """Later than anyone means from it on."""

    @property
    def dead(self) -> Query:
        return {"$type": self.types, "$lt": self.limit, "$gte": self.begin, "$not": {"$type": "array"}}

    def states(self, value: str, kind: Query | None) -> list[Query]:
        """Branches for these types; `kind`, the type of the value, where there are others."""
        steps = (
            ({"$lte": [value, self.zero]}, "without_expiry"),
            ({"$lt": [value, self.first]}, "unparsable"),
            ({"$lt": [value, self.begin]}, "earlier"),
            ({"$lt": [value, self.limit]}, "expired"),
            ({"$gte": [value, self.late]}, "late"),
        )
        of_type = [] if kind is None else [{"$in": [kind, self.types]}]
        return [{"case": {"$and": [*of_type, test]} if of_type else test, "then": state} for test, state in steps]


def compile_predicate(
    expiry: FieldExpiry,
    source: CollectionSource,
    cutoff: datetime,
    *,
    where: Mapping[str, Scalar],
    guards: Sequence[Guard] = (),
    since: datetime | None = None,
) -> Predicate:
    """The expressions for a field and a cutoff. Numbers are compared as numbers, so that no sentinel overflows.

    With `since`, what died before it is neither expired nor anything else that is counted.
    """
    readings = [_reading(expiry, unit, cutoff, since) for unit in units_of(expiry)]
    paths = paths_of(expiry.field)
    on_documents, on_elements = within(guards, expiry.pull)
    around = guards_of(source, where, on_documents)
    between: Query = {}
    if len(readings) == 1:
        between = {expiry.field: {"$lt": readings[0].limit, "$gte": readings[0].begin}}
    element: Query = {}
    unwound: Query = {}
    if expiry.pull is not None:
        # Once unwound, the array itself is on no path any more: what is on one lies within an element.
        paths = [path for path in paths if path.startswith(f"{expiry.pull}.")]
        inner = expiry.field.removeprefix(f"{expiry.pull}.")
        # Of several instants nobody knows which is meant.
        single: Query = {part: {"$not": {"$type": "array"}} for part in paths_of(inner) if part != inner}
        element = both(single, _dead(inner, readings))
        for guard in on_elements:
            element = both(element, condition(guard, paths_of(guard.field)))
            unwound = both(unwound, condition(guard, [f"{expiry.pull}.{path}" for path in paths_of(guard.field)]))
        whole: Query = {expiry.pull: {"$elemMatch": element}}
    else:
        # One condition a field: a server may well evaluate a nested $and a second time for each document.
        whole = both({path: {"$not": {"$type": "array"}} for path in paths}, _dead(expiry.field, readings))
    value = f"${expiry.field}"
    instant: Any = value
    if len(readings) > 1:
        instant = {"$cond": [{"$eq": [{"$type": value}, "date"]}, {"$subtract": [value, EPOCH]}, value]}
    return Predicate(
        field=expiry.field,
        expired=both(whole, around),
        between=between,
        guards=around,
        state=_state("$", expiry.field, paths, readings),
        instant=instant,
        element=element,
        unwound=unwound,
        pull=expiry.pull,
        dead_elements=_dead_elements(expiry, paths, readings) if expiry.pull and not unwound else None,
    )


def _state(start: str, field: str, paths: Sequence[str], readings: Sequence[_Reading]) -> Query:
    """Which state the value at a path is in; `start` is what stands before a path."""
    value = f"{start}{field}"
    kind = {"$type": value}
    types = [kind for reading in readings for kind in reading.types]
    branches = [
        {"case": {"$or": [{"$isArray": f"{start}{path}"} for path in paths]}, "then": "unparsable"},
        {"case": {"$in": [kind, ABSENT]}, "then": "without_expiry"},
        {"case": {"$not": [{"$in": [kind, types]}]}, "then": "unparsable"},
    ]
    for reading in readings:
        branches += reading.states(value, kind if len(readings) > 1 else None)
    return {"$switch": {"branches": branches, "default": "live"}}


def _dead_elements(expiry: FieldExpiry, paths: Sequence[str], readings: Sequence[_Reading]) -> Query:
    """How many elements of the array of one document have expired."""
    within_it = [path.removeprefix(f"{expiry.pull}.") for path in paths]
    inner = expiry.field.removeprefix(f"{expiry.pull}.")
    state = _state("$$one.", inner, within_it, readings)
    array = f"${expiry.pull}"
    whole = {"$filter": {"input": array, "as": "one", "cond": {"$eq": [state, "expired"]}}}
    return {"$cond": [{"$isArray": array}, {"$size": whole}, 0]}


def _dead(field: str, readings: Sequence[_Reading]) -> Query:
    if len(readings) == 1:
        return {field: readings[0].dead}
    return {"$or": [{field: reading.dead} for reading in readings]}


def units_of(expiry: FieldExpiry) -> list[EpochUnit | None]:
    """The units that the field is read in; None is a date."""
    return [expiry.unit] if expiry.or_unit is None else [None, expiry.or_unit]


def from_bound(expiry: FieldExpiry, value: Any) -> datetime | None:
    """The instant of death that a stored value, or `Predicate.instant`, stands for; None when it stands for none."""
    unit = expiry.unit or expiry.or_unit
    try:
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)) + expiry.lifetime
        if unit is None or not isinstance(value, int | float):
            return None
        return EPOCH + timedelta(microseconds=int(value) * 1_000_000 // unit.per_second) + expiry.lifetime
    except (OverflowError, ValueError):
        return None


def readable_types(expiry: FieldExpiry) -> list[str]:
    """The BSON types, by alias, that the expiry may have."""
    return [kind for unit in units_of(expiry) for kind in (["date"] if unit is None else NUMBERS)]


def _reading(expiry: FieldExpiry, unit: EpochUnit | None, cutoff: datetime, since: datetime | None) -> _Reading:
    limit, zero, first = _bounds(unit, cutoff - expiry.lifetime)
    begin = first if since is None else max(first, _bounds(unit, since - expiry.lifetime)[0])
    late: Any = LATE if unit is None else LAST_PLAUSIBLE_SECONDS * unit.per_second
    return _Reading(["date"] if unit is None else NUMBERS, limit, zero, first, begin, late)


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
