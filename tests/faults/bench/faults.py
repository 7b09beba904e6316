"""What may go wrong while a pass runs. Each fault is a function that does it and answers how it is undone.

A fault is run at a chunk of traffic that the seed chooses, and undone after a time that the seed chooses, or at the
end of the pass.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pymongo
import redis
from pymongo.errors import PyMongoError

from tests.faults.bench.hosts import Host
from tests.faults.bench.proxy import DOWN, UP
from tests.faults.bench.writers import Writer, go_on, quiet

Undo = Callable[[], None]


@dataclass
class Scene:
    """What a fault may touch."""

    host: Host
    shape: str
    chance: random.Random
    writers: list[Writer]
    dead: list[str]
    worker: Any = None
    """Set where the pass runs in a process of its own."""


@dataclass(frozen=True)
class Fault:
    name: str
    do: Callable[[Scene], Undo | None]
    weight: int = 2
    strikes: int = 1
    """How often it may come in one pass."""
    longest: float = 0.6
    """Seconds until it is undone, at most."""
    worker: bool = False
    """The pass runs in a process of its own."""
    rewinds: bool = False
    """The store may lose the last of what it said was deleted: those records come back, and are deleted twice."""
    prepare: Callable[[Scene], None] | None = None
    shapes: tuple[str, ...] = ()


# The network.


def _cut(*, reset: bool) -> Callable[[Scene], None]:
    return lambda scene: scene.host.proxy.cut(reset=reset)


def _way(name: str, **values: Any) -> Callable[[Scene], Undo]:
    def do(scene: Scene) -> Undo:
        for at, value in values.items():
            setattr(scene.host.proxy.ways[name], at, value)
        return scene.host.proxy.heal

    return do


def _refuse(scene: Scene) -> Undo:
    scene.host.proxy.refusing = True
    scene.host.proxy.cut(reset=True)
    return scene.host.proxy.heal


NETWORK = [
    Fault("nothing", lambda _: None),
    Fault("cut_rst", _cut(reset=True), weight=5, strikes=4),
    Fault("cut_fin", _cut(reset=False), weight=4, strikes=4),
    Fault("refused", _refuse, weight=3),
    Fault("slow_up", _way(UP, delay=0.02), weight=1),
    Fault("slow_down", _way(DOWN, delay=0.02), weight=1),
    Fault("throttled_up", _way(UP, rate=20_000.0), weight=1),
    Fault("throttled_down", _way(DOWN, rate=20_000.0), weight=1),
    Fault("held_up", _way(UP, held=True), weight=2, longest=0.8),
    Fault("held_down", _way(DOWN, held=True), weight=2, longest=0.8),
    Fault("held_up_for_long", _way(UP, held=True), weight=1, longest=9.0),
    Fault("held_down_for_long", _way(DOWN, held=True), weight=1, longest=9.0),
    Fault("blackhole_up", _way(UP, dropped=True), weight=2, longest=1.0),
    Fault("blackhole_down", _way(DOWN, dropped=True), weight=3, longest=1.0),
]


# The processes.


def _kill_worker(scene: Scene) -> None:
    scene.worker.process.kill()


def _stop_worker(scene: Scene) -> Undo:
    scene.worker.send(signal.SIGSTOP)
    return lambda: scene.worker.send(signal.SIGCONT)


def _interrupt_worker(scene: Scene) -> None:
    scene.worker.send(signal.SIGTERM)


def _freeze(scene: Scene) -> Undo:
    scene.host.freeze()
    return scene.host.thaw


def _kill_store(scene: Scene) -> Undo:
    scene.host.kill()
    return scene.host.start_again


PROCESSES = [
    Fault("worker_kill_9", _kill_worker, weight=1, worker=True),
    Fault("worker_sigstop", _stop_worker, weight=1, worker=True, longest=2.5),
    Fault("worker_sigterm", _interrupt_worker, weight=1, worker=True),
    Fault("store_sigstop", _freeze, weight=2),
    Fault("store_kill_9", _kill_store, weight=1, longest=0.1, rewinds=True),
]


# PostgreSQL.


def _admin(scene: Scene) -> "psycopg.Connection[Any]":
    return psycopg.connect(scene.host.url, autocommit=True, options="-c default_transaction_read_only=off")


_CLEANERS = "FROM pg_stat_activity WHERE application_name LIKE 'cleanup-pipeline%'"


def _to_backends(function: str) -> Callable[[Scene], None]:
    def do(scene: Scene) -> None:
        with _admin(scene) as db:
            db.execute(f"SELECT {function}(pid) {_CLEANERS}")  # type: ignore[call-overload]

    return do


def _kill_backend(scene: Scene) -> None:
    with _admin(scene) as db:
        pids = [row[0] for row in db.execute(f"SELECT pid {_CLEANERS}")]  # type: ignore[call-overload]
    if pids:
        # One of them dead, PostgreSQL ends all sessions and recovers.
        with contextlib.suppress(ProcessLookupError):
            os.kill(scene.chance.choice(pids), signal.SIGKILL)


def _held(scene: Scene, *statements: str) -> Undo:
    db = psycopg.connect(scene.host.url)
    with contextlib.suppress(psycopg.errors.LockNotAvailable):
        for statement in statements:
            db.execute(statement)  # type: ignore[call-overload]

    def undo() -> None:
        with contextlib.suppress(psycopg.Error):
            db.rollback()
        db.close()

    return undo


def _lock_rows(scene: Scene) -> Undo:
    names = ", ".join(f"'{name}'" for name in scene.chance.sample(scene.dead, min(8, len(scene.dead))))
    return _held(scene, f"SELECT FROM web WHERE id IN ({names}) FOR UPDATE")


def _lock_table(scene: Scene) -> Undo:
    return _held(scene, "SET lock_timeout = '2s'", "LOCK TABLE web IN ACCESS EXCLUSIVE MODE")


def _deadlocks(scene: Scene) -> Undo:
    """An application that takes rows in the other order, all the while."""
    stop = threading.Event()
    names, chance = list(scene.dead), random.Random(scene.chance.random())

    def run() -> None:
        with contextlib.suppress(psycopg.OperationalError), _admin(scene) as db:
            while not stop.is_set():
                one, other = sorted(chance.sample(names, 2), reverse=True)
                with contextlib.suppress(psycopg.errors.DeadlockDetected), db.transaction():
                    if scene.shape == "children":
                        db.execute("UPDATE part SET n = n WHERE web = %s", (one,))
                        other = one
                    else:
                        db.execute("UPDATE web SET e = e WHERE id = %s", (one,))
                    time.sleep(0.002)
                    db.execute("UPDATE web SET e = e WHERE id = %s", (other,))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def undo() -> None:
        stop.set()
        thread.join(20)

    return undo


def _raised(code: str, share: float) -> Callable[[Scene], Undo]:
    """The server's own error of this code for deletions of the cleaner's, here and there."""

    def do(scene: Scene) -> Undo:
        with _admin(scene) as db:
            db.execute(
                "CREATE OR REPLACE FUNCTION bench_no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
                " IF current_setting('application_name') LIKE 'cleanup%%' AND random() < "
                f"{share} THEN RAISE EXCEPTION 'injected' USING ERRCODE = '{code}'; END IF; RETURN OLD; END$$"
            )
            db.execute(
                "CREATE OR REPLACE TRIGGER bench_no BEFORE DELETE ON web FOR EACH ROW EXECUTE FUNCTION bench_no()"
            )

        def undo() -> None:
            with _admin(scene) as db:
                db.execute("DROP TRIGGER IF EXISTS bench_no ON web")

        return undo

    return do


def _read_only(scene: Scene) -> Undo:
    def switch(value: str) -> None:
        with _admin(scene) as db:
            db.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")  # type: ignore[call-overload]
            db.execute("SELECT pg_reload_conf()")

    switch("on")
    return lambda: switch("off")


def _fail_over(scene: Scene) -> None:
    scene.host.fail_over()


def _copy(scene: Scene) -> None:
    scene.host.copy()


POSTGRES = [
    Fault("terminate_backend", _to_backends("pg_terminate_backend"), weight=4, strikes=4),
    Fault("cancel_backend", _to_backends("pg_cancel_backend"), weight=2, strikes=4),
    Fault("backend_kill_9", _kill_backend, weight=2, rewinds=True),
    Fault("lock_rows", _lock_rows, weight=2),
    Fault("lock_table", _lock_table, weight=2, longest=1.5),
    Fault("deadlocks", _deadlocks, weight=3, longest=3.0),
    Fault("serialization_failures", _raised("40001", 0.02), weight=1, longest=1.5),
    Fault("out_of_memory", _raised("53200", 0.02), weight=1, longest=1.5),
    Fault("disk_full", _raised("53100", 0.02), weight=1, longest=1.5),
    Fault("read_only", _read_only, weight=2, longest=1.5),
    Fault("failover", _fail_over, weight=1, rewinds=True, prepare=_copy),
]


# Redis.


def _redis(scene: Scene) -> Any:
    return redis.Redis.from_url(scene.host.url, socket_timeout=20)


def _say(do: list[str], undo: list[str] | None = None) -> Callable[[Scene], Undo | None]:
    def run(scene: Scene) -> Undo | None:
        with _redis(scene) as client:
            client.execute_command(*do)
        if undo is None:
            return None

        def back() -> None:
            with _redis(scene) as client:
                client.execute_command(*undo)

        return back

    return run


def _busy(scene: Scene) -> Undo:
    """A script of somebody else's that does not end."""

    def loop() -> None:
        with contextlib.suppress(redis.RedisError), _redis(scene) as client:
            client.eval("while true do end", 0)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()

    def undo() -> None:
        ends = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < ends:
            with contextlib.suppress(redis.RedisError), _redis(scene) as client:
                client.execute_command("SCRIPT", "KILL")
            thread.join(0.01)

    return undo


