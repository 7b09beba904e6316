"""Functions of extensions, where the login may call them."""

from psycopg import sql

from cleanup_pipeline.stores.postgres.connect import Connection
from cleanup_pipeline.stores.postgres.statements import identifier, statement


def function_of(connection: Connection, extension: str, name: str) -> sql.Identifier | None:
    """The function by its full name; None where it is not installed, or not for this login.

    One that does not belong to the extension is somebody else's, and not called.
    """
    row = connection.execute(statement("extension_function"), {"extension": extension, "name": name}).fetchone()
    return None if row is None else identifier(row[0], row[1])
