"""A framework's table with a few thousand rows in it, so that PostgreSQL's planner has something to go by."""

from typing import Any

import psycopg
from psycopg import sql

from cleanup_pipeline.model.rules import ColumnGuard, Test
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.stores.postgres.predicate import column_alone
from cleanup_pipeline.stores.postgres.relation import Relation

Db = psycopg.Connection[Any]
ROWS = 4000
EXPIRED = ROWS // 10

_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, NULL), nullif(a.atttypmod, -1) - 4,
           a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
           EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND a.attnum = ANY (i.indkey))
               AND NOT a.atthasdef AND a.attidentity = ''
    FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_OTHERS = {
    "integer": "i",
    "bigint": "i",
    "numeric": "i",
    "uuid": "gen_random_uuid()",
    "boolean": "false",
    "bytea": "''::bytea",
    "json": "'{}'",
    "jsonb": "'{}'",
    "timestamp with time zone": "now()",
    "timestamp without time zone": "now()",
    "double precision": "0",
}


def fill(db: Db, target: Target, relation: Relation) -> None:
    """Rows of which a tenth has expired, a minute between any two; the statistics of the table as they are then."""
    assert isinstance(target.source, TableSource)
    alone = column_alone(target.expiry)  # type: ignore[arg-type]
    assert alone
    column, lifetime = alone
    wanted: dict[str, Any] = dict(target.where)
    for guard in target.guards:
        if isinstance(guard, ColumnGuard) and guard.test is Test.IN:
            wanted[guard.column] = guard.values[0]
    names, values = [], []
    for name, kind, longest, required, unique in db.execute(_COLUMNS, (relation.oid,)).fetchall():
        if name == column.column:
            before = f"interval '{(lifetime + target.grace).total_seconds():.0f} s'"
            instant = f"(now() - {before} + (i - {EXPIRED}) * interval '1 min')"
            value = _written(instant, kind, column.zone, None if column.unit is None else column.unit.per_second)
        elif name in wanted:
            value = sql.Literal(wanted[name]).as_string()
        elif required or unique:
            value = _OTHERS.get(kind, f"left('k' || i, {longest or 99})")
        else:
            continue
        names.append(sql.Identifier(name))
        values.append(sql.SQL(value))  # type: ignore[arg-type]
    db.execute("SET session_replication_role = replica")  # without the rows of other tables
    query = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {}) i")
    table = relation.identifier
    db.execute(query.format(table, sql.SQL(", ").join(names), sql.SQL(", ").join(values), sql.Literal(ROWS)))
    db.execute(sql.SQL("ANALYZE {}").format(table))


def _written(instant: str, kind: str, zone: str | None, per_second: int | None) -> str:
    if per_second is not None:
        return f"(extract(epoch FROM {instant})::bigint * {per_second})"
    if kind == "timestamp without time zone":
        return f"({instant} AT TIME ZONE {'current_setting($$TimeZone$$)' if zone == 'session' else f'$${zone}$$'})"
    return instant
