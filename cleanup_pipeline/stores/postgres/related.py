"""The other tables that a rule looks at: looked up, and judged, before the first batch.

What hides rows of them is an error, not a warning: a session whose refresh token cannot be seen looks like one that
has none.
"""

from collections.abc import Mapping

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.rules import LifetimeColumn, Related, RowGuard
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import SourceMissingError, StoreError
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.predicate import columns_in, lifetimes_in, related_in
from cleanup_pipeline.stores.postgres.rights import read_from
from cleanup_pipeline.stores.postgres.shape import Shape
from cleanup_pipeline.stores.postgres.statements import NONE, statement

Tables = Mapping[tuple[str, str], Mapping[str, str]]


def look_up(connection: Connection, target: Target, schema: str, own: Mapping[str, str]) -> Tables:
    """The columns of every other table that the target's rule, guards and actions name, by schema and table.

    Raises StoreError where one is not there, may not be read, or hides rows from the login.
    """
    shape = Shape(schema, own)
    read = related_in(target.expiry, target.guards)  # type: ignore[arg-type]
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for related in [*read, *target.detach]:
        key = shape.key(related)
        if key not in found:
            found[key] = _columns(connection, target, key, schema, writes=related in target.detach)
        for table, name, columns in ((related.name, related.key, found[key]), ("the record", related.by, own)):
            if name not in columns:
                raise _fault(target, f"{table} has no column {name}, by which both belong together")
    return found


def _columns(
    connection: Connection, target: Target, key: tuple[str, str], own: str, *, writes: bool
) -> Mapping[str, str]:
    row = connection.execute(statement("related_table"), {"name": _written(key)}).fetchone()
    written = ".".join(key)
    if row is None:
        raise SourceMissingError(
            f"table {written}, which decides what may go from {target.source_name}, does not exist",
            setting=f"targets.{target.name}",
            remedy="correct its name in `params` or `guards`",
        )
    oid, kind, may_read, may_write, secured = row
    if kind not in {"r", "p"}:
        raise _fault(target, f"{written} is not a table")
    if not may_read or (writes and not may_write):
        right = "SELECT, UPDATE" if writes else "SELECT"
        raise _fault(target, f"the login lacks {right} on {written}", f"GRANT {right} ON {written} to it")
    if secured:
        remedy = "ALTER ROLE ... BYPASSRLS, or use the table's owner"
        raise _fault(target, f"row security may hide rows of {written} that keep records alive", remedy)
    columns = connection.execute(statement("columns"), {"oid": oid}).fetchall()
    hidden = {name for name, _, readable in columns if not readable} & read_from(target, key, own)
    if hidden:
        right = f"SELECT ({', '.join(sorted(hidden))})"
        raise _fault(target, f"the login lacks {right} on {written}", f"GRANT {right} ON {written} to it")
    return {name: kind for name, kind, _ in columns}


def require_columns(target: Target, shape: Shape) -> None:
    """Refuse a rule that reads what is not there. Raises StoreError."""
    rule = target.expiry
    wanted: list[tuple[Related | None, str]] = []
    wanted += [(column.of, column.column) for column in columns_in(rule, target.guards)]  # type: ignore[arg-type]
    for lifetime in lifetimes_in(rule):  # type: ignore[arg-type]
        wanted.append((lifetime.of if isinstance(lifetime, LifetimeColumn) else None, lifetime.column))
    wanted += [(guard.of, name) for guard in target.guards if isinstance(guard, RowGuard) for name, _ in guard.where]
    for of, name in wanted:
        if name not in shape.columns_of(of):
            raise _fault(target, f"table {of.name if of else target.source_name} has no column {name}")


def findings(connection: Connection, target: Target, shape: Shape) -> list[Finding]:
    """An empty table that all records point to means that what they point to is kept elsewhere; one without an index on
    what belongs together is read as a whole, again and again."""
    told = [
        Finding(
            Severity.WARNING,
            f"no index on {related.name} ({related.key}): each batch may read the whole of it",
            "create one, with CREATE INDEX CONCURRENTLY",
            code="pg.related-index",
        )
        for related in dict.fromkeys([*related_in(target.expiry, target.guards), *target.detach])  # type: ignore[arg-type]
        if not _indexed(connection, shape, related)
    ]
    for guard in target.guards:
        if not isinstance(guard, RowGuard) or not guard.gone:
            continue
        row = connection.execute(statement("any_row", table=shape.table(guard.of)), NONE).fetchone()
        if row is None or not row[0]:
            what = f"{guard.of.name} is empty, so every record would look as if what it points to were gone"
            told.append(
                Finding(
                    Severity.ERROR, what, "where it is kept elsewhere, leave this target out", code="pg.related-empty"
                )
            )
    return told


def _indexed(connection: Connection, shape: Shape, related: Related) -> bool:
    row = connection.execute(statement("related_table"), {"name": _written(shape.key(related))}).fetchone()
    asked = {"oid": row[0] if row else None, "column": related.key}
    return connection.execute(statement("expiry_index"), asked).fetchone() is not None


def _written(key: tuple[str, str]) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in key)


def _fault(target: Target, problem: str, remedy: str = "correct the target's rule or its layout") -> StoreError:
    return StoreError(problem, setting=f"targets.{target.name}", remedy=remedy)
