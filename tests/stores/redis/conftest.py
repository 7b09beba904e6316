import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from redis import Redis
from redis_support import Server, config, running, valkey

from cleanup_pipeline.stores.redis import RedisStore, open_redis

DEBIAN = "/usr/bin/redis-server"
# Further servers to try everything on, such as an older release: paths, separated as in PATH.
FURTHER = [path for path in os.environ.get("CLEANUP_TEST_REDIS_SERVERS", "").split(os.pathsep) if path]


BINARIES = [str(valkey()), *(path for path in (DEBIAN, *FURTHER) if Path(path).exists())]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = [path for path in (DEBIAN, *FURTHER) if path not in BINARIES]
    terminalreporter.write_line(
        f"Redis tests ran on {', '.join(BINARIES)}" + (f"; skipped for want of {', '.join(missing)}" if missing else "")
    )


@pytest.fixture(scope="session", params=BINARIES, ids=[Path(path).name for path in BINARIES])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Path(request.param), tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator["Redis"]:
    with Redis.from_url(server.url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def store(server: Server, client: "Redis") -> Iterator[RedisStore]:
    opened = open_redis(config(server.url))
    yield opened
    opened.close()


@pytest.fixture
def now(store: RedisStore) -> datetime:
    return store.clock()
