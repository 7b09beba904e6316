"""Leases in PostgreSQL: advisory locks on the very session that deletes, so that a lost connection is a lost lease.

A session holds the target (one lock, by its run) and, if it keeps to one, a window of it (another). All locks are
shared; who excludes whom is decided by looking at those of others, one session at a time behind a gate. A cleaner that
was paused for longer than its lease finds its session ended by the server (idle_session_timeout, PostgreSQL 14).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from time import monotonic

import psycopg
from psycopg import errors

from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import LeaseLostError, lease_lost
from cleanup_pipeline.stores.postgres.connect import Connection, Connections
from cleanup_pipeline.stores.postgres.faults import translated
from cleanup_pipeline.stores.postgres.statements import statement

LOOKS_AGAIN = 3
LOOK_SECONDS = 0.05
FREED_SECONDS = 3.0
"""How long a target that was freed by hand is kept from its former holders, which would connect again at once."""
_FIRST_WITH_IDLE_TIMEOUT = 140_000


@dataclass(slots=True)
class _Session:
    connection: Connection
    lasting: float
    """Seconds of silence after which the server ends it."""
    used: float
    """By time.monotonic(), which goes on while a process is stopped."""


class SessionLeases:
    """The leases that one store holds."""

    def __init__(self, connections: Connections, lasting: timedelta) -> None:
        self._connections = connections
        self._lasting = lasting
        self._sessions: dict[tuple[str, str], _Session] = {}

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        """`Leases.acquire`. The lease has no end of its own."""
        key = (target.lease_key, lease.token)
        held = self._sessions.get(key)
        if held is not None and not held.connection.closed:
            return lease
        # A drop of a partition has a session of its own, during which this one is idle.
        lasting = self._lasting + (target.operation_timeout if target.drop_partitions else timedelta(0))
        connection = self._connections.open(f"@{lease.host}", target)
        try:
            with translated(self._connections.config, target), self._connections.watched(connection, timedelta(0)):
                in_the_way = _take(connection, target, lease)
                if in_the_way is None and connection.info.server_version >= _FIRST_WITH_IDLE_TIMEOUT:
                    milliseconds = f"{lasting // timedelta(milliseconds=1)}ms"
                    connection.execute("SELECT set_config('idle_session_timeout', %s, false)", (milliseconds,))
        except BaseException:
            connection.close()
            raise
        if in_the_way is not None:
            connection.close()
            return in_the_way
        self._sessions[key] = _Session(connection, lasting.total_seconds(), monotonic())
        return lease

    @contextmanager
    def session(self, target: Target, lease: Lease) -> Iterator[Connection]:
        """The session that holds the lease, for a batch. Raises LeaseLostError, and the protocol's faults."""
        held = self._sessions.get((target.lease_key, lease.token))
        if held is None or monotonic() - held.used > held.lasting:
            raise self._lost(target, lease)
        if held.connection.closed:
            # The server was away for a moment. Nobody else has come meanwhile, or this ends here.
            if isinstance(self.acquire(target, lease), Holder):
                raise self._lost(target, lease)
            held = self._sessions[(target.lease_key, lease.token)]
        with translated(self._connections.config, target):
            try:
                with self._connections.watched(held.connection, timedelta(0)):
                    yield held.connection
                    # psycopg ends a pipeline with a Flush behind its Sync, and after that the server no longer counts
                    # how long the session is idle: a cleaner that is stopped right here would hold on for ever.
                    held.connection.execute("SELECT 1")
            except errors.IdleSessionTimeout:
                raise self._lost(target, lease) from None
            except errors.ReadOnlySqlTransaction:
                # A server that a failover demoted stays so: the next try connects to whoever is the primary by then.
                held.connection.close()
                raise
        held.used = monotonic()

    def _lost(self, target: Target, lease: Lease) -> LeaseLostError:
        self.release(target, lease)
        return lease_lost(target)

    def renew(self, target: Target, lease: Lease) -> Lease:
        """`Leases.renew`: keeps the server from ending the session."""
        with self.session(target, lease):
            return lease

    def release(self, target: Target, lease: Lease) -> None:
        """`Leases.release`."""
        held = self._sessions.pop((target.lease_key, lease.token), None)
        if held is not None:
            self._give_back(held)

    @staticmethod
    def _give_back(held: _Session) -> None:
        # The server ends a session some time after its connection is closed; until then the locks would be there.
        with suppress(psycopg.Error):
            held.connection.execute("SELECT pg_advisory_unlock_all()")
        held.connection.close()

    def holders(self, target: Target) -> list[Holder]:
        """`Leases.holders`."""
        with self._connections.use(target) as connection:
            return [_holder(connection, pid, window) for pid, _, window in _others(connection, target)]

    def free(self, target: Target) -> int:
        """`Leases.free`: ends the sessions, and keeps them from coming back at once."""
        runs, _, gate = _classes(target)
        connection = self._connections.open("", target)
        with translated(self._connections.config, target), connection:
            connection.execute(statement("lease_gate"), {"gate": gate})
            pids = [pid for pid, _, _ in _others(connection, target)]
            for pid in pids:
                connection.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))
            connection.execute(statement("lease_take"), {"runs": runs, "run": _number("freed by hand")})
            connection.execute(statement("lease_open_gate"), {"gate": gate})
            if pids:
                time.sleep(FREED_SECONDS)
        return len(pids)

    def close(self) -> None:
        """Give every lease back."""
        while self._sessions:
            _, held = self._sessions.popitem()
            self._give_back(held)


