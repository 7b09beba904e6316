"""The rule of a target as SQL: who is expired, who has no expiry, who lives.

The instant at which a naive timestamp was meant is ambiguous for an hour a year; the later reading is taken, so that a
record dies late rather than early. PostgreSQL resolves `AT TIME ZONE` of an ambiguous local time to standard time,
the later one (documentation, section 9.9.4 and appendix B.1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import sql

from cleanup_pipeline.model.rules import (
    AgeGuard,
    ColumnExpiry,
    Guard,
    JsonEntriesExpiry,
    LifetimeByValue,
    LifetimeColumn,
    NullMeans,
    Related,
    RowGuard,
    Scalar,
    StartExpiry,
    TableExpiry,
)
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS, EpochUnit
from cleanup_pipeline.stores.postgres import entries
from cleanup_pipeline.stores.postgres.guards import EVERYTHING, conditions
from cleanup_pipeline.stores.postgres.instants import instant
from cleanup_pipeline.stores.postgres.shape import (
    AWARE,
    EPOCH,
    FIRST,
    LAST,
    NAIVE,
    NUMBERS,
    RECORD,
    TEXTS,
    Binds,
    Shape,
    column_of,
    epoch_at,
    whole,
)
from cleanup_pipeline.stores.postgres.statements import identifier

READABLE_WITH_UNIT = NUMBERS | TEXTS

Parameters = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Predicate:
    """SQL conditions over one row, called `record`, with the parameters they need. `expired` includes the guards."""

    expiry: sql.Composable
    """The expression that orders records by death: the bare column where an index can serve it."""
    cast: sql.Composable
    """The type of `expiry`, for a cursor that travels as text."""
    expired: sql.Composable
    live: sql.Composable
    without_expiry: sql.Composable
    late: sql.Composable
    """An expiry, other than infinity, that is too late to be right."""
    scope: sql.Composable
    """What the target is about: the guards and, in a window, not what expired before it."""
    parameters: Parameters
    columns: sql.Composable
    """What an inner query hands to the conditions: every column that the login may read."""
    joins: bool
    """Rows of other tables decide as well, so that the rows of a scan may come in any order."""
    unit: EpochUnit | None = None
    zone: str | None = None
    kept: sql.Composable | None = None
    """Where entries of a column die: the assignment that leaves the others in it."""
    lifetime: timedelta = timedelta(0)
    """What lies between `expiry` and death."""

    def instant_of(self, text: str | None) -> datetime | None:
        """The instant of death that an aggregate of `expiry`, as text, stands for; None when it is not known."""
        found = instant_of(text, self.unit, self.zone)
        # What is dead without an instant is taken to have died as early as can be.
        return found + self.lifetime if found and found != FIRST else None


def column_alone(rule: TableExpiry) -> tuple[ColumnExpiry, timedelta] | None:
    """The column that orders records by their death, and how long after it that is; None when no column does."""
    column, lifetime = rule, timedelta(0)
    if isinstance(rule, StartExpiry):
        if not isinstance(rule.lifetime, timedelta):
            return None
        column, lifetime = rule.start, rule.lifetime
    if not isinstance(column, ColumnExpiry) or column.of is not None or column.null_means is NullMeans.DEAD:
        return None
    return column, lifetime


def columns_in(rule: TableExpiry, guards: Iterable[Guard] = ()) -> list[ColumnExpiry]:
    """Every column of instants that a rule and its guards read."""
    parts = _parts(rule)
    found = [part if isinstance(part, ColumnExpiry) else part.start for part in parts]
    return found + [guard.start for guard in guards if isinstance(guard, AgeGuard)]


def _parts(rule: TableExpiry) -> tuple[ColumnExpiry | StartExpiry, ...]:
    match rule:
        case ColumnExpiry() | StartExpiry():
            return (rule,)
        case JsonEntriesExpiry():
            return ()
        case _:
            return rule.of


def lifetimes_in(rule: TableExpiry) -> list[LifetimeColumn | LifetimeByValue]:
    """Every lifetime of a rule that is read from a row."""
    return [p.lifetime for p in _parts(rule) if isinstance(p, StartExpiry) and not isinstance(p.lifetime, timedelta)]


def related_in(rule: TableExpiry, guards: Iterable[Guard] = ()) -> list[Related]:
    """Every other table that a rule and its guards read."""
    found = [column.of for column in columns_in(rule, guards)]
    found += [lifetime.of for lifetime in lifetimes_in(rule) if isinstance(lifetime, LifetimeColumn)]
    found += [guard.of for guard in guards if isinstance(guard, RowGuard)]
    return [related for related in found if related is not None]


def problem_with(column_type: str, expiry: ColumnExpiry) -> tuple[str, str] | None:
    """What keeps a column of this type from being read as an expiry, and the remedy; None when nothing does."""
    if column_type == AWARE and (expiry.zone or expiry.unit):
        return (
            f"column {expiry.column} is timestamp with time zone, which needs neither zone nor unit",
            "remove `zone` and `unit`",
        )
    if column_type == AWARE:
        return None
    if column_type == NAIVE:
        if expiry.unit:
            return f"column {expiry.column} is a timestamp, not a number", "remove `unit`"
        if expiry.zone is None:
            return (
                f"column {expiry.column} is timestamp without time zone, which does not say whose clock it was",
                "set `zone` to the zone that the application writes in, such as `zone: UTC`",
            )
        return None
    if column_type in READABLE_WITH_UNIT:
        if expiry.zone:
            return f"column {expiry.column} is {column_type}, which has no zone", "remove `zone`"
        if expiry.unit:
            return None
        return (
            f"column {expiry.column} is {column_type}, not a timestamp",
            "name the column that holds the expiry, or set `unit: s` (ms, ns) if it holds epoch numbers",
        )
    return (
        f"column {expiry.column} is {column_type}, not a timestamp",
        "name a column of type timestamp with time zone, timestamp, or a number with `unit`",
    )


def compile_predicate(
    rule: TableExpiry,
    shape: Shape,
    cutoff: datetime,
    since: datetime | None = None,
    *,
    where: Mapping[str, Scalar] | None = None,
    guards: Sequence[Guard] = (),
    set_null: Sequence[str] = (),
) -> Predicate:
    """The conditions for columns of types that `problem_with` accepts.

    With `since`, what died before it is out of scope: neither expired nor live nor anything else.
    """
    binds = Binds()
    scope = conditions(where or {}, guards, set_null, shape, cutoff, binds)
    alone = column_alone(rule)
    if alone is None:
        reading = _computed(instant(rule, shape, binds), cutoff, since, binds)
    else:
        column, lifetime = alone
        reading = _of_column(column, shape, cutoff - lifetime, since - lifetime if since else None, binds)
    kept = entries.kept(rule, shape, cutoff, binds) if isinstance(rule, JsonEntriesExpiry) else None
    dead, window, guarded = reading.dead, reading.dead, scope
    if reading.reached is not None:
        window = sql.SQL("{} AND {}").format(dead, reading.reached)
        earlier = sql.SQL("{} AND NOT ({})").format(dead, reading.reached)
        scope = sql.SQL("{} AND ({}) IS NOT TRUE").format(guarded, earlier)
    return Predicate(
        expiry=reading.expiry,
        cast=reading.cast,
        expired=window if guarded == EVERYTHING else sql.SQL("{} AND {}").format(guarded, window),
        live=sql.SQL("({known} AND NOT ({dead}))").format(known=reading.known, dead=dead),
        without_expiry=reading.nothing,
        late=reading.late,
        scope=scope,
        parameters=binds.values,
        columns=_columns(shape),
        joins=bool(related_in(rule, guards)),
        unit=alone[0].unit if alone else None,
        zone=shape.zone_of(alone[0]) if alone else None,
        lifetime=alone[1] if alone else timedelta(0),
        kept=kept,
    )


def _columns(shape: Shape) -> sql.Composable:
    if not shape.hidden:
        return sql.SQL("*")
    return sql.SQL(", ").join(identifier(name) for name in shape.columns if name not in shape.hidden)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The expiry of a row, without any guard."""

    expiry: sql.Composable
    cast: sql.Composable
    dead: sql.Composable
    known: sql.Composable
    nothing: sql.Composable
    late: sql.Composable
    reached: sql.Composable | None
    """Dead, but not before the window; None where there is none."""


