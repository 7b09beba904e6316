"""Alembic runs this for each command. The transaction and its lock are those of `migrate.py`."""

from alembic import context

from cleanup_pipeline.ledger.tables import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite changes a column by making the table anew.
    render_as_batch=connection.dialect.name == "sqlite",
    # Dagster's own tables may be in the same database.
    include_name=lambda name, kind, _: kind != "table" or str(name).startswith("cleanup_"),
)
with context.begin_transaction():
    context.run_migrations()
