"""Disks that are really full: the store's, the ledger's."""

import contextlib
import time
from collections.abc import Callable

import psycopg
import redis

from tests.faults.bench.disk import Disk
from tests.faults.bench.fault import Fault, Scene, Undo

PATIENCE_SECONDS = 30.0


def _of_store(scene: Scene) -> Disk:
    assert scene.host.disk is not None
    return scene.host.disk


def _until(what: Callable[[], bool], hopeless: Callable[[], None] = lambda: None) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        with contextlib.suppress(psycopg.OperationalError, redis.RedisError):
            if what():
                return
        hopeless()
        time.sleep(0.02)
    raise AssertionError("the store did not come back after there was room again")


def _postgres_full(scene: Scene) -> Undo:
    """No room for a row; in every second round none for the write-ahead log either, and the server panics."""
    disk = _of_store(scene)
    # The segment that is begun has room for what a pass writes.
    switch = scene.chance.random() < 0.5
    disk.fill()
    if switch:
        with contextlib.suppress(psycopg.Error), psycopg.connect(scene.host.url, autocommit=True) as db:
            for _ in range(20):
                db.execute("SELECT pg_logical_emit_message(true, 'bench', 'full')")
                db.execute("SELECT pg_switch_wal()")

    def works() -> bool:
        with psycopg.connect(scene.host.url, autocommit=True, connect_timeout=2) as db:
            db.execute("CREATE TEMP TABLE room AS SELECT generate_series(1, 1000)")
        return True

    def start() -> None:
        if not scene.host.alive():
            scene.host.server.stop()
            scene.host.start_again()

    def undo() -> None:
        disk.make_room()
        _until(works, start)

    return undo


def _redis_full(*, dump: bool) -> Callable[[Scene], Undo]:
    """The append-only file cannot grow, or the `dump` cannot be written: MISCONF until it can."""

    def do(scene: Scene) -> Undo:
        disk = _of_store(scene)
        client = redis.Redis.from_url(scene.host.url, socket_timeout=20)
        disk.fill()

        def dumped(word: str) -> bool:
            found = client.info("persistence")
            if found["rdb_bgsave_in_progress"]:
                return False
            if found["rdb_last_bgsave_status"] != word:
                client.bgsave()
                return False
            return True

        if dump:
            client.config_set("save", "3600 1")
            _until(lambda: dumped("err"))

        def undo() -> None:
            disk.make_room()
            if dump:
                _until(lambda: dumped("ok"))
                client.config_set("save", "")
            _until(lambda: bool(client.set("bench:room", 1) and client.delete("bench:room")))
            client.close()

        return undo

    return do


def _ledger_full(scene: Scene) -> Undo:
    assert scene.ledger_disk is not None
    # In some rounds the log of changes still has room for a few pages.
    scene.ledger_disk.fill(scene.chance.choice([0, 0, 16384, 65536]))
    return scene.ledger_disk.make_room


POSTGRES_DISK = [
    Fault("full_disk", _postgres_full, weight=2, longest=1.5, rewinds=True, disk=True),
]
REDIS_DISK = [
    Fault("full_disk_aof", _redis_full(dump=False), weight=2, longest=2.5, disk=True),
    Fault("full_disk_dump", _redis_full(dump=True), weight=1, longest=1.5, disk=True),
]
LEDGER_DISK = [
    Fault("ledger_full_disk", _ledger_full, weight=2, longest=1.5, disk=True, ledger=True),
    # The storage of Dagster lies there, too: the process may end with nothing said.
    Fault("dagster_full_disk", _ledger_full, weight=1, longest=3.0, disk=True, worker=True),
]