def _take(connection: Connection, target: Target, lease: Lease) -> Holder | None:
    """Take the locks, or say who is in the way."""
    runs, windows, gate = _classes(target)
    run, window = _number(lease.run), _number(lease.window) if lease.window else None
    connection.execute(statement("lease_gate"), {"gate": gate})
    try:
        in_the_way = _in_the_way(connection, target, run, window)
        # A session that gives its locks back loses one after the other: for a moment it seems to hold all windows.
        for _ in range(LOOKS_AGAIN):
            if in_the_way is None or window is None or in_the_way[1] is not None:
                break
            time.sleep(LOOK_SECONDS)
            in_the_way = _in_the_way(connection, target, run, window)
        if in_the_way is not None:
            return _holder(connection, *in_the_way)
        connection.execute(statement("lease_take"), {"runs": runs, "run": run})
        if window is not None:
            connection.execute(statement("lease_take_window"), {"windows": windows, "window": window})
        return None
    finally:
        if not connection.closed:
            connection.execute(statement("lease_open_gate"), {"gate": gate})


def _in_the_way(connection: Connection, target: Target, run: int, window: int | None) -> tuple[int, int | None] | None:
    """Pid and window of a session that does not share the target with this run and window."""
    for pid, its_run, its_window in _others(connection, target):
        shares = its_run == run & _MASK or (
            window is not None and its_window is not None and its_window != window & _MASK
        )
        if not shares:
            return pid, its_window
    return None


def _others(connection: Connection, target: Target) -> list[tuple[int, int, int | None]]:
    """Pid, run and window of each session that holds the target."""
    runs, windows, _ = _classes(target)
    rows = connection.execute(statement("lease_holders"), {"runs": runs, "windows": windows}).fetchall()
    return [(pid, run, window) for pid, run, window in rows]


def _holder(connection: Connection, pid: int, window: int | None) -> Holder:
    try:
        row = connection.execute(statement("lease_session"), {"pid": pid}).fetchone()
    except errors.InsufficientPrivilege:
        row = None
    name, since = row or ("", None)
    return Holder((name or "").partition("@")[2], since, window=str(window or ""))


_MASK = 0xFFFFFFFF


def _classes(target: Target) -> tuple[int, int, int]:
    """The classes of locks for runs and for windows of a target, and its gate."""
    place = f"cleanup-pipeline/{target.lease_key}"
    return _number(f"{place}/runs"), _number(f"{place}/windows"), _number(f"{place}/gate", 8)


def _number(text: str, size: int = 4) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:size], signed=True)