def _computed(death: sql.Composable, cutoff: datetime, since: datetime | None, binds: Binds) -> _Reading:
    cast = sql.SQL("timestamptz")
    limit, first = binds.add(cutoff), sql.SQL("{}::timestamptz").format(binds.add(FIRST))
    last = binds.add(LAST)
    reached = sql.SQL("({}) >= {}::timestamptz").format(death, binds.add(since)) if since else None
    return _Reading(
        expiry=death,
        cast=cast,
        # As a range, so that a long expression stands there, and is worked out, once.
        dead=sql.SQL("tstzrange({first}, greatest({limit}::timestamptz, {first})) @> ({d})").format(
            d=death, limit=limit, first=first
        ),
        known=sql.SQL("({}) >= {}").format(death, first),
        nothing=sql.SQL("({}) IS NULL").format(death),
        late=sql.SQL("(({d}) >= {last}::timestamptz AND isfinite({d}))").format(d=death, last=last),
        reached=reached,
    )


def _of_column(expiry: ColumnExpiry, shape: Shape, cutoff: datetime, since: datetime | None, binds: Binds) -> _Reading:
    """Compared bare, so that an index on the column serves."""
    column, column_type = column_of(RECORD, expiry.column), shape.columns[expiry.column]
    value: sql.Composable = column
    reached: sql.Composable | None = None
    zero: object
    first: object
    last: object
    if expiry.unit is not None:
        # As numbers: to_timestamp() overflows on sentinels such as 9223372036854775807 and fails the statement.
        value, cast = whole(column, column_type)
        per_second = expiry.unit.per_second
        zero, first, last = 0, FIRST_PLAUSIBLE_SECONDS * per_second, LAST_PLAUSIBLE_SECONDS * per_second
        limit: sql.Composable = binds.add(epoch_at(cutoff, expiry.unit))
        low: sql.Composable | None = binds.add(epoch_at(since, expiry.unit)) if since else None
    elif column_type == NAIVE:
        # A zero in local time lies up to half a day on either side of the epoch.
        cast, zero = sql.SQL("timestamp"), (EPOCH + timedelta(days=1)).replace(tzinfo=None)
        first, last = FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None)
        zone, at = binds.add(shape.zone_of(expiry)), binds.add(cutoff)
        limit = sql.SQL("({}::timestamptz AT TIME ZONE {})").format(at, zone)
        low = None
        if since is not None:
            reached = sql.SQL("({} AT TIME ZONE {}) >= {}::timestamptz").format(column, zone, binds.add(since))
    else:
        cast, zero, first, last = sql.SQL("timestamptz"), EPOCH, FIRST, LAST
        limit, low = binds.add(cutoff), binds.add(since) if since else None
    known = sql.SQL("{} >= {}::{}").format(value, binds.add(first), cast)
    dead: sql.Composable = sql.SQL("{} < {}::{} AND {}").format(value, limit, cast, known)
    if cast == sql.SQL("timestamp"):
        dead = sql.SQL("{} AND ({} AT TIME ZONE {}) < {}::timestamptz").format(dead, column, zone, at)
    nothing: sql.Composable = sql.SQL("{} IS NULL OR {} <= {}::{}").format(column, value, binds.add(zero), cast)
    late: sql.Composable = sql.SQL("{} >= {}::{}").format(value, binds.add(last), cast)
    if expiry.unit is None:
        late = sql.SQL("{} AND isfinite({})").format(late, column)
    if expiry.never_values:
        values = [str(v) if column_type in TEXTS else v for v in expiry.never_values]
        listed = sql.SQL("{} = ANY ({})").format(column, binds.add(values))
        dead = sql.SQL("{} AND NOT ({})").format(dead, listed)
        known = sql.SQL("{} AND NOT ({})").format(known, listed)
        nothing = sql.SQL("{} OR {}").format(nothing, listed)
        late = sql.SQL("{} AND NOT ({})").format(late, listed)
    if low is not None:
        reached = sql.SQL("{} >= {}::{}").format(value, low, cast)
    return _Reading(
        expiry=value,
        cast=cast,
        dead=dead,
        known=known,
        nothing=sql.SQL("({})").format(nothing),
        late=sql.SQL("({})").format(late),
        reached=reached,
    )


def instant_of(text: str | None, unit: EpochUnit | None, zone: str | None) -> datetime | None:
    """The instant that a cursor or an aggregate of a column stands for; None when it has none."""
    if text is None:
        return None
    try:
        if unit is not None:
            return EPOCH + timedelta(microseconds=int(float(text)) * 1_000_000 // unit.per_second)
        value = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=ZoneInfo(zone or "UTC"), fold=1)
    return value.astimezone(UTC)
