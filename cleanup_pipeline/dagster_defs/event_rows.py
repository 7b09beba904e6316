"""Old events of assets that belong to no run, out of Dagster's event log.

Dagster has no way to remove them but wiping an asset whole, so this is SQL on its own tables, as dagster 1.13 has
them: `event_logs`, `asset_event_tags`, `asset_check_executions`. Everything that knows of these is in this module.
On SQLite they lie in the index of all runs, and once more in a file of the run without a name, which nobody reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, select

from cleanup_pipeline.dagster_defs.names import asset_key

CHUNK = 500
"""Rows that one transaction deletes: other processes write to the same tables."""

_logs, _tags, _checks = SqlEventLogStorageTable, AssetEventTagsTable, AssetCheckExecutionsTable
_OF_ASSETS = (dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_OBSERVATION.value)
_OF_CHECKS = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
_OURS = asset_key("%").to_string()
"""Matches the keys of our assets; the instance may be other people's, too."""


@dataclass(frozen=True, slots=True)
class EventRows:
    """How many rows were removed, or would be."""

    events: int
    checks: int


def prune_events(
    instance: dg.DagsterInstance, before: datetime, copies_before: datetime, *, dry_run: bool = False
) -> EventRows | None:
    """Remove what is older than an instant: events of our assets without a run, and results of their checks.

    The copies that SQLite has of these go as soon as they are older than `copies_before`. The latest event of each kind
    of an asset stays, and the latest result of each check. None where the event log is kept in no SQL database that
    this knows.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return None
    at = before.astimezone(UTC).replace(tzinfo=None)
    if dry_run:
        with _index(storage) as connection:
            return EventRows(_count(connection, _old_events(at)), _count(connection, _old_checks(at)))
    done = EventRows(_all_of(storage, _prune_events, at), _all_of(storage, _prune_checks, at))
    if storage.is_run_sharded:
        _prune_copies(storage, copies_before.astimezone(UTC).replace(tzinfo=None))
    return done


def _old_events(at: datetime) -> Select[Any]:
    ours = and_(
        _logs.c.run_id == RUNLESS_RUN_ID, _logs.c.dagster_event_type.in_(_OF_ASSETS), _logs.c.asset_key.like(_OURS)
    )
    latest = select(func.max(_logs.c.id)).where(ours).group_by(_logs.c.asset_key, _logs.c.dagster_event_type)
    return select(_logs.c.id).where(ours, _logs.c.timestamp < at, _logs.c.id.not_in(latest))


def _old_checks(at: datetime) -> Select[Any]:
    ours: ColumnElement[bool] = _checks.c.asset_key.like(_OURS)
    latest = select(func.max(_checks.c.id)).where(ours).group_by(_checks.c.asset_key, _checks.c.check_name)
    return select(_checks.c.id, _checks.c.evaluation_event_storage_id).where(
        ours, _checks.c.evaluation_event_timestamp < at, _checks.c.id.not_in(latest)
    )


def _prune_events(connection: Connection, at: datetime) -> int:
    ids = list(connection.execute(_old_events(at).limit(CHUNK)).scalars())
    if ids:
        connection.execute(delete(_tags).where(_tags.c.event_id.in_(ids)))
        connection.execute(delete(_logs).where(_logs.c.id.in_(ids)))
    return len(ids)


def _prune_checks(connection: Connection, at: datetime) -> int:
    rows = connection.execute(_old_checks(at).limit(CHUNK)).all()
    if rows:
        # Events of runs go with their runs.
        of_none = [_logs.c.run_id == RUNLESS_RUN_ID, _logs.c.dagster_event_type == _OF_CHECKS]
        events = [row[1] for row in rows if row[1] is not None]
        connection.execute(delete(_logs).where(_logs.c.id.in_(events), *of_none))
        connection.execute(delete(_checks).where(_checks.c.id.in_([row[0] for row in rows])))
    return len(rows)


def _prune_copies(storage: SqlEventLogStorage, at: datetime) -> None:
    old = select(_logs.c.id).where(
        _logs.c.run_id == RUNLESS_RUN_ID,
        _logs.c.dagster_event_type.in_([*_OF_ASSETS, _OF_CHECKS]),
        _logs.c.timestamp < at,
    )
    while True:
        with storage.run_connection(RUNLESS_RUN_ID) as connection:
            ids = list(connection.execute(old.limit(CHUNK)).scalars())
            connection.execute(delete(_logs).where(_logs.c.id.in_(ids)))
        if len(ids) < CHUNK:
            return


def _all_of(storage: SqlEventLogStorage, prune: Any, at: datetime) -> int:
    count = 0
    while True:
        with _index(storage) as connection:
            part: int = prune(connection, at)
        count += part
        if part < CHUNK:
            return count


@contextmanager
def _index(storage: SqlEventLogStorage) -> Iterator[Connection]:
    """A transaction on what all runs share."""
    with storage.index_transaction() as connection:
        yield connection


def _count(connection: Connection, chosen: Select[Any]) -> int:
    return int(connection.execute(select(func.count()).select_from(chosen.subquery())).scalar_one())
