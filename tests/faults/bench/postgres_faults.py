"""What PostgreSQL does to its clients."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from tests.faults.bench.fault import Fault, Scene, Undo


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
