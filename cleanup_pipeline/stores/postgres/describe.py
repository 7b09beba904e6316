"""The tables of a database with their columns, from the catalog; and in which unit a sample of numbers makes sense."""

from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.target import Source, TableSource
from cleanup_pipeline.model.words import EpochUnit, plausible_unit
from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.statements import identifier, statement

MOST_TABLES = 1000
SAMPLE = 200


def tables(connection: Connection) -> list[Seen]:
    """Those that the login may read, first the ones that search_path finds."""
    rows = connection.execute(statement("tables"), {"most": MOST_TABLES}).fetchall()
    return [
        Seen(
            name=table if visible else f"{schema}.{table}",
            schema=schema,
            fields=tuple(SeenField(name, kind) for name, kind in zip(columns, types, strict=True)),
            referred_by=tuple(referred_by),
        )
        for schema, table, visible, columns, types, referred_by in rows
    ]


def magnitude(connection: Connection, source: Source, column: str) -> EpochUnit | None:
    """The unit in which the first numbers of a column are plausible instants, whatever its type."""
    if not isinstance(source, TableSource):
        return None
    place = identifier(*(part for part in (source.schema, source.table) if part))
    query = statement("magnitude", column=identifier(column), table=place)
    return plausible_unit(value for (value,) in connection.execute(query, {"most": SAMPLE}))
