"""Where Dagster keeps runs, events and schedules: files of this machine, or the database that one variable names.

dagster.yaml names the class here, so that whatever starts Dagster (this command line, `dagster dev`, a worker of
Celery) decides alike, and no password gets into a file. An instance set up in Dagster's own words (`storage:
postgres:`) is left as it is. Does not belong here: the ledger's place (resources.py), the variable
(ledger/database.py).
"""

from typing import Any

import dagster as dg
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.runs.sqlite import SqliteRunStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from cleanup_pipeline.ledger.connect import PATIENCE_SECONDS, LedgerError, place_of
from cleanup_pipeline.ledger.database import FILE_VARIABLE, VARIABLE, database_url
from cleanup_pipeline.settings.execution import ELSEWHERE
from cleanup_pipeline.stores.postgres.tls import tls_arguments


class Storage(DagsterSqliteStorage):
    """The `custom` storage of the dagster.yaml that is shipped. Makes one of Dagster's own storages."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> DagsterStorage:  # type: ignore[override]
        """Dagster's PostgreSQL storage where the variable is set, else SQLite below `base_dir`. Raises LedgerError."""
        url = database_url()
        if url is None:
            return DagsterSqliteStorage.from_config_value(inst_data, config_value)
        from dagster_postgres.storage import DagsterPostgresStorage

        return DagsterPostgresStorage(dagster_url(url), inst_data=inst_data)


def dagster_url(url: str) -> str:
    """The same database, as Dagster has to be told of it.

    Its SQL is written for psycopg2, and SQLAlchemy 2.1 takes a bare postgresql:// for psycopg 3, which refuses it
    (dagster-io/dagster#33958). Certificates are checked as those of stores are.
    """
    parsed = make_url(url).set(drivername="postgresql+psycopg2")
    ours = {"connect_timeout": str(PATIENCE_SECONDS), "application_name": "cleanup-pipeline", **tls_arguments(url)}
    more = {name: value for name, value in ours.items() if name not in parsed.query}
    return parsed.update_query_dict(more).render_as_string(hide_password=False)


def database_of(instance: dg.DagsterInstance) -> str | None:
    """The PostgreSQL database in which an instance keeps its runs, as postgresql://...; None: it is in files."""
    found = getattr(instance.run_storage, "postgres_url", None)
    if not isinstance(found, str):
        return None
    url = make_url(found)
    # What Dagster's driver is told besides is our own doing (above), and the ledger's driver does it by itself.
    ours = [name for name in ("connect_timeout", "application_name") if name in url.query]
    plain: URL = url.set(drivername="postgresql").difference_update_query(ours)
    return plain.render_as_string(hide_password=False)


def look_at_database() -> None:
    """One connection to the database that the variable names, if it names one.

    Dagster would try for seconds, and say so in ten tracebacks. Raises LedgerError.
    """
    url = database_url()
    if url is None:
        return
    place = place_of(url)
    try:
        place.engine.connect().close()
    except (SQLAlchemyError, OSError) as fault:
        raise LedgerError(
            f"{VARIABLE}: the database at {place.shown} cannot be reached ({place.line(fault)});"
            " correct the URL, or see to it that the server runs and lets this user in"
        ) from None
    finally:
        place.engine.dispose()


def is_shared(instance: dg.DagsterInstance, executor: str) -> None:
    """Nothing, where other machines can reach the runs of an instance, or need not. Raises LedgerError."""
    if executor in ELSEWHERE and isinstance(instance.run_storage, SqliteRunStorage):
        raise LedgerError(
            f"{VARIABLE}: found nothing, and execution.executor is {executor}: a worker that knows of no run does no"
            " step; name a database that every worker reaches"
        )


def agrees(instance: dg.DagsterInstance) -> None:
    """Nothing, where the instance keeps its runs where the variable says. Raises LedgerError.

    With a dagster.yaml of somebody else's the variable would move the ledger and leave the runs.
    """
    if database_url() is not None and isinstance(instance.run_storage, SqliteRunStorage):
        raise LedgerError(
            f"{VARIABLE}: is set ({FILE_VARIABLE} counts, too), and the dagster.yaml in {instance.root_directory} keeps"
            " runs in SQLite; give it `storage: {custom: {module: cleanup_pipeline.dagster_defs.storage, class:"
            " Storage, config: {base_dir: .cleanup/storage}}}`, or unset the variable"
        )
