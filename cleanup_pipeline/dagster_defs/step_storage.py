"""What a step hands on to the next, kept where every worker reaches it: Dagster's database, or a folder by URL.

As JSON, one row or file an output, with the name of its type: unlike Dagster's own pickles it runs nothing when it is
read. Numbers, positions and names of settings; never a record's identifier. Does not belong here: which place, by which
setting (settings/execution.py); when what is old goes (prune_runs.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg
import psycopg
from pydantic import TypeAdapter
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from upath import UPath

from cleanup_pipeline.dagster_defs.names import IO_MANAGER as IO_MANAGER
from cleanup_pipeline.dagster_defs.storage import database_of
from cleanup_pipeline.model.outcome import GroupOutcome, PassReport, ShardOutcome, TargetReport
from cleanup_pipeline.model.plan import Plan, Shard, ShardGroup
from cleanup_pipeline.settings.execution import LOCAL, POSTGRES
from cleanup_pipeline.stores.postgres.tls import tls_arguments

TABLE = "cleanup_handed_on"
CHUNK = 1000
"""Rows that one statement deletes."""
_LOCK = 7_215_604_333
"""Advisory lock of PostgreSQL, held while the table is made."""
_KINDS = (Plan, Shard, ShardGroup, ShardOutcome, GroupOutcome, TargetReport, PassReport)
_TYPES: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in _KINDS} | {
    f"list[{kind.__name__}]": TypeAdapter(list[kind])  # type: ignore[valid-type]
    for kind in _KINDS
}


class Place(Protocol):
    """Where outputs are, by run, step and output."""

    def put(self, run_id: str, step: str, output: str, kind: str, text: str) -> None:
        """Keep it; what was there by that name is gone. Raises OSError or psycopg.Error."""

    def get(self, run_id: str, step: str, output: str) -> tuple[str, str] | None:
        """Its type's name and its text; None: there is no such output. Raises OSError or psycopg.Error."""

    def forget(self, run_id: str) -> None:
        """Remove what a run handed on. Raises OSError or psycopg.Error."""


@dataclass(frozen=True, slots=True)
class Database:
    """A table in Dagster's database, made at the first use."""

    url: str

    def put(self, run_id: str, step: str, output: str, kind: str, text: str) -> None:
        """`Place.put`."""
        statement = (
            f"INSERT INTO {TABLE} (run_id, step, output, kind, value) VALUES (%s, %s, %s, %s, %s)"  # noqa: S608
            " ON CONFLICT (run_id, step, output) DO UPDATE SET kind = excluded.kind, value = excluded.value"
        )
        values = (run_id, step, output, kind, text)
        try:
            self._do(statement, values)
        except psycopg.errors.UndefinedTable:
            self._make()
            self._do(statement, values)

    def get(self, run_id: str, step: str, output: str) -> tuple[str, str] | None:
        """`Place.get`."""
        statement = f"SELECT kind, value FROM {TABLE} WHERE run_id = %s AND step = %s AND output = %s"  # noqa: S608
        try:
            found = self._do(statement, (run_id, step, output))
        except psycopg.errors.UndefinedTable:
            return None
        return (found[0][0], found[0][1]) if found else None

    def forget(self, run_id: str) -> None:
        """`Place.forget`."""
        try:
            self._do(f"DELETE FROM {TABLE} WHERE run_id = %s", (run_id,))  # noqa: S608
        except psycopg.errors.UndefinedTable:
            return

    def forget_orphans(self) -> int:
        """Remove what runs handed on that Dagster does not have any more: how many rows. Somebody deleted them there.

        A run is on record before its first step is, so none is taken for one that is gone.
        """
        statement = (
            f"DELETE FROM {TABLE} WHERE ctid = ANY(ARRAY(SELECT h.ctid FROM {TABLE} h"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = h.run_id) LIMIT {CHUNK})) RETURNING 1"
        )
        count = 0
        try:
            while part := len(self._do(statement)):
                count += part
        except psycopg.errors.UndefinedTable:
            return 0
        return count

    # A connection that breaks is nothing to lose a pass for; each statement may be done twice.
    @retry(
        retry=retry_if_exception_type(psycopg.OperationalError),
        stop=stop_after_attempt(4),
        wait=wait_random_exponential(multiplier=0.2, max=3),
        reraise=True,
    )
    def _do(self, statement: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def _make(self) -> None:
        with self._connection() as connection, connection.transaction():
            # CREATE TABLE IF NOT EXISTS fails when two do it at once.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {TABLE} (run_id text, step text, output text, kind text NOT NULL,"
                " value text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),"
                " PRIMARY KEY (run_id, step, output))"
            )

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        options: dict[str, Any] = {
            "connect_timeout": 5,
            "application_name": "cleanup-pipeline",
            "options": "-c statement_timeout=30s",
            **tls_arguments(self.url),
        }
        with psycopg.connect(self.url, autocommit=True, **options) as connection:
            yield connection


