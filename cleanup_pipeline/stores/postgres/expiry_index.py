"""The plan of a batch with and without an index on the expiry. The statement is explained, and never run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg import Error, sql

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.extensions import function_of
from cleanup_pipeline.stores.postgres.predicate import Predicate
from cleanup_pipeline.stores.postgres.relation import Relation
from cleanup_pipeline.stores.postgres.statements import identifier, statement

BIG_TABLE = 64 * 2**20
BATCH = 1_000
ENTRIES_PER_PAGE = 200
"""Of a b-tree on a timestamp or a number that is half full, roughly."""
_FIRST_BATCH = sql.SQL(
    "EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} AS record WHERE {expired} ORDER BY {expiry} LIMIT 1000"
)


def expiry_index(connection: Connection, relation: Relation, predicate: Predicate, shown: str) -> Iterator[Finding]:
    """Findings about the column that orders records by their end."""
    if not relation.ordered_by:
        return
    kind = relation.shape.columns[relation.ordered_by]
    yield Finding(Severity.INFO, f"{relation.ordered_by} is {kind}", code="pg.expiry-type")
    query = _FIRST_BATCH.format(table=relation.identifier, expired=predicate.expired, expiry=predicate.expiry)
    now = _plan(connection, query, predicate.parameters)
    if relation.index is not None:
        without = _plan(connection, query, predicate.parameters, indexes=False)
        evidence = f"for {BATCH:,} records with it: {now}; without it: {without}"
        yield Finding(Severity.INFO, f"index {relation.index} serves the expiry", "", evidence, code="pg.expiry-index")
        return
    (size,) = connection.execute("SELECT pg_table_size(%s::oid)", (relation.oid,)).fetchone() or (0,)
    column = identifier(relation.ordered_by).as_string(connection)
    definition = f"{shown} ({column})"
    evidence = f"{size / 2**20:,.1f} MiB; for {BATCH:,} records now: {now}"
    supposed = _supposed(connection, query, predicate.parameters, definition) or _guessed(connection, relation)
    yield Finding(
        Severity.WARNING if size >= BIG_TABLE else Severity.INFO,
        f"no index on {relation.ordered_by}: every pass reads the whole table once",
        f"CREATE INDEX CONCURRENTLY ON {definition}",
        f"{evidence}; with one: {supposed}",
        code="pg.no-expiry-index",
    )


def _plan(
    connection: Connection, query: sql.Composed, parameters: Mapping[str, object], *, indexes: bool = True
) -> str:
    """The steps and the cost that the planner expects."""
    with _read_only(connection):
        if not indexes:
            for name in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"):
                connection.execute("SELECT set_config(%s, 'off', true)", (name,))
        return _explained(connection, query, parameters)


def _explained(connection: Connection, query: sql.Composed, parameters: Mapping[str, object]) -> str:
    row = connection.execute(query, parameters).fetchone()
    node: Any = row[0][0]["Plan"] if row else {}
    cost, steps = float(node.get("Total Cost", 0.0)), []
    while node:
        steps.append(str(node.get("Node Type", "?")))
        node = next(iter(node.get("Plans", ())), None)
    return f"cost {cost:,.0f} ({' > '.join(steps)})"


@contextmanager
def _read_only(connection: Connection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION READ ONLY")
        yield


def _supposed(
    connection: Connection, query: sql.Composed, parameters: Mapping[str, object], definition: str
) -> str | None:
    """With an index that hypopg makes the planner believe in, in this session and in memory alone."""
    create = function_of(connection, "hypopg", "hypopg_create_index")
    reset = function_of(connection, "hypopg", "hypopg_reset")
    if create is None or reset is None:
        return None
    try:
        with _read_only(connection):
            connection.execute(sql.SQL("SELECT * FROM {}(%s)").format(create), (f"CREATE INDEX ON {definition}",))
            try:
                return f"{_explained(connection, query, parameters)}, by hypopg"
            finally:
                connection.execute(sql.SQL("SELECT {}()").format(reset))
    except Error:
        return None


def _guessed(connection: Connection, relation: Relation) -> str:
    row = connection.execute(
        statement("catalogue_cost"), {"oid": relation.oid, "column": relation.ordered_by}
    ).fetchone()
    if row is None or row[1] < 0:
        return "unknown, as the table was never analyzed"
    order, rows, pages, random_page, next_page, each = row
    ordered = BATCH * pages / max(rows, 1.0)
    blocks = order**2 * ordered * next_page + (1 - order**2) * min(BATCH, pages) * random_page
    cost = blocks + (1 + BATCH / ENTRIES_PER_PAGE) * random_page + BATCH * each
    return f"cost about {cost:,.0f}, a guess from the catalogue, as hypopg is not installed"
