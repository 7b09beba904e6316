"""What a target's table is: found in the catalog, with what forbids or hinders cleaning it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from psycopg import sql

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.rules import (
    SESSION_ZONE,
    ColumnGuard,
    JsonEntriesExpiry,
    LifetimeColumn,
    RowGuard,
    TableExpiry,
)
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import SourceMissingError, StoreError
from cleanup_pipeline.stores.postgres import entries
from cleanup_pipeline.stores.postgres.children import Child, children
from cleanup_pipeline.stores.postgres.children import findings as child_findings
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import (
    READABLE_WITH_UNIT,
    column_alone,
    columns_in,
    lifetimes_in,
    problem_with,
)
from cleanup_pipeline.stores.postgres.related import findings as related_findings
from cleanup_pipeline.stores.postgres.related import look_up, require_columns
from cleanup_pipeline.stores.postgres.rights import own_columns
from cleanup_pipeline.stores.postgres.shape import TEXTS, Shape
from cleanup_pipeline.stores.postgres.statements import identifier as quoted_identifier
from cleanup_pipeline.stores.postgres.statements import statement
from cleanup_pipeline.stores.postgres.zone import SessionZone

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence"}
OLDEST_VERSION = 140_000
"""TID range scans came with PostgreSQL 14."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One piece of storage: the table itself, or a partition that has no partitions."""

    oid: int
    schema: str
    name: str
    rows: int
    blocks: int

    @property
    def identifier(self) -> sql.Identifier:
        return quoted_identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table that may be cleaned, as the catalog describes it."""

    oid: int
    schema: str
    name: str
    shape: Shape
    ordered_by: str | None
    """The column that orders records by their death; None when that takes an expression."""
    may_lock: bool
    """The role may SELECT ... FOR UPDATE, which takes the UPDATE right on some column."""
    index: str | None
    """A b-tree index that leads with that column."""
    findings: tuple[Finding, ...]
    deferred: bool = False
    """A foreign key that leads here is checked at the end of a transaction."""
    children: tuple[Child, ...] = ()
    """What is deleted before its rows; empty where the target does not ask for it."""
    identity: tuple[str, ...] = ()
    """The columns whose values name a row; empty where nothing does."""

    @property
    def identifier(self) -> sql.Identifier:
        return quoted_identifier(self.schema, self.name)


def source_of(target: Target) -> tuple[TableSource, TableExpiry]:
    """The parts of the target that this store needs. Raises TypeError for a target of another store type."""
    if not isinstance(target.source, TableSource) or not isinstance(target.expiry, TableExpiry):
        raise TypeError(f"target {target.name} is not a table with a rule for tables")
    if target.members is not None:
        raise TypeError(f"target {target.name} stands for many: each of its members is a target of its own here")
    return target.source, target.expiry


def stays(target: Target) -> bool:
    """Whether rows stay, and lose columns or entries of one."""
    return bool(target.set_null) or isinstance(target.expiry, JsonEntriesExpiry)


def inspect(connection: Connection, target: Target, zone: Callable[[Target], SessionZone]) -> Relation:
    """Look the table up and judge it. `zone` is asked only where a naive column is read in the sessions' zone.

    Raises SourceMissingError, or StoreError for what no finding can mend.
    """
    source, expiry = source_of(target)
    place = f"targets.{target.name}"
    written = ".".join(_quoted(part) for part in (source.schema, source.table) if part)
    row = connection.execute(statement("relation"), {"name": written}).fetchone()
    if row is None:
        raise SourceMissingError(
            f"table {target.source_name} does not exist",
            setting=f"{place}.table",
            remedy=_nearest(target.source_name, _tables(connection)) or "correct the name or create the table",
        )
    oid, schema, name, kind, standby, select, delete, lock, secured, user, version, parent, names_rows = row
    if version < OLDEST_VERSION:
        raise StoreError(
            f"the server is PostgreSQL {version // 10_000}",
            setting=f"stores.{target.store}.url",
            remedy="use PostgreSQL 14 or newer",
        )
    if kind not in {"r", "p"}:
        raise StoreError(
            f"{target.source_name} is {_KINDS.get(kind, 'not a table')}",
            setting=f"{place}.table",
            remedy="name the table that holds the records",
        )
    described = connection.execute(statement("columns"), {"oid": oid}).fetchall()
    columns: dict[str, str] = {name: kind for name, kind, _ in described}
    hidden = frozenset(name for name, _, readable in described if not readable)
    _require_columns(target, source, columns)
    others = look_up(connection, target, schema, columns)
    asked = any(column.zone == SESSION_ZONE for column in columns_in(expiry, target.guards))
    session = zone(target) if asked else None
    shape = Shape(schema, columns, others, session.name if session else None, hidden)
    require_columns(target, shape)
    _require_types(target, expiry, shape)
    unread = (hidden & own_columns(target)) | (frozenset() if names_rows else {"ctid"})
    missing = _missing_rights(target, select, delete, lock, sorted(unread))
    if missing:
        raise StoreError(
            f"user {user} lacks {' and '.join(missing)} on {target.source_name}",
            setting=f"{place}.table",
            remedy=f"GRANT SELECT, UPDATE{'' if stays(target) else ', DELETE'} ON {target.source_name} TO {user}",
        )
    _require_rights_on_leaves(connection, target, oid, user)
    if kind == "r" and parent:
        raise StoreError(
            f"other tables inherit from {target.source_name}",
            setting=f"{place}.table",
            remedy="name each of them as a target of its own, or use declarative partitions",
        )
    alone = column_alone(expiry)
    ordered_by = alone[0].column if alone else None
    found = connection.execute(statement("expiry_index"), {"oid": oid, "column": ordered_by or ""}).fetchone()
    # Text is read through an expression, which an index on the column cannot order.
    index = found[0] if found and columns[ordered_by or ""] not in TEXTS else None
    below = children(connection, oid) if target.children_first else ()
    incoming = connection.execute(statement("incoming_foreign_keys"), {"oid": oid}).fetchall()
    identity = connection.execute(statement("identity"), {"oid": oid}).fetchone()
    findings = [
        *_standing(standby, secured, kind == "p", lock, user),
        *_about_zone(session),
        *related_findings(connection, target, shape),
        *(child_findings(below, target, lock) if target.children_first else _references(incoming, target)),
        *_advice(target, index, ordered_by),
    ]
    return Relation(
        oid=oid,
        schema=schema,
        name=name,
        shape=shape,
        ordered_by=ordered_by,
        may_lock=lock,
        index=index,
        findings=tuple(findings),
        deferred=any(row[2] for row in incoming),
        children=below,
        identity=tuple(identity[0]) if identity else (),
    )


def _require_columns(target: Target, source: TableSource, columns: dict[str, str]) -> None:
    place = f"targets.{target.name}"
    absent = [c for c in source.required_columns if c not in columns]
    if absent:
        raise SourceMissingError(
            f"table {target.source_name} is not that of layout {target.layout}: it has no column {', '.join(absent)}",
            setting=f"{place}.layout",
            remedy="name another layout, or describe the table with `table` and `expires`",
        )
    guarded = [guard.column for guard in target.guards if isinstance(guard, ColumnGuard)]
    own = [column.column for column in columns_in(target.expiry) if column.of is None]  # type: ignore[arg-type]
    own += [target.expiry.column] if isinstance(target.expiry, JsonEntriesExpiry) else []
    for name, setting in [
        *((c, "expires.column") for c in own),
        *((c, f"where.{c}") for c in target.where),
        *((c, "guards") for c in guarded),
        *((c, "set_null") for c in target.set_null),
    ]:
        if name not in columns:
            raise StoreError(
                f"table {target.source_name} has no column {name}",
                setting=f"{place}.{setting}",
                remedy=_nearest(name, list(columns)) or f"its columns are {', '.join(columns)}",
            )


def _require_types(target: Target, rule: TableExpiry, shape: Shape) -> None:
    for column in columns_in(rule, target.guards):
        problem = problem_with(shape.columns_of(column.of)[column.column], column)
        if problem:
            raise StoreError(problem[0], setting=f"targets.{target.name}.expires", remedy=problem[1])
    if isinstance(rule, JsonEntriesExpiry):
        problem = entries.problem_with(shape.columns[rule.column], rule)
        if problem:
            raise StoreError(problem[0], setting=f"targets.{target.name}.expires", remedy=problem[1])
    for lifetime in lifetimes_in(rule):
        kind = shape.columns_of(lifetime.of if isinstance(lifetime, LifetimeColumn) else None)[lifetime.column]
        if isinstance(lifetime, LifetimeColumn) and kind not in READABLE_WITH_UNIT:
            what = f"column {lifetime.column} is {kind}, not a number of seconds"
            raise StoreError(what, setting=f"targets.{target.name}.expires", remedy="name a column of numbers")


def _missing_rights(target: Target, select: bool, delete: bool, update: bool, hidden: list[str]) -> list[str]:
    reads = f"SELECT ({', '.join(hidden)})" if select and hidden else "SELECT"
    wanted = [(reads, select and not hidden), ("UPDATE", update) if stays(target) else ("DELETE", delete)]
    return [right for right, has in wanted if not has]


def _about_zone(session: SessionZone | None) -> list[Finding]:
    if session is None:
        return []
    what = f"naive times are read in {session.name}, the zone of the database's sessions ({session.source})"
    return [
        Finding(
            Severity.INFO,
            what,
            "where the application's own sessions have another one, write it in `zone`",
            code="pg.zone",
        )
    ]


def _require_rights_on_leaves(connection: Connection, target: Target, oid: int, user: str) -> None:
    # Batches go to each partition by its own name, where the rights of the parent do not count.
    row = connection.execute(statement("leaves_without_rights"), {"oid": oid, "stays": stays(target)}).fetchone()
    if row is not None:
        removes, rights = ("UPDATE", "SELECT, UPDATE") if stays(target) else ("DELETE", "SELECT, UPDATE, DELETE")
        raise StoreError(
            f"user {user} lacks SELECT or {removes} on {row[0]}, a partition of {target.source_name}",
            setting=f"targets.{target.name}.table",
            remedy=f"GRANT {rights} ON {row[0]} TO {user}, and on the other partitions",
        )


def _standing(standby: bool, secured: bool, partitioned: bool, lock: bool, user: str) -> list[Finding]:
    findings = []
    if standby:
        findings.append(
            Finding(
                Severity.ERROR,
                "the server is a standby and read-only",
                "point the store at the primary",
                code="pg.standby",
            )
        )
    if secured and partitioned:
        # The policies of a partitioned table do not apply to a partition that is named itself, as batches do.
        findings.append(
            Finding(
                Severity.ERROR,
                f"row security applies to {user} on a partitioned table, and batches would go round its policies",
                f"ALTER ROLE {user} BYPASSRLS, or use the table's owner",
                code="pg.rls-partitions",
            )
        )
    elif secured:
        findings.append(
            Finding(
                Severity.WARNING,
                f"row security applies to {user}: rows that its policies hide are neither counted nor removed",
                f"ALTER ROLE {user} BYPASSRLS, or use the table's owner",
                code="pg.rls",
            )
        )
    if not lock:
        findings.append(
            Finding(
                Severity.INFO,
                f"{user} may not lock rows, so a batch waits for rows that a login holds instead of stepping over them",
                "GRANT UPDATE on the table (it is only used to lock)",
                code="pg.no-lock",
            )
        )
    return findings


def _references(incoming: Sequence[tuple[Any, ...]], target: Target) -> list[Finding]:
    findings = []
    seen_to = {(related.table, related.key) for related in target.detach}
    seen_to |= {(guard.of.table, guard.of.key) for guard in target.guards if isinstance(guard, RowGuard)}
    for table, action, _, name, columns in incoming:
        # What a guard or a change of the referring column has seen to is no surprise.
        stays = target.set_null or isinstance(target.expiry, JsonEntriesExpiry)
        if stays or (len(columns) == 1 and (name, columns[0]) in seen_to):
            continue
        if action == "c":
            # How many rows hang on one is in no plan, and they would all go in the batch's own transaction.
            severity = Severity.WARNING if target.cascade else Severity.ERROR
            what = f"deleting here also deletes rows of {table} (ON DELETE CASCADE), which no batch size bounds"
            remedy = f"set targets.{target.name}.children: delete_first, or cascade: allow"
        elif action in {"a", "r"}:
            severity = Severity.WARNING
            what, remedy = (
                f"rows of {table} may refer to expired rows and keep them",
                "clean it first, or set children: delete_first",
            )
        else:
            continue
        findings.append(Finding(severity, what, remedy, code="pg.referenced"))
    return findings


def _advice(target: Target, index: str | None, column: str | None) -> list[Finding]:
    if index:
        return []
    if column is None:
        what = "when a record dies takes more than one column, so no index can serve: every pass reads the table once"
        return [Finding(Severity.INFO, what, code="pg.computed-expiry")]
    return [
        Finding(
            Severity.INFO,
            f"no index on {column}: every pass reads the whole table once",
            f"CREATE INDEX CONCURRENTLY ON {target.source_name} ({_quoted(column)})",
            code="pg.no-expiry-index",
        )
    ]


def _tables(connection: Connection) -> list[str]:
    return [row[0] for row in connection.execute(statement("similar_tables"), {})]


def _nearest(name: str, names: list[str]) -> str | None:
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def leaves(connection: Connection, oid: int) -> tuple[Leaf, ...]:
    """The pieces of storage of a table, in the order of their oid: itself, or its partitions."""
    return tuple(Leaf(*row) for row in connection.execute(statement("leaves"), {"oid": oid}))
