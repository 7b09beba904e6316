"""Rows of other tables that go with the records of a batch, or let go of them: read, then removed as they were."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import errors, sql

from cleanup_pipeline.model.removed import Form, Removed
from cleanup_pipeline.stores.postgres.batches import Place
from cleanup_pipeline.stores.postgres.children import Child, counts, keys_of
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.own_columns import Columns, StaleColumnsError, columns_of
from cleanup_pipeline.stores.postgres.statements import NONE, identifier, statement


@dataclass(frozen=True, slots=True)
class Others:
    """What was read: the records with their forms (the first of which is form 1 of the lot), and where they are."""

    records: tuple[Removed, ...]
    forms: tuple[Form, ...]
    letting_go: tuple[int, ...]
    """How many rows let go, for each of the removal's `detach`."""
    places: tuple[tuple[list[str], list[str], list[str]], ...]
    """Table, place and version of each row, for each of the removal's children."""


def read_others(connection: Connection, place: Place, most: int) -> Others:
    """The rows that refer to the doomed ones.

    Raises psycopg.errors.ForeignKeyViolation for more than `most`, StaleColumnsError where a table changes just now.
    """
    table = place.leaf.identifier
    records: list[Removed] = []
    forms: list[Form] = []
    letting_go: list[int] = []
    places: list[tuple[list[str], list[str], list[str]]] = []
    for (schema, name), related in place.removal.detach:
        key = columns_of(connection, _oid(connection, schema, name)).key
        own = sql.SQL(", ").join(identifier(column) for column in (*key, related.key))
        query = statement(
            "read_referring",
            own=own,
            table=identifier(*(part for part in (schema, name) if part)),
            key=identifier(related.key),
            keys=statement("keys_of_doomed", columns=identifier(related.by), table=table),
        )
        rows = connection.execute(query, {"most": _left(most, records)}).fetchall()
        forms.append(
            {
                "store": "postgres",
                "table": [schema, name],
                "columns": [*key, related.key],
                "key": list(key),
                "detach": related.key,
                "by": related.by,
            }
        )
        records += [Removed(body=row[0].encode(), form=len(forms)) for row in rows]
        letting_go.append(len(rows))
        _refuse(most, records)
    first = len(forms) + 1
    numbers = {child.oid: first + n for n, child in enumerate(place.removal.children)}
    by_oid = {child.oid: child for child in place.removal.children}
    for child in place.removal.children:
        columns = columns_of(connection, _oid(connection, child.schema, child.table))
        query = statement(
            "read_children",
            only=child.only,
            table=child.identifier,
            body=columns.body,
            unchanged=columns.unchanged,
            referring=_columns(child.referring),
            keys=keys_of(child, by_oid, table),
        )
        rows = connection.execute(query, {"most": _left(most, records), **columns.parameters}).fetchall()
        if rows and rows[0][4] is not True:
            raise StaleColumnsError
        forms.append(_form(child, columns, numbers))
        records += [Removed(body=row[3].encode(), form=len(forms)) for row in rows]
        places.append(([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]))
        _refuse(most, records)
    return Others(tuple(records), tuple(forms), tuple(letting_go), tuple(places))


def delete_others(connection: Connection, place: Place, others: Others) -> int:
    """Let go and delete what was read, and nothing else; how many rows were deleted.

    Raises psycopg.errors.SerializationFailure where there is more or less by now.
    """
    table = place.leaf.identifier
    detaching = place.removal.first(table)[: len(place.removal.detach)]
    for change, count in zip(detaching, others.letting_go, strict=True):
        if connection.execute(change, NONE).rowcount != count:
            raise errors.SerializationFailure("rows that refer to a record changed while its batch was under way")
    deleted = 0
    for child, (of, at, version) in zip(place.removal.children, others.places, strict=True):
        given = {"of": array_of(of), "at": array_of(at), "version": array_of(version)}
        query = statement("delete_held_children", only=child.only, table=child.identifier)
        gone = connection.execute(query, given).rowcount
        if gone != len(at):
            raise errors.SerializationFailure("a child of a record changed while its batch was under way")
        deleted += gone
    # The records are locked, so that nothing can refer to them anew; what did so before the locks shows here.
    for count_left in counts(place.removal.children, table):
        row = connection.execute(count_left, {"most": 1}).fetchone()
        if row and row[0]:
            raise errors.SerializationFailure("a record got another child while its batch was under way")
    return deleted


def array_of(values: Sequence[str]) -> str:
    """Places, versions or oids as the text of an array: a thousand times a batch, a driver's own way is slow."""
    return '{"' + '","'.join(values) + '"}' if values else "{}"


def _form(child: Child, columns: Columns, numbers: dict[int, int]) -> Form:
    return {
        "store": "postgres",
        "table": [child.schema, child.table],
        "columns": list(columns.names),
        "computed": list(columns.computed),
        "key": list(columns.key),
        "above": 0 if child.above is None else numbers[child.above],
        "referring": list(child.referring),
        "referred": list(child.referred),
    }


def _oid(connection: Connection, schema: str, name: str) -> int:
    row = connection.execute(statement("oid_of"), {"name": _written(schema, name)}).fetchone()
    if row is None or row[0] is None:
        raise errors.UndefinedTable(f"{schema}.{name} does not exist")
    return int(row[0])


def _columns(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(identifier(name) for name in names)


def _left(most: int, records: Sequence[Removed]) -> int:
    return max(0, most - len(records)) + 1


def _refuse(most: int, records: Sequence[Removed]) -> None:
    if len(records) > most:
        raise errors.ForeignKeyViolation("more rows refer to the records of one batch than it may remove")


def _written(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)
