"""The instant at which a row dies as one SQL expression of type timestamptz, for rules that are more than a column.

NULL is a row that has no expiry, infinity one that never dies, -infinity one whose expiry cannot be right. Nothing in
such an expression fails on a value, however odd: one row would fail the whole statement.
"""

from datetime import timedelta

from psycopg import sql

from cleanup_pipeline.model.rules import (
    ColumnExpiry,
    EarliestExpiry,
    JsonEntriesExpiry,
    LatestExpiry,
    LifetimeByValue,
    LifetimeColumn,
    NullMeans,
    Related,
    StartExpiry,
    TableExpiry,
)
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS, EpochUnit
from cleanup_pipeline.stores.postgres.entries import first_death
from cleanup_pipeline.stores.postgres.shape import (
    AWARE,
    EPOCH,
    FIRST,
    LAST,
    NAIVE,
    OTHER,
    RECORD,
    TEXTS,
    Binds,
    Shape,
    column_of,
    whole,
)

_NULL = sql.SQL("NULL::timestamptz")
_INFINITY = sql.SQL("'infinity'::timestamptz")
_UNREADABLE = sql.SQL("'-infinity'::timestamptz")
_LATE = sql.SQL("'9999-12-31 00:00Z'::timestamptz")
"""What lies too far off to be right, whatever it is: as far as that, it would not fit."""
_LONGEST = timedelta(days=36500)


def instant(rule: TableExpiry, shape: Shape, binds: Binds) -> sql.Composable:
    """The instant of death of `record` under a rule as a whole."""
    if isinstance(rule, JsonEntriesExpiry):
        return first_death(rule, shape, binds)
    if isinstance(rule, LatestExpiry | EarliestExpiry):
        # GREATEST and LEAST leave out what is null: what never dies has to be infinity in there.
        name = sql.SQL("GREATEST" if isinstance(rule, LatestExpiry) else "LEAST")
        parts = sql.SQL(", ").join(_one(part, shape, binds, member=True) for part in rule.of)
        return sql.SQL("{}({})").format(name, parts)
    return _one(rule, shape, binds, member=False)


def _one(rule: ColumnExpiry | StartExpiry, shape: Shape, binds: Binds, *, member: bool) -> sql.Composable:
    if isinstance(rule, ColumnExpiry):
        return column_instant(rule, shape, binds, member=member)
    begins = column_instant(rule.start, shape, binds, member=member)
    never = _INFINITY if member else _NULL
    match rule.lifetime:
        case timedelta():
            return sql.SQL("({} + {}::interval)").format(begins, binds.add(rule.lifetime))
        case LifetimeColumn():
            return _with_column(begins, rule.lifetime, shape, binds, never)
        case LifetimeByValue():
            return _by_value(begins, rule.lifetime, binds, never)


def column_instant(rule: ColumnExpiry, shape: Shape, binds: Binds, *, member: bool) -> sql.Composable:
    """The instant in a column. As a `member` of several, what is not readable must not be left out either."""
    never = _INFINITY if member else _NULL
    absent: sql.Composable = never
    if rule.null_means is NullMeans.DEAD:
        absent = _NULL if member else sql.SQL("{}::timestamptz").format(binds.add(FIRST))
    unreadable = _INFINITY if member else _UNREADABLE
    if rule.of is None:
        return _read(rule, RECORD, shape, binds, (absent, never, unreadable))
    # max() leaves out what is null: a related row that never dies has to be infinity in there.
    each = _read(rule, OTHER, shape, binds, (_NULL if absent is not never else _INFINITY, _INFINITY, _INFINITY))
    found = related(rule.of, sql.SQL("max({})").format(each), shape)
    return sql.SQL("coalesce({}, {})").format(found, never) if member else found


def related(of: Related, what: sql.Composable, shape: Shape) -> sql.Composed:
    """A scalar of the rows of another table that belong to `record`."""
    return sql.SQL("(SELECT {what} FROM {table} AS other WHERE {key} = {by})").format(
        what=what,
        table=shape.table(of),
        key=column_of(OTHER, of.key),
        by=column_of(RECORD, of.by),
    )


