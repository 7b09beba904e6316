"""The rows of a table one by one, named by their key: for plans, which show a few and follow up on many."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any

from psycopg import sql

from cleanup_pipeline.model.outline import ClientCount, Clients, Sighting, State
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import Predicate
from cleanup_pipeline.stores.postgres.relation import Relation
from cleanup_pipeline.stores.postgres.shape import RECORD, column_of
from cleanup_pipeline.stores.postgres.statements import statement

ROWS_A_FETCH = 2000
_NONE = sql.SQL("NULL::text")
_ALL = sql.SQL("true")
_ODD = {
    State.WITHOUT_EXPIRY: sql.SQL("({expired} OR {live}) IS NOT TRUE AND {without_expiry}"),
    State.UNPARSABLE: sql.SQL("({expired} OR {live} OR {without_expiry}) IS NOT TRUE"),
}


def name_of(relation: Relation) -> sql.Composable:
    """The expression that names a row. A key of several columns is written as PostgreSQL writes a row: (1,abc)."""
    columns = [column_of(RECORD, name) for name in relation.identity]
    if len(columns) == 1:
        return sql.SQL("{}::text").format(columns[0])
    return sql.SQL("ROW({})::text").format(sql.SQL(", ").join(columns))


def sparing(predicate: Predicate, relation: Relation, spared: Sequence[str]) -> Predicate:
    """The predicate, less the rows of these names."""
    if not spared:
        return predicate
    expired = sql.SQL("({} AND {} <> ALL (%(spared)s::text[]))").format(predicate.expired, name_of(relation))
    return replace(predicate, expired=expired, parameters={**predicate.parameters, "spared": list(spared)})


def all_of(
    connection: Connection, relation: Relation, target: Target, predicate: Predicate, timeout: timedelta
) -> Generator[Sighting, None, None]:
    """Every row, through a cursor of the server's. Raises BatchTimeoutError after `timeout`."""
    ends = monotonic() + timeout.total_seconds()
    with connection.transaction():
        _limit(connection, timeout)
        with connection.cursor(name="cleanup_sightings") as cursor:
            cursor.execute(_query(relation, target, predicate, _ALL, _ALL), predicate.parameters)
            while rows := cursor.fetchmany(ROWS_A_FETCH):
                yield from (_sighting(row, predicate) for row in rows)
                if monotonic() > ends:
                    raise _too_long(target)


def nearest(
    connection: Connection, relation: Relation, target: Target, predicate: Predicate, count: int, timeout: timedelta
) -> list[Sighting]:
    """The oldest and the youngest that are expired, and the live ones that die next, by index where there is one."""
    parameters: dict[str, object] = dict(predicate.parameters)
    rising = sql.SQL("ORDER BY {} LIMIT {}").format(predicate.expiry, sql.Literal(count))
    falling = sql.SQL("ORDER BY {} DESC LIMIT {}").format(predicate.expiry, sql.Literal(count))
    ends = monotonic() + timeout.total_seconds()
    found: list[Sighting] = []
    line: str | None = None
    with connection.transaction():
        for order in (rising, falling):
            query = _query(relation, target, predicate, predicate.expired, order)
            rows = _rows(connection, target, query, parameters, ends)
            line = next((row[2] for row in rows if row[2] is not None), line)
            found += [_sighting(row, predicate) for row in rows]
        beyond = predicate.live
        if line is not None:
            # Without it an index is read through all that is expired.
            beyond = sql.SQL("{} AND {} >= %(line)s::{}").format(beyond, predicate.expiry, predicate.cast)
            parameters["line"] = line
        rows = _rows(connection, target, _query(relation, target, predicate, beyond, rising), parameters, ends)
    found += [_sighting(row, predicate) for row in rows]
    return list({each.id: each for each in found}.values())


def odd(
    connection: Connection, relation: Relation, target: Target, predicate: Predicate, count: int, timeout: timedelta
) -> list[Sighting]:
    """Some without expiry, and some that cannot be read."""
    ends = monotonic() + timeout.total_seconds()
    found: list[Sighting] = []
    with connection.transaction():
        for condition in _ODD.values():
            which = condition.format(
                expired=predicate.expired, live=predicate.live, without_expiry=predicate.without_expiry
            )
            limit = sql.SQL("LIMIT {}").format(sql.Literal(count))
            query = _query(relation, target, predicate, which, limit)
            found += [_sighting(row, predicate) for row in _rows(connection, target, query, predicate.parameters, ends)]
    return found


def by_client(
    connection: Connection, relation: Relation, target: Target, predicate: Predicate, most: int, timeout: timedelta
) -> Clients:
    """Expired rows by client."""
    query = statement(
        "by_client", client=_client(relation, target), table=relation.identifier, expired=predicate.expired
    )
    ends = monotonic() + timeout.total_seconds()
    with connection.transaction():
        rows = _rows(connection, target, query, {**predicate.parameters, "most": most}, ends)
    if not rows:
        return Clients((), 0, 0)
    total, none = int(rows[0][2]), int(rows[0][3])
    top = tuple(ClientCount(row[0], int(row[1])) for row in rows if row[0] is not None)
    return Clients(top, total - none - sum(each.count for each in top), none)


def _rows(
    connection: Connection, target: Target, query: sql.Composed, parameters: Any, ends: float
) -> list[tuple[Any, ...]]:
    left = ends - monotonic()
    if left <= 0:
        raise _too_long(target)
    _limit(connection, timedelta(seconds=left))
    return connection.execute(query, parameters).fetchall()


def _limit(connection: Connection, timeout: timedelta) -> None:
    limit = f"{max(1, int(timeout.total_seconds() * 1000))}ms"
    connection.execute(
        "SELECT set_config('statement_timeout', %s, true), set_config('plan_cache_mode', 'auto', true)", (limit,)
    )


def _query(
    relation: Relation, target: Target, predicate: Predicate, condition: sql.Composable, order: sql.Composable
) -> sql.Composed:
    if not relation.identity:
        raise StoreError(
            "its rows have no key by which they could be named",
            setting=f"targets.{target.name}.table",
            remedy="add a primary key, or go by the counts",
        )
    return statement(
        "sightings",
        record_name=name_of(relation),
        expired=predicate.expired,
        live=predicate.live,
        without_expiry=predicate.without_expiry,
        expiry=predicate.expiry,
        client=_client(relation, target) if target.client else _NONE,
        table=relation.identifier,
        scope=predicate.scope,
        condition=condition,
        order=order if order is not _ALL else sql.SQL(""),
    )


def _client(relation: Relation, target: Target) -> sql.Composable:
    name = target.client or ""
    if name not in relation.shape.columns:
        raise StoreError(
            f"table {target.source_name} has no column {name}",
            setting=f"targets.{target.name}.client",
            remedy="name the column that says which client a record was made for",
        )
    return sql.SQL("{}::text").format(column_of(RECORD, name))


def _sighting(row: tuple[Any, ...], predicate: Predicate) -> Sighting:
    name, state, expiry, client = row
    known = State(state) in {State.EXPIRED, State.LIVE}
    return Sighting(name, State(state), predicate.instant_of(expiry) if known else None, client)


def _too_long(target: Target) -> BatchTimeoutError:
    return BatchTimeoutError(
        "its rows could not be read in the time that there is",
        setting=f"targets.{target.name}.census_timeout",
        remedy="raise it, or go by the counts",
    )
