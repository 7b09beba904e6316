"""Guards of a target as SQL conditions over `record`."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from psycopg import sql

from cleanup_pipeline.model.rules import AgeGuard, ColumnGuard, FieldGuard, Guard, RowGuard, Scalar, Test
from cleanup_pipeline.stores.postgres.instants import column_instant
from cleanup_pipeline.stores.postgres.shape import FIRST, OTHER, RECORD, Binds, Shape, column_of

EVERYTHING = sql.SQL("true")


def conditions(
    where: Mapping[str, Scalar],
    guards: Sequence[Guard],
    set_null: Sequence[str],
    shape: Shape,
    cutoff: datetime,
    binds: Binds,
) -> sql.Composable:
    """What a row has to be for the target to be about it, joined by AND."""
    terms: list[sql.Composable] = [
        sql.SQL("{} = {}").format(column_of(RECORD, name), binds.add(value)) for name, value in sorted(where.items())
    ]
    terms += [_condition(guard, shape, cutoff, binds) for guard in guards]
    if set_null:
        # What is null already is gone.
        held = [sql.SQL("{} IS NOT NULL").format(column_of(RECORD, name)) for name in set_null]
        terms.append(sql.SQL("({})").format(sql.SQL(" OR ").join(held)))
    return sql.SQL(" AND ").join(terms) if terms else EVERYTHING


def _condition(guard: Guard, shape: Shape, cutoff: datetime, binds: Binds) -> sql.Composable:
    match guard:
        case ColumnGuard(column=name, test=Test.NULL):
            return sql.SQL("{} IS NULL").format(column_of(RECORD, name))
        case ColumnGuard(column=name, test=Test.NOT_NULL):
            return sql.SQL("{} IS NOT NULL").format(column_of(RECORD, name))
        case ColumnGuard(column=name, values=values):
            each = sql.SQL(", ").join(binds.add(value) for value in values)
            return sql.SQL("{} IN ({})").format(column_of(RECORD, name), each)
        case AgeGuard(start=start, age=age):
            begins = column_instant(start, shape, binds, member=False)
            before, first = binds.add(cutoff - age), binds.add(FIRST)
            return sql.SQL("({b} < {before}::timestamptz AND {b} >= {first}::timestamptz)").format(
                b=begins, before=before, first=first
            )
        case RowGuard():
            return no_row(guard, shape, binds)
        case FieldGuard():
            raise TypeError("a guard of a field is not one of a column")


def no_row(guard: RowGuard, shape: Shape, binds: Binds) -> sql.Composable:
    """That the related table has no row for this record."""
    of = guard.of
    same = [sql.SQL("{} = {}").format(column_of(OTHER, of.key), column_of(RECORD, of.by))]
    same += [sql.SQL("{} = {}").format(column_of(OTHER, name), binds.add(value)) for name, value in guard.where]
    return sql.SQL("({by} IS NOT NULL AND NOT EXISTS (SELECT FROM {table} AS other WHERE {same}))").format(
        by=column_of(RECORD, of.by), table=shape.table(of), same=sql.SQL(" AND ").join(same)
    )
