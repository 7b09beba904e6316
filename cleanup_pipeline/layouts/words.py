"""Rules, guards and removals in words."""

from datetime import timedelta

from cleanup_pipeline.layouts.key_words import UNITS as _UNITS
from cleanup_pipeline.layouts.key_words import field_guard_words, key_rule_words
from cleanup_pipeline.layouts.layout import Layout
from cleanup_pipeline.layouts.params import UNSAID_LIFETIME, UNSAID_ZONE
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.rules import (
    SESSION_ZONE,
    AgeGuard,
    ColumnExpiry,
    ColumnGuard,
    EarliestExpiry,
    FieldGuard,
    Guard,
    JsonEntriesExpiry,
    LatestExpiry,
    LifetimeByValue,
    LifetimeColumn,
    NullMeans,
    StartExpiry,
    Test,
)
from cleanup_pipeline.model.target import CollectionSource, Expiry, KeySource, Source, TableSource

_ZONES = {SESSION_ZONE: "in the zone of the database's sessions", UNSAID_ZONE: "in the parameter's zone"}


def value_words(value: object) -> str:
    """A value as YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def source_words(source: Source) -> str:
    """Where records are."""
    match source:
        case TableSource(table=table, schema=schema):
            return f"table `{schema}.{table}`" if schema else f"table `{table}`"
        case CollectionSource(collection=collection):
            return f"collection `{collection}`"
        case KeySource(pattern=pattern):
            return f"keys `{pattern}`"


def rule_words(rule: Expiry) -> str:
    """When a record dies."""
    match rule:
        case ColumnExpiry():
            return f"when {column_words(rule)} has passed"
        case StartExpiry(start=start, lifetime=lifetime):
            return f"{_lifetime(lifetime)} after {column_words(start)}"
        case LatestExpiry(of=several):
            return "when the last of these has: " + "; ".join(rule_words(one) for one in several)
        case EarliestExpiry(of=several):
            return "when the first of these has: " + "; ".join(rule_words(one) for one in several)
        case JsonEntriesExpiry(column=name, field=at, unit=unit):
            return (
                f"each entry of the JSON in `{name}` when its `{at}` (epoch {_UNITS[unit]}) has passed; the row stays"
            )
        case _:
            return key_rule_words(rule, _length)


def column_words(column: ColumnExpiry) -> str:
    """A column, how it is read, and what its null means."""
    details = []
    if column.of is not None:
        details.append(f"of the rows of `{column.of.name}` whose `{column.of.key}` is its `{column.of.by}`")
    if column.zone is not None:
        details.append(_ZONES.get(column.zone, f"in {column.zone}"))
    if column.unit is not None:
        details.append(f"epoch {_UNITS[column.unit]}")
    if column.never_values:
        details.append(f"{', '.join(f'`{value}`' for value in column.never_values)} is never")
    if column.null_means is NullMeans.DEAD:
        details.append("null is dead")
    return f"`{column.column}`" + (f" ({', '.join(details)})" if details else "")


def _lifetime(lifetime: timedelta | LifetimeColumn | LifetimeByValue) -> str:
    match lifetime:
        case timedelta():
            return _length(lifetime)
        case LifetimeColumn():
            where = f" of `{lifetime.of.name}`" if lifetime.of else ""
            return f"as many {_UNITS[lifetime.unit]} as `{lifetime.column}`{where} says (null and 0 are never)"
        case LifetimeByValue():
            known = [f"{_length(length)} for `{value}`" for value, length in lifetime.values]
            known += [f"{_length(length)} for `{value}...`" for value, length in lifetime.prefixes]
            return f"by `{lifetime.column}` ({', '.join(known)}, others never)"


def _length(length: timedelta) -> str:
    return "the lifetime" if length == UNSAID_LIFETIME else format_duration(length)


def grace_words(grace: timedelta) -> str:
    """How long a record is kept after it died."""
    if grace == UNSAID_LIFETIME:
        return "kept for as long after that as the parameter says (`grace`)"
    return f"{format_duration(grace)} later (`grace`)"


def guard_words(guard: Guard) -> str:
    """Which records a guard lets go, after "only"."""
    match guard:
        case ColumnGuard(column=name, test=Test.NULL):
            return f"where `{name}` is null"
        case ColumnGuard(column=name, test=Test.NOT_NULL):
            return f"where `{name}` is not null"
        case ColumnGuard(column=name, values=values):
            return f"where `{name}` is {' or '.join(f'`{value}`' for value in values)}"
        case AgeGuard(start=start, age=age):
            return f"{_length(age)} or more after {column_words(start)}"
        case FieldGuard():
            return field_guard_words(guard)
        case _:
            of = guard.of
            more = "".join(f" and `{name}` is `{value}`" for name, value in guard.where)
            return f"where `{of.name}` has no row whose `{of.key}` is its `{of.by}`{more}"


def removal_words(layout: Layout) -> list[str]:
    """What is done besides deleting a row, or in place of it."""
    words = []
    if layout.set_null:
        words.append(f"the row stays; {', '.join(f'`{name}`' for name in layout.set_null)} become null")
    if layout.unset:
        words.append(f"what goes of the document is {', '.join(f'`{name}`' for name in layout.unset)}; the rest stays")
    if layout.children_first:
        words.append("rows that refer to it by a foreign key go with it")
    words += [f"`{one.key}` of rows in `{one.name}` that refer to it becomes null first" for one in layout.detach]
    return words
