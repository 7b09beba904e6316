"""Real servers for the tests: one of each a session, a fresh database for each test."""

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.embedded.servers import Server, start_mongo, start_postgres, start_redis


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without CLEANUP_LONG the long ones are left out, or `make test` would take more than twelve minutes."""
    if not os.environ.get("CLEANUP_LONG"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes half a minute: make test-long"))


@pytest.fixture(autouse=True)
def _settings_of_others() -> Iterator[None]:
    """What stays in this process after the command line ran in it: where its settings are, and Dagster's last job."""
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:
        if name.startswith("CLEANUP_") or name == "DAGSTER_HOME":
            del os.environ[name]
    if sys.modules.pop("cleanup_pipeline.definitions", None):
        from dagster._core.definitions.reconstruct import ReconstructableJob

        ReconstructableJob.get_definition.cache_clear()
        ReconstructableJob.get_repository_definition.cache_clear()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    # Not one of pytest's own folders: those are closed to everybody else, and root starts PostgreSQL as another user.
    with tempfile.TemporaryDirectory(prefix="cleanup-tests-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        server = start_postgres(folder)
        yield server
        server.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can get at, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="cleanup-tests-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_mongo(tmp_path_factory.mktemp("mongo"), fail_points=True)
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        yield postgres_server.url.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def dagster_tables(postgres_server: Server) -> str:
    """A database with Dagster's tables in it, to be copied: making them takes most of a second."""
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    url = postgres_server.url.rsplit("/", 1)[0] + f"/{name}"
    from dagster_postgres.storage import DagsterPostgresStorage

    from cleanup_pipeline.dagster_defs.storage import dagster_url

    made = DagsterPostgresStorage(dagster_url(url))
    for part in (made.run_storage, made.event_log_storage, made.schedule_storage):
        part.dispose()
    return name


@pytest.fixture
def history_url(postgres_server: Server, dagster_tables: str) -> Iterator[str]:
    """A database for what Dagster keeps, of its own."""
    name = f"history_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {dagster_tables}")  # type: ignore[call-overload]
        yield postgres_server.url.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that put Dagster's history where the test's parameter says: see tests/storages.py."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return {}
    return {"CLEANUP_DAGSTER_POSTGRES_URL": request.getfixturevalue("history_url")}


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def mongo_url(mongo_server: Server) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield mongo_server.url.replace("/cleanup_demo", f"/{name}")
    with pymongo.MongoClient(mongo_server.url) as client:
        client.drop_database(name)
