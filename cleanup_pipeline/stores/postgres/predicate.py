"""The expiry rule of a target as SQL: who is expired, who has no expiry, who lives.

The instant at which a naive timestamp was meant is ambiguous for an hour a year; the later reading is taken, so that a
record dies late rather than early. PostgreSQL resolves `AT TIME ZONE` of an ambiguous local time to standard time,
the later one (documentation, section 9.9.4 and appendix B.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg import sql

from cleanup_pipeline.model.target import ColumnExpiry, Scalar
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, EpochUnit
from cleanup_pipeline.stores.postgres.statements import identifier

AWARE = "timestamp with time zone"
NAIVE = "timestamp without time zone"
NUMBERS = frozenset({"integer", "bigint", "smallint", "numeric", "double precision", "real"})
TEXTS = frozenset({"text", "character varying", "character"})
READABLE_WITH_UNIT = NUMBERS | TEXTS

Parameters = Mapping[str, object]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = EPOCH + timedelta(seconds=FIRST_PLAUSIBLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Predicate:
    """SQL conditions over one row, with the parameters they need. `expired` includes the guards."""

    expiry: sql.Composable
    """The expression that orders records by death: the bare column where an index can serve it."""
    cast: sql.Composable
    """The type of `expiry`, for a cursor that travels as text."""
    expired: sql.Composable
    live: sql.Composable
    without_expiry: sql.Composable
    scope: sql.Composable
    """What the target is about: the guards and, in a window, not what expired before it."""
    parameters: Parameters


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
    expiry: ColumnExpiry,
    column_type: str,
    where: Mapping[str, Scalar],
    cutoff: datetime,
    since: datetime | None = None,
) -> Predicate:
    """The conditions for a column of a type that `problem_with` accepts.

    With `since`, what died before it is out of scope: neither expired nor live nor anything else.
    """
    column = identifier(expiry.column)
    guards, parameters = _guards(where)
    parameters["cutoff"] = cutoff
    if expiry.unit is not None:
        expression, cast, dead = _epoch(column, column_type, expiry.unit, cutoff, parameters)
    elif column_type == NAIVE:
        parameters["zone"] = expiry.zone
        # A zero in local time lies up to half a day on either side of the epoch.
        parameters["zero"] = (EPOCH + timedelta(days=1)).replace(tzinfo=None)
        parameters["earliest"] = FIRST.replace(tzinfo=None)
        expression, cast = column, sql.SQL("timestamp")
        dead = sql.SQL(
            "{c} < (%(cutoff)s::timestamptz AT TIME ZONE %(zone)s) AND {c} >= %(earliest)s::timestamp"
            " AND ({c} AT TIME ZONE %(zone)s) < %(cutoff)s::timestamptz"
        ).format(c=column)
    else:
        parameters["zero"], parameters["earliest"] = EPOCH, FIRST
        expression, cast = column, sql.SQL("timestamptz")
        dead = sql.SQL("{c} < %(cutoff)s::timestamptz AND {c} >= %(earliest)s::timestamptz").format(c=column)
    window, scope = dead, guards
    if since is not None:
        parameters["since"] = since if expiry.unit is None else _epoch_at(since, expiry.unit)
        if column_type == NAIVE and expiry.unit is None:
            reached = sql.SQL("({c} AT TIME ZONE %(zone)s) >= %(since)s::timestamptz").format(c=column)
        else:
            reached = sql.SQL("{e} >= %(since)s::{t}").format(e=expression, t=cast)
        window = sql.SQL("{} AND {}").format(dead, reached)
        scope = sql.SQL("{} AND ({}) IS NOT TRUE").format(guards, sql.SQL("{} AND NOT ({})").format(dead, reached))
    known = sql.SQL("{e} >= %(earliest)s::{t}").format(e=expression, t=cast)
    nothing = sql.SQL("({c} IS NULL OR {e} <= %(zero)s::{t})").format(c=column, e=expression, t=cast)
    return Predicate(
        expiry=expression,
        cast=cast,
        expired=sql.SQL("{guards} AND {dead}").format(guards=guards, dead=window),
        live=sql.SQL("({known} AND NOT ({dead}))").format(known=known, dead=dead),
        without_expiry=nothing,
        scope=scope,
        parameters=parameters,
    )


def _guards(where: Mapping[str, Scalar]) -> tuple[sql.Composable, dict[str, object]]:
    parameters: dict[str, object] = {}
    terms: list[sql.Composable] = [sql.SQL("true")] if not where else []
    for number, (name, value) in enumerate(sorted(where.items())):
        parameters[f"guard{number}"] = value
        terms.append(sql.SQL("{} = {}").format(identifier(name), sql.Placeholder(f"guard{number}")))
    return sql.SQL(" AND ").join(terms), parameters


def _epoch(
    column: sql.Identifier, column_type: str, unit: EpochUnit, cutoff: datetime, parameters: dict[str, object]
) -> tuple[sql.Composable, sql.Composable, sql.Composable]:
    # Compared as numbers: to_timestamp() overflows on sentinels such as 9223372036854775807 and fails the statement.
    parameters["limit"] = _epoch_at(cutoff, unit)
    parameters["zero"], parameters["earliest"] = 0, FIRST_PLAUSIBLE_SECONDS * unit.per_second
    expression: sql.Composable = column
    cast = sql.SQL("numeric") if column_type in {"numeric", "double precision", "real"} else sql.SQL("bigint")
    if column_type in TEXTS:
        cast = sql.SQL("bigint")
        expression = sql.SQL("(CASE WHEN {c} ~ '^[0-9]{{1,18}}$' THEN {c}::bigint END)").format(c=column)
    dead = sql.SQL("{e} < %(limit)s::{t} AND {e} >= %(earliest)s::{t}").format(e=expression, t=cast)
    return expression, cast, dead


def _epoch_at(instant: datetime, unit: EpochUnit) -> int:
    """The last whole unit that is not after `instant`."""
    return (instant - EPOCH) // timedelta(microseconds=1) * unit.per_second // 1_000_000


def instant_of(text: str | None, unit: EpochUnit | None, zone: str | None) -> datetime | None:
    """The instant that a cursor or an aggregate of `Predicate.expiry` stands for; None when it has none."""
    if text is None:
        return None
    try:
        if unit is not None:
            return EPOCH + timedelta(microseconds=int(float(text)) * 1_000_000 // unit.per_second)
        value = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    if value.tzinfo is None:
        from zoneinfo import ZoneInfo

        value = value.replace(tzinfo=ZoneInfo(zone or "UTC"), fold=1)
    return value.astimezone(UTC)
