"""What a target's table is: found in the catalog, with what forbids or hinders cleaning it."""

from dataclasses import dataclass
from difflib import get_close_matches

from psycopg import sql

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import SourceMissingError, StoreError
from cleanup_pipeline.stores.postgres.children import Child, children
from cleanup_pipeline.stores.postgres.children import findings as child_findings
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import TEXTS, problem_with
from cleanup_pipeline.stores.postgres.statements import identifier as quoted_identifier
from cleanup_pipeline.stores.postgres.statements import statement

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
    expiry_type: str
    may_lock: bool
    """The role may SELECT ... FOR UPDATE, which takes the UPDATE right on some column."""
    index: str | None
    """A b-tree index that leads with the expiry column."""
    findings: tuple[Finding, ...]
    children: tuple[Child, ...] = ()
    """What is deleted before its rows; empty where the target does not ask for it."""

    @property
    def identifier(self) -> sql.Identifier:
        return quoted_identifier(self.schema, self.name)


def source_of(target: Target) -> tuple[TableSource, ColumnExpiry]:
    """The parts of the target that this store needs. Raises TypeError for a target of another store type."""
    if not isinstance(target.source, TableSource) or not isinstance(target.expiry, ColumnExpiry):
        raise TypeError(f"target {target.name} is not a table with an expiry column")
    return target.source, target.expiry


def inspect(connection: Connection, target: Target) -> Relation:
    """Look the table up and judge it. Raises SourceMissingError, or StoreError for what no finding can mend."""
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
    oid, schema, name, kind, standby, select, delete, lock, secured, user, version, parent = row
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
    columns: dict[str, str] = dict(connection.execute(statement("columns"), {"oid": oid}).fetchall())
    _require_columns(target, source, expiry, columns)
    missing = [right for right, has in (("SELECT", select), ("DELETE", delete)) if not has]
    if missing:
        raise StoreError(
            f"user {user} lacks {' and '.join(missing)} on {target.source_name}",
            setting=f"{place}.table",
            remedy=f"GRANT SELECT, UPDATE, DELETE ON {target.source_name} TO {user}",
        )
    _require_rights_on_leaves(connection, target, oid, user)
    if kind == "r" and parent:
        raise StoreError(
            f"other tables inherit from {target.source_name}",
            setting=f"{place}.table",
            remedy="name each of them as a target of its own, or use declarative partitions",
        )
    found = connection.execute(statement("expiry_index"), {"oid": oid, "column": expiry.column}).fetchone()
    # Text is read through an expression, which an index on the column cannot order.
    index = found[0] if found and columns[expiry.column] not in TEXTS else None
    below = children(connection, oid) if target.children_first else ()
    findings = [
        *_standing(standby, secured, kind == "p", lock, user),
        *(child_findings(below, target, lock) if target.children_first else _references(connection, oid, target)),
        *_advice(target, index, expiry),
    ]
    return Relation(oid, schema, name, columns[expiry.column], lock, index, tuple(findings), below)


def _require_columns(target: Target, source: TableSource, expiry: ColumnExpiry, columns: dict[str, str]) -> None:
    place = f"targets.{target.name}"
    absent = [c for c in source.required_columns if c not in columns]
    if absent:
        raise SourceMissingError(
            f"table {target.source_name} is not that of layout {target.layout}: it has no column {', '.join(absent)}",
            setting=f"{place}.layout",
            remedy="name another layout, or describe the table with `table` and `expires`",
        )
    for name, setting in [(expiry.column, "expires.column"), *((c, f"where.{c}") for c in target.where)]:
        if name not in columns:
            raise StoreError(
                f"table {target.source_name} has no column {name}",
                setting=f"{place}.{setting}",
                remedy=_nearest(name, list(columns)) or f"its columns are {', '.join(columns)}",
            )
    problem = problem_with(columns[expiry.column], expiry)
    if problem:
        raise StoreError(problem[0], setting=f"{place}.expires", remedy=problem[1])


def _require_rights_on_leaves(connection: Connection, target: Target, oid: int, user: str) -> None:
    # Batches go to each partition by its own name, where the rights of the parent do not count.
    row = connection.execute(statement("leaves_without_rights"), {"oid": oid}).fetchone()
    if row is not None:
        raise StoreError(
            f"user {user} lacks SELECT or DELETE on {row[0]}, a partition of {target.source_name}",
            setting=f"targets.{target.name}.table",
            remedy=f"GRANT SELECT, UPDATE, DELETE ON {row[0]} TO {user}, and on the other partitions",
        )


def _standing(standby: bool, secured: bool, partitioned: bool, lock: bool, user: str) -> list[Finding]:
    findings = []
    if standby:
        findings.append(
            Finding(Severity.ERROR, "the server is a standby and read-only", "point the store at the primary")
        )
    if secured and partitioned:
        # The policies of a partitioned table do not apply to a partition that is named itself, as batches do.
        findings.append(
            Finding(
                Severity.ERROR,
                f"row security applies to {user} on a partitioned table, and batches would go round its policies",
                f"ALTER ROLE {user} BYPASSRLS, or use the table's owner",
            )
        )
    elif secured:
        findings.append(
            Finding(
                Severity.WARNING,
                f"row security applies to {user}: rows that its policies hide are neither counted nor removed",
                f"ALTER ROLE {user} BYPASSRLS, or use the table's owner",
            )
        )
    if not lock:
        findings.append(
            Finding(
                Severity.INFO,
                f"{user} may not lock rows, so a batch waits for rows that a login holds instead of stepping over them",
                "GRANT UPDATE on the table (it is only used to lock)",
            )
        )
    return findings


def _references(connection: Connection, oid: int, target: Target) -> list[Finding]:
    findings = []
    for table, action in connection.execute(statement("incoming_foreign_keys"), {"oid": oid}):
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
        findings.append(Finding(severity, what, remedy))
    return findings


def _advice(target: Target, index: str | None, expiry: ColumnExpiry) -> list[Finding]:
    if index:
        return []
    return [
        Finding(
            Severity.INFO,
            f"no index on {expiry.column}: every pass reads the whole table once",
            f"CREATE INDEX CONCURRENTLY ON {target.source_name} ({_quoted(expiry.column)})",
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
