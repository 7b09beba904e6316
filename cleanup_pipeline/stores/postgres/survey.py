"""Which tables there are, by the catalog alone."""

from cleanup_pipeline.model.survey import Survey, TableSeen
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.statements import statement

MOST = 5_000
"""Tables."""


def survey(connection: Connection) -> Survey:
    """The tables of the database, those on the search path first."""
    rows = connection.execute(statement("survey"), {"most": MOST + 1}).fetchall()
    tables = tuple(
        TableSeen(schema, visible, name, dict(columns or {}), None if count < 0 else count)
        for schema, visible, name, count, columns in rows[:MOST]
    )
    return Survey(tables=tables, whole=len(rows) <= MOST)