def _loading(scene: Scene) -> None:
    """The server reads its data again, a quarter of a millisecond for each key."""
    with _redis(scene) as client:
        client.config_set("key-load-delay", "250")
        try:
            client.execute_command("DEBUG", "RELOAD")
        finally:
            client.config_set("key-load-delay", "0")


REDIS = [
    Fault("client_kill", _say(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]), weight=4, strikes=4),
    Fault("client_pause", _say(["CLIENT", "PAUSE", "300", "ALL"]), weight=1),
    Fault("script_flush", _say(["SCRIPT", "FLUSH"]), weight=2, strikes=4),
    Fault("loading", _loading, weight=3),
    Fault("readonly", _say(["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]), weight=3, longest=1.5),
    Fault(
        "oom", _say(["CONFIG", "SET", "maxmemory", "1mb"], ["CONFIG", "SET", "maxmemory", "0"]), weight=3, longest=1.5
    ),
    Fault("busy", _busy, weight=3, longest=1.5),
    Fault(
        "noreplicas",
        _say(["CONFIG", "SET", "min-replicas-to-write", "1"], ["CONFIG", "SET", "min-replicas-to-write", "0"]),
        weight=1,
    ),
]


# MongoDB.


def _fail_point(times: int, commands: list[str], **data: Any) -> Callable[[Scene], Undo]:
    def do(scene: Scene) -> Undo:
        def arm(mode: Any) -> None:
            client: Any
            with pymongo.MongoClient(scene.host.url, appname="admin") as client:
                chosen = {"failCommands": commands, "appName": "cleanup-pipeline", **data}
                client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": chosen})

        arm({"times": times})

        def undo() -> None:
            with contextlib.suppress(PyMongoError):
                arm("off")

        return undo

    return do


_WRITES = ["delete", "update"]
_ALL = ["find", "delete", "update", "aggregate", "getMore", "insert"]
MONGO = [
    Fault("not_writable_primary", _fail_point(2, _WRITES, errorCode=10107), weight=3),
    Fault("primary_stepped_down", _fail_point(2, _ALL, errorCode=189), weight=2),
    Fault("shutdown_in_progress", _fail_point(2, _ALL, errorCode=91), weight=2),
    Fault("interrupted_at_shutdown", _fail_point(2, _ALL, errorCode=11600), weight=1),
    Fault("write_conflict", _fail_point(3, _WRITES, errorCode=112), weight=1),
    Fault("cursor_not_found", _fail_point(2, ["find", "getMore", "aggregate"], errorCode=43), weight=2),
    Fault("cursor_killed", _fail_point(2, ["find", "getMore", "aggregate"], errorCode=237), weight=2),
    Fault("closes_connection", _fail_point(2, _ALL, closeConnection=True), weight=3),
    Fault("slow_commands", _fail_point(3, _ALL, blockConnection=True, blockTimeMS=300), weight=2),
    Fault(
        "write_concern_timeout",
        _fail_point(2, _WRITES, writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"}),
        weight=4,
    ),
    Fault(
        "write_concern_no_primary",
        _fail_point(2, _WRITES, writeConcernError={"code": 91, "errmsg": "Replication is being shut down"}),
        weight=2,
    ),
]

FAULTS = {
    "postgres": [*NETWORK, *PROCESSES, *POSTGRES],
    "redis": [*NETWORK, *PROCESSES, *REDIS],
    # SecantusDB forgets what it has not yet written to disk, the writers' as well.
    "mongo": [*NETWORK, *(fault for fault in PROCESSES if not fault.rewinds), *MONGO],
}
__all__ = ["FAULTS", "Fault", "Scene", "go_on", "quiet"]
