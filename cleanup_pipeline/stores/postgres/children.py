"""Rows that refer to a record by a foreign key, and go before it when the target says so.

Parents are locked first: nobody can then renew one, nor insert a row that refers to it. Children and parents go in one
transaction, which is undone when it comes to more rows than a batch may have.
"""

from dataclasses import dataclass

from psycopg import sql

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.statements import identifier, statement


@dataclass(frozen=True, slots=True)
class Child:
    """One foreign key that leads, over others or not, to the table of a target."""

    oid: int
    above: int | None
    """The key that its own parent refers to the next one by; None: its parent is the table of the target."""
    depth: int
    schema: str
    table: str
    circular: bool
    partitioned: bool
    may_delete: bool
    indexed: bool
    referring: tuple[str, ...]
    referred: tuple[str, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return identifier(self.schema, self.table)

    @property
    def only(self) -> sql.SQL:
        """A foreign key is not inherited: what inherits from the table refers to nothing. Partitions do."""
        return sql.SQL("" if self.partitioned else "ONLY")


def children(connection: Connection, oid: int) -> tuple[Child, ...]:
    """Every foreign key that leads to the table, the deepest first. Those that set a column are left to the server."""
    rows = connection.execute(statement("children"), {"oid": oid}).fetchall()
    return tuple(
        Child(o, above, depth, schema, table, circle, parts, may, indexed, tuple(referring), tuple(referred))
        for o, above, depth, schema, table, circle, parts, may, indexed, referring, referred in rows
    )


def findings(found: tuple[Child, ...], target: Target, may_lock: bool) -> list[Finding]:
    """What forbids deleting the children first, or makes it slow."""
    told = []
    for child in found:
        name = f"{child.schema}.{child.table}"
        if child.circular:
            what, remedy = f"{name} refers to itself or in a circle", "clean it by a target of its own"
            told.append(Finding(Severity.ERROR, what, remedy, code="pg.child-circle"))
        if not child.may_delete:
            what = f"rows of {name} have to go first, and this login may not delete them"
            told.append(Finding(Severity.ERROR, what, f"GRANT SELECT, DELETE ON {name} to it", code="pg.child-rights"))
        if not child.indexed:
            what = f"no index on {name} ({', '.join(child.referring)}): each batch reads the whole of it"
            told.append(
                Finding(Severity.WARNING, what, "create one, with CREATE INDEX CONCURRENTLY", code="pg.child-index")
            )
    if found and not may_lock:
        what = "children go first only where the login may lock their parents"
        told.append(Finding(Severity.ERROR, what, f"GRANT UPDATE ON {target.source_name} to it", code="pg.child-lock"))
    return told


def deletions(found: tuple[Child, ...], table: sql.Identifier) -> list[sql.Composed]:
    """The statements that delete all children of the doomed rows of `table`, in their order."""
    return _of_children("delete_children", found, table)


def counts(found: tuple[Child, ...], table: sql.Identifier) -> list[sql.Composed]:
    """The statements that count what those would delete, each up to the parameter `most`."""
    return _of_children("count_children", found, table)


def _of_children(name: str, found: tuple[Child, ...], table: sql.Identifier) -> list[sql.Composed]:
    by_oid = {child.oid: child for child in found}
    return [
        statement(
            name,
            only=child.only,
            table=child.identifier,
            referring=_columns(child.referring),
            keys=keys_of(child, by_oid, table),
        )
        for child in found
    ]


def keys_of(child: Child, by_oid: dict[int, Child], table: sql.Identifier) -> sql.Composed:
    """The keys of the doomed rows, or of their children, that this child refers to."""
    if child.above is None:
        return statement("keys_of_doomed", columns=_columns(child.referred), table=table)
    parent = by_oid[child.above]
    return statement(
        "keys_of_children",
        columns=_columns(child.referred),
        only=parent.only,
        table=parent.identifier,
        referring=_columns(parent.referring),
        keys=keys_of(parent, by_oid, table),
    )


def _columns(names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(identifier(name) for name in names)
