"""The columns that rows are kept by: read by name, and only while they are all that there are.

A partition may have the columns of its table in another order, and anybody may add one while a pass is under way. What
is written of a row is therefore each column by its name; and the statement that reads rows says whether the catalog, in
the snapshot that the rows are from, has other columns by now.
"""

from dataclasses import dataclass

from psycopg import sql

from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.shape import RECORD, column_of
from cleanup_pipeline.stores.postgres.statements import statement


class StaleColumnsError(Exception):
    """Rows were read by columns that are no longer those of their table. Nothing was done with them."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a table's rows consist of."""

    oid: int
    names: tuple[str, ...]
    computed: tuple[str, ...]
    """Those that the server computes (GENERATED ... STORED), which nobody can write."""
    key: tuple[str, ...]
    """The primary key; empty where there is none."""

    @property
    def body(self) -> sql.Composed:
        """The row `record` as text, each column by its name."""
        return sql.SQL("ROW({})::text").format(sql.SQL(", ").join(column_of(RECORD, name) for name in self.names))

    @property
    def unchanged(self) -> sql.Composed:
        """Whether these are the columns of the table. Takes `parameters`."""
        return statement("unchanged")

    @property
    def parameters(self) -> dict[str, object]:
        """For `unchanged`."""
        return {"relation": self.oid, "columns": list(self.names), "computed": list(self.computed)}


def columns_of(connection: Connection, oid: int) -> Columns:
    """From the catalog."""
    rows = connection.execute(statement("own_columns"), {"oid": oid}).fetchall()
    key = connection.execute(statement("primary_key"), {"oid": oid}).fetchall()
    return Columns(
        oid, tuple(name for name, _ in rows), tuple(name for name, made in rows if made), tuple(row[0] for row in key)
    )
