"""Rows that cannot be removed, kept out of the batches that follow. Their ctids travel in the cursor.

A parked row that is updated gets another ctid and is tried once more. A ctid says nothing outside its own partition,
so the cursor drops them at the next one. The engine bounds how many there can be.
"""

from dataclasses import replace

from psycopg import sql

from cleanup_pipeline.model.outcome import Cursor
from cleanup_pipeline.model.plan import Shard
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import Predicate
from cleanup_pipeline.stores.postgres.relation import Leaf
from cleanup_pipeline.stores.postgres.statements import statement

PARKED = "parked"


def without_parked(predicate: Predicate, cursor: Cursor | None) -> Predicate:
    """The predicate, less the rows that the cursor names as parked."""
    parked = _ctids(cursor)
    if not parked:
        return predicate
    expired = sql.SQL("({} AND ctid <> ALL (%(parked)s::tid[]))").format(predicate.expired)
    return replace(predicate, expired=expired, parameters={**predicate.parameters, PARKED: parked})


def carried(onward: Cursor | None, cursor: Cursor | None) -> Cursor | None:
    """The next cursor, which still knows the parked rows of the same partition."""
    if onward is None or cursor is None or PARKED not in cursor or onward.get("oid") != cursor.get("oid"):
        return onward
    return {**onward, PARKED: cursor[PARKED]}


def park_next(
    connection: Connection,
    leaf: Leaf,
    predicate: Predicate,
    locking: sql.SQL,
    walk: bool,
    shard: Shard,
    cursor: Cursor,
) -> Cursor:
    """The cursor with the first expired row that a batch would take there parked; unchanged when there is none."""
    parameters = dict(predicate.parameters)
    after: sql.Composable = sql.SQL("true")
    order: sql.Composable = sql.SQL("")
    if walk:
        order = sql.SQL("ORDER BY {}").format(predicate.expiry)
        begin = cursor.get("after", shard.bounds.get("expiry_from"))
        if begin is not None:
            after = sql.SQL("{} >= %(after)s::{}").format(predicate.expiry, predicate.cast)
            parameters["after"] = begin
    else:
        block = cursor.get("block", shard.bounds.get("block_from")) or 0
        after = sql.SQL("ctid >= %(first)s::tid")
        order = sql.SQL("ORDER BY ctid" if predicate.joins else "")
        parameters["first"] = f"({block},{cursor.get('offset') or 0})"
    query = statement(
        "first_expired",
        table=leaf.identifier,
        expired=predicate.expired,
        after=after,
        order=order,
        locking=locking,
    )
    row = connection.execute(query, parameters).fetchone()
    return cursor if row is None else {**cursor, PARKED: " ".join([*_ctids(cursor), row[0]])}


def _ctids(cursor: Cursor | None) -> list[str]:
    return str((cursor or {}).get(PARKED) or "").split()
