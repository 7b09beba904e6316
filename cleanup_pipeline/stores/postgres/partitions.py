"""Partitions that have expired as a whole: found by their bounds, detached, looked at once more, dropped.

Only where the user asks for it. Concurrently, a partition is detached without a lock that logins would wait for
(PostgreSQL 14; documentation of ALTER TABLE); it is marked first, so that a pass that died in between is carried on by
the next one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import errors, sql

from cleanup_pipeline.model.outcome import BatchOutcome
from cleanup_pipeline.model.target import ColumnExpiry
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import Predicate, instant_of
from cleanup_pipeline.stores.postgres.relation import Leaf, Relation
from cleanup_pipeline.stores.postgres.shape import FIRST
from cleanup_pipeline.stores.postgres.statements import NONE, as_it_is, identifier, statement

_BOUND = re.compile(r"FOR VALUES FROM \('?(?P<low>[^',)]+)'?\) TO \('?(?P<high>[^',)]+)'?\)")
"""What pg_get_expr() makes of the bounds of a range over one column: MINVALUE, MAXVALUE, a number or a quoted text."""


@dataclass(frozen=True, slots=True)
class Droppable:
    """A leaf that lies wholly before the cutoff."""

    leaf: Leaf
    parent: sql.Identifier | None
    """None: it was detached already, by a pass that did not get to dropping it."""
    bounds: str
    """As SQL, the way the server writes them; empty without a parent."""
    pending: bool
    """A concurrent detach of it was interrupted."""


def find(
    connection: Connection, relation: Relation, expiry: ColumnExpiry, leaves: Sequence[Leaf], cutoff: datetime
) -> list[Droppable]:
    """The leaves that may be dropped, by their bounds alone, and those that an interrupted pass left detached."""
    known = {leaf.oid: leaf for leaf in leaves}
    found = []
    rows = connection.execute(statement("range_partitions"), {"oid": relation.oid, "column": expiry.column}).fetchall()
    for oid, schema, name, bounds, pending in rows:
        ends = _BOUND.fullmatch(bounds)
        if ends is None or oid not in known:
            continue
        low, high = (instant_of(ends[side], expiry.unit, expiry.zone) for side in ("low", "high"))
        # Below the first plausible instant lies what never expires: such a partition is swept, not dropped.
        if low is not None and high is not None and low >= FIRST and high <= cutoff:
            found.append(Droppable(known[oid], identifier(schema, name), bounds, pending))
    hidden = connection.execute(statement("hidden_rows"), {"oids": [relation.oid, *known]}).fetchone()
    if hidden is None or hidden[0]:
        return []
    orphans = connection.execute(statement("half_dropped"), {"mark": _mark(relation)}).fetchall()
    found += [Droppable(Leaf(*row), None, "", pending=False) for row in orphans]
    return sorted(found, key=lambda item: item.leaf.oid)


def drop(connection: Connection, relation: Relation, item: Droppable, predicate: Predicate) -> BatchOutcome | None:
    """Detach and drop one leaf; None when something in it has to stay, and then it is as it was.

    Raises StoreError for a leaf that has to stay but is detached since an earlier pass, and psycopg's errors.
    """
    table = item.leaf.identifier
    # Before it is out of sight of the application: guards of the target may keep some of its rows.
    if not _all_expired(connection, item.leaf, predicate)[1]:
        if item.parent is None:
            raise StoreError(
                f"{item.leaf.name}, which an earlier pass detached to drop it, holds rows that have not expired",
                setting="drop_partitions",
                remedy="attach it again; its comment says where",
            )
        return None
    comment = _comment(connection, item.leaf)
    if item.parent is not None:
        try:
            _detach(connection, relation, item.parent, item)
        except errors.IntegrityError:
            # Rows of other tables refer to some of it: those that nothing refers to are swept.
            _set_comment(connection, table, comment)
            return None
        except errors.Error:
            _set_comment(connection, table, comment)
            raise
    try:
        with connection.transaction():
            connection.execute(statement("lock", table=table), NONE)
            rows, expired = _all_expired(connection, item.leaf, predicate)
            if expired:
                connection.execute(statement("drop", table=table), NONE)
                return BatchOutcome(scanned=rows, deleted=rows, cursor=None, largest=rows)
    except errors.DependentObjectsStillExist:
        _put_back(connection, item, comment)
        raise
    _put_back(connection, item, comment)
    return None


def _put_back(connection: Connection, item: Droppable, comment: str | None) -> None:
    if item.parent is None:
        return
    bounds = sql.SQL(as_it_is(item.bounds))  # as the server itself wrote it
    connection.execute(statement("attach", parent=item.parent, table=item.leaf.identifier, bounds=bounds), NONE)
    _set_comment(connection, item.leaf.identifier, comment)


def _comment(connection: Connection, leaf: Leaf) -> str | None:
    row = connection.execute("SELECT obj_description(%s::oid, 'pg_class')", (leaf.oid,)).fetchone()
    return row[0] if row else None


def _set_comment(connection: Connection, table: sql.Identifier, comment: str | None) -> None:
    mark = sql.Literal(None if comment is None else as_it_is(comment))
    connection.execute(statement("mark", table=table, mark=mark), NONE)


def _all_expired(connection: Connection, leaf: Leaf, predicate: Predicate) -> tuple[int, bool]:
    query = statement("all_expired", table=leaf.identifier, expired=predicate.expired)
    row = connection.execute(query, predicate.parameters).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    return row[0], row[0] == row[1]


def _detach(connection: Connection, relation: Relation, parent: sql.Identifier, item: Droppable) -> None:
    parts = {"parent": parent, "table": item.leaf.identifier}
    _set_comment(connection, item.leaf.identifier, f"{_mark(relation)} {item.bounds}")
    if item.pending:
        connection.execute(statement("detach_finalize", **parts), NONE)
        return
    try:
        connection.execute(statement("detach_concurrently", **parts), NONE)
    except (errors.ObjectNotInPrerequisiteState, errors.FeatureNotSupported):
        # Not where there is a default partition.
        connection.execute(statement("detach", **parts), NONE)


def _mark(relation: Relation) -> str:
    return f"cleanup-pipeline: expired partition of {relation.schema}.{relation.name}, detached to be dropped"
