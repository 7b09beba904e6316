"""A pass as Dagster runs it, on a real store and an instance of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.stores.open import Opener, open_store
from tests.storages import instance_on

SETTINGS = """
cleanup: {batch_size: 10, pause: 0s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}
  app_sessions: {store: main, table: app, expires: {column: expires_at}, mode: delete}
"""


@pytest.fixture
def db(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Two tables: 25 expired and 5 live sessions each."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for table in ("web", "app"):
            connection.execute(f"CREATE TABLE {table} (id int, expires_at timestamptz)")
            connection.execute(
                f"INSERT INTO {table} SELECT n, now() + CASE WHEN n <= 25 THEN -1 ELSE 1 END * interval '1 day'"
                " FROM generate_series(1, 30) n"
            )
        yield connection


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str) -> Settings:
    return settings_from(SETTINGS, tmp_path, postgres_url)


def settings_from(text: str, folder: Path, postgres_url: str) -> Settings:
    file = folder / "cleanup.yaml"
    file.write_text(text)
    return load_settings(file, {"CLEANUP_POSTGRES_URL": postgres_url})


@pytest.fixture
def instance(storage: dict[str, str]) -> Iterator[dg.DagsterInstance]:
    with instance_on(storage) as made:
        yield made


Ran = tuple[dg.ExecuteInProcessResult, PassReport]
Run = Callable[..., Ran]


@pytest.fixture
def run(instance: dg.DagsterInstance) -> Run:
    """Run the `sessions` pass in this process and close it as the command line does."""

    def _run(settings: Settings, *, dry_run: bool = False, opener: Opener = open_store) -> Ran:
        job = build_defs(settings, opener=opener).resolve_job_def("clean_sessions")
        result = job.execute_in_process(
            instance=instance,
            run_config={
                "resources": {"pass_options": {"config": {"dry_run": dry_run}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )
        return result, close_pass(instance, result.run_id, "sessions", settings.targets_of("sessions"))

    return _run


def ids(db: psycopg.Connection[Any], table: str) -> set[int]:
    return {row[0] for row in db.execute(f"SELECT id FROM {table}")}