@dataclass(frozen=True, slots=True)
class Folder:
    """Files below a URL, RUN/STEP/OUTPUT.json."""

    url: str

    def put(self, run_id: str, step: str, output: str, kind: str, text: str) -> None:
        """`Place.put`."""
        file = self._file(run_id, step, output)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{kind}\n{text}", encoding="utf-8")

    def get(self, run_id: str, step: str, output: str) -> tuple[str, str] | None:
        """`Place.get`."""
        try:
            kind, _, text = self._file(run_id, step, output).read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return None
        return kind, text

    def forget(self, run_id: str) -> None:
        """`Place.forget`."""
        folder = UPath(self.url) / run_id
        if run_id and folder.exists():
            folder.fs.rm(folder.path, recursive=True)

    def _file(self, run_id: str, step: str, output: str) -> UPath:
        return UPath(self.url) / run_id / step / f"{output}.json"


class HandingOn(dg.IOManager):
    """Dagster's way in and out."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep what a step hands on."""
        kind = type(obj).__name__
        if isinstance(obj, list):
            # One without anything in it is one of anything.
            kind = f"list[{type(obj[0]).__name__ if obj else Shard.__name__}]"
        self._place.put(*_key(context), kind, _TYPES[kind].dump_json(obj).decode())

    def load_input(self, context: dg.InputContext) -> Any:
        """What an earlier step handed on, also one of a run that this one repeats."""
        if context.upstream_output is None:
            raise ValueError(f"input {context.name} comes from no step")
        run_id, step, output = _key(context.upstream_output)
        found = self._place.get(run_id, step, output)
        if found is None:
            raise dg.Failure(
                f"what step {step} of run {run_id} handed on is not there: it was pruned, or execution.step_storage"
                " is another place than it was; run the pass anew",
                allow_retries=False,
            )
        kind, text = found
        return _TYPES[kind].validate_json(text)


def _key(context: dg.OutputContext) -> tuple[str, str, str]:
    run_id, step, *output = context.get_identifier()
    return run_id, step, "/".join(output)


def place_of(step_storage: str, instance: dg.DagsterInstance) -> Place | None:
    """The place that the setting names; None: Dagster's own files. Raises ValueError: no database is there."""
    if step_storage == LOCAL:
        return None
    if step_storage != POSTGRES:
        return Folder(step_storage)
    url = database_of(instance)
    if url is None:
        raise ValueError(
            "execution.step_storage: found postgres, and Dagster keeps its runs in files; set"
            " CLEANUP_DAGSTER_POSTGRES_URL, or name a URL"
        )
    return Database(url)


def step_storage_resource(step_storage: str) -> dg.IOManagerDefinition:
    """The IO manager of passes, where they do not use Dagster's own."""

    def made(context: dg.InitResourceContext) -> dg.IOManager:
        place = place_of(step_storage, context.instance) if context.instance else None
        if place is None:
            raise ValueError(f"{step_storage}: no place for what steps hand on")
        return HandingOn(place)

    return dg.IOManagerDefinition(
        resource_fn=made, description=f"what steps hand on: {step_storage.partition('://')[0]}"
    )


def places(step_storage: str, instance: dg.DagsterInstance) -> list[Place]:
    """Every place in which a run may have left something, also by an earlier setting."""
    url = database_of(instance)
    of_database: list[Place] = [Database(url)] if url is not None else []
    return of_database if step_storage in (LOCAL, POSTGRES) else [*of_database, Folder(step_storage)]
