"""Brings a ledger's tables up to what this version writes. Costs one small query when they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, column, inspect, select, table, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from cleanup_pipeline.ledger.connect import LedgerError, Place
from cleanup_pipeline.ledger.database import place_variable
from cleanup_pipeline.ledger.tables import VERSION_TABLE, passes

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
"""The newest migration, written down here so that opening a ledger need not import Alembic."""
_LOCK = 7_215_604_331
"""Advisory lock of PostgreSQL, held while tables are made."""
_MIGRATION_TIMEOUT = "60s"

_version: Select[Any] = select(column("version_num")).select_from(table(VERSION_TABLE))


def migrate(place: Place) -> None:
    """Make or change the tables where that is needed; several processes may do it at once.

    Raises LedgerError, also for a ledger of a newer version.
    """
    if _is_current(place):
        return
    with place.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = '{_MIGRATION_TIMEOUT}'"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{_MIGRATION_TIMEOUT}'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        found = version_of(connection)
        if found == HEAD:
            return
        _check_known(place, connection, found)
        _upgrade(connection)


def _is_current(place: Place) -> bool:
    # Straight at the table: asking the catalogue first would cost more than the whole opening.
    with place.reading() as connection:
        try:
            return bool(connection.execute(_version).scalar_one_or_none() == HEAD)
        except (OperationalError, ProgrammingError) as fault:
            if _is_missing_table(fault):
                return False
            raise


def _is_missing_table(fault: OperationalError | ProgrammingError) -> bool:
    return getattr(fault.orig, "sqlstate", None) == "42P01" or "no such table" in str(fault.orig)


def version_of(connection: Connection) -> str | None:
    """The version of the ledger's tables; None: there is none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(_version).scalar_one_or_none()
    return found


def _check_known(place: Place, connection: Connection, found: str | None) -> None:
    if found is None:
        if inspect(connection).has_table(passes.name):
            raise LedgerError(
                f"{place_variable()}: the ledger at {place.shown} has tables and no version: an unreleased version made"
                " it; move it away, or drop its tables named cleanup_..."
            )
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if found not in known:
        raise LedgerError(
            f"{place_variable()}: the ledger at {place.shown} has version {found}, and this program knows {HEAD} as the"
            " newest; upgrade cleanup-pipeline here, too"
        )


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def alembic_config() -> "Config":
    """How Alembic finds the migrations; there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    place = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(place).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