def _read(
    rule: ColumnExpiry,
    row: sql.SQL,
    shape: Shape,
    binds: Binds,
    means: tuple[sql.Composable, sql.Composable, sql.Composable],
) -> sql.Composable:
    """CASE over what a column can hold; `means` is what null, never and unreadable come to."""
    absent, never, unreadable = means
    column, column_type = column_of(row, rule.column), shape.columns_of(rule.of)[rule.column]
    value, cast, taken = _value(rule, column, column_type, shape, binds)
    zero, first, last = _limits(rule, column_type)
    cases = [sql.SQL("{} IS NULL THEN {}").format(column, absent)]
    if rule.never_values:
        values = [str(v) if column_type in TEXTS else v for v in rule.never_values]
        cases.append(sql.SQL("{} = ANY ({}) THEN {}").format(column, binds.add(values), never))
    if value != column:
        cases.append(sql.SQL("{} IS NULL THEN {}").format(value, unreadable))
    far: sql.Composable = _LATE
    if rule.unit is None:
        far = sql.SQL("CASE WHEN isfinite({}) THEN {} ELSE {} END").format(column, _LATE, _INFINITY)
    cases += [
        sql.SQL("{} {} {}::{} THEN {}").format(value, sql.SQL(sign), binds.add(limit), cast, becomes)
        for sign, limit, becomes in (("<=", zero, never), ("<", first, unreadable), (">=", last, far))
    ]
    whens = sql.SQL("\n     WHEN ").join(cases)
    return sql.SQL("CASE WHEN {} ELSE {} END").format(whens, taken)


def _value(
    rule: ColumnExpiry, column: sql.Composable, column_type: str, shape: Shape, binds: Binds
) -> tuple[sql.Composable, sql.Composable, sql.Composable]:
    """What is compared, the type it is compared in, and what becomes of it when it is plausible."""
    if rule.unit is not None:
        value, cast = whole(column, column_type)
        per_second = sql.Literal(rule.unit.per_second)
        return value, cast, sql.SQL("to_timestamp(({} / {}::numeric)::float8)").format(value, per_second)
    if column_type == NAIVE:
        zone = binds.add(shape.zone_of(rule))
        return column, sql.SQL("timestamp"), sql.SQL("({} AT TIME ZONE {})").format(column, zone)
    return column, sql.SQL("timestamptz"), column


def _limits(rule: ColumnExpiry, column_type: str) -> tuple[object, object, object]:
    if rule.unit is not None:
        per_second = rule.unit.per_second
        return 0, FIRST_PLAUSIBLE_SECONDS * per_second, LAST_PLAUSIBLE_SECONDS * per_second
    if column_type == AWARE:
        return EPOCH, FIRST, LAST
    # A zero in local time lies up to half a day on either side of the epoch.
    return (EPOCH + timedelta(days=1)).replace(tzinfo=None), FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None)


def _with_column(
    begins: sql.Composable, lifetime: LifetimeColumn, shape: Shape, binds: Binds, never: sql.Composable
) -> sql.Composable:
    column_type = shape.columns_of(lifetime.of)[lifetime.column]
    row = RECORD if lifetime.of is None else OTHER
    length, _ = whole(column_of(row, lifetime.column), column_type)
    if lifetime.of is not None:
        # One of several that is for ever makes it for ever.
        longest = sql.SQL("CASE WHEN bool_and(({l} > 0) IS TRUE) THEN max({l}) END").format(l=length)
        length = related(lifetime.of, longest, shape)
    per_second = EpochUnit(lifetime.unit).per_second
    longest_length = binds.add(int(_LONGEST.total_seconds()) * per_second)
    return sql.SQL(
        "CASE WHEN ({length} > 0) IS NOT TRUE THEN {never}\n     WHEN {length} > {most}::numeric THEN {infinity}\n"
        "     ELSE {begins} + make_interval(secs => ({length} / {per}::numeric)::float8) END"
    ).format(
        length=length, never=never, most=longest_length, infinity=_INFINITY, begins=begins, per=sql.Literal(per_second)
    )


def _by_value(begins: sql.Composable, lifetime: LifetimeByValue, binds: Binds, never: sql.Composable) -> sql.Composable:
    what = sql.SQL("{}::text").format(column_of(RECORD, lifetime.column))
    equal, begin = (
        sql.SQL("WHEN {} = {}::text THEN {}::interval"),
        sql.SQL("WHEN starts_with({}, {}::text) THEN {}::interval"),
    )
    whens = [equal.format(what, binds.add(value), binds.add(length)) for value, length in lifetime.values]
    longest_first = sorted(lifetime.prefixes, key=lambda item: -len(item[0]))
    whens += [begin.format(what, binds.add(value), binds.add(length)) for value, length in longest_first]
    cases = sql.SQL("\n     ").join(whens)
    return sql.SQL("coalesce({} +\n     CASE {} END, {})").format(begins, cases, never)
