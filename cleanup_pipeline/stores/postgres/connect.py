"""Connections of the cleaner's own: few, named, bounded in time, and never holding a transaction across a pause."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from traceback import clear_frames
from typing import Any, Self
from weakref import WeakKeyDictionary

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.postgres.faults import connect_fault, translated
from cleanup_pipeline.stores.postgres.tls import tls_arguments
from cleanup_pipeline.stores.postgres.watchdog import Watchdog

Connection = psycopg.Connection[tuple[Any, ...]]

SILENCE_SECONDS = 5.0
"""How much longer than its own limits a server may stay silent before its connection is cut."""
RESTED_SECONDS = 1.0
"""A connection that was not used for this long is asked whether it still answers."""

# The pool logs each failed attempt; the engine decides what is an error, and reports it once.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


class Closing(psycopg.Connection[tuple[Any, ...]]):
    """A connection of psycopg's whose socket is closed at once when it could not be made in time.

    The fault keeps the frame of `connect` alive and is kept by it, and with both the half-made connection, until Python
    happens to collect garbage: a process that only waits held one for each attempt, and each a place at the server.
    """

    @classmethod
    def connect(cls, conninfo: str = "", **more: Any) -> Self:
        """Raises psycopg.Error as psycopg does."""
        try:
            return super().connect(conninfo, **more)
        except psycopg.Error as fault:
            clear_frames(fault.__traceback__)
            raise


def _session_settings(config: StoreConfig) -> dict[str, str]:
    return {
        "statement_timeout": f"{int(config.statement_timeout.total_seconds() * 1000)}ms",
        "lock_timeout": f"{int(config.lock_timeout.total_seconds() * 1000)}ms",
        "idle_in_transaction_session_timeout": "10s",
        # A machine or network that dies in the middle of a batch says nothing, and no timeout of the server's counts
        # while it waits for the rest of a pipeline: the rows would stay locked for the two hours that TCP waits.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        # A crash may lose the last commits; the next pass deletes those rows again. Not waiting for the disk is what
        # lets small transactions run at the speed of a big one (docs/decisions/0003-postgres-deletes.md).
        "synchronous_commit": "off",
        # To estimate how much lies below a constant, the planner looks for the lowest entry of the index that is not
        # dead: after a few million deletions that takes 20 ms for each batch. A generic plan has no constants.
        "plan_cache_mode": "force_generic_plan",
        # Under another level of the role or the database, a row that a login renews would fail the batch.
        "default_transaction_isolation": "read committed",
        "max_parallel_workers_per_gather": "0",
        # A batch reads a few dozen blocks. PostgreSQL 18 hands each read to another process, which takes longer than
        # the read itself and halves the speed of a sweep (docs/benchmarks.md); older versions look at it for bitmaps.
        "effective_io_concurrency": "0",
        "jit": "off",
        "TimeZone": "UTC",
        # Text that is read back (cursors, the oldest expiry) must not depend on the role's or the database's settings.
        "DateStyle": "ISO, YMD",
        # And a row that is written down as text has to come back as it was.
        "extra_float_digits": "1",
        "IntervalStyle": "postgres",
    }


class Connections:
    """A pool that opens on first use and says why it could not."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._pool: ConnectionPool[Connection] | None = None
        self._watchdog = Watchdog()
        self._used: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()

    @contextmanager
    def use(self, target: Target | None = None, at_most: timedelta = timedelta(0)) -> Iterator[Connection]:
        """A connection in autocommit mode: each statement is its own transaction.

        `at_most` is how long a statement may take where that is more than statement_timeout.

        Raises UnavailableError or StoreError when there is none to be had, and the protocol's faults for whatever
        goes wrong inside.
        """
        pool = self._open()
        with translated(self.config, target), pool.connection() as connection, self.watched(connection, at_most):
            yield connection

    @contextmanager
    def own(self, target: Target, at_most: timedelta, changed: Mapping[str, str]) -> Iterator[Connection]:
        """A connection for one long statement, which may take `at_most`, under other settings of the session.

        Raises as `use` does.
        """
        limit = f"{max(1, int(at_most.total_seconds() * 1000))}ms"
        with translated(self.config, target):
            connection = self._connect({"statement_timeout": limit, **changed})
            with connection, self.watched(connection, at_most):
                yield connection

    @contextmanager
    def unpinned(self, target: Target, setting: str) -> Iterator[Connection]:
        """A connection for which one setting of the session is as an application's would be. Raises as `use` does."""
        with translated(self.config, target):
            connection = self._connect({}, options=self._options({}, without=setting))
            with connection, self.watched(connection, timedelta(0)):
                yield connection

    def open(self, suffix: str, target: Target) -> Connection:
        """A connection that outlives a batch and is closed by whoever asked for it; `suffix` of its name."""
        with translated(self.config, target):
            # NAMEDATALEN: the server would cut the name off with a notice.
            return self._connect({}, application_name=f"{self.config.application_name}{suffix}"[:63])

    def _connect(self, changed: Mapping[str, str], **more: str) -> Connection:
        try:
            made: Connection = Closing.connect(self.config.url, **{**self.arguments(changed), **more})
        except psycopg.Error as fault:
            raise connect_fault(fault, self.config) from None
        return made

    @contextmanager
    def watched(self, connection: Connection, at_most: timedelta) -> Iterator[None]:
        """Cut the connection when its server stays silent for longer than its own limits, or `at_most`, allow."""
        # The server ends a slow statement by itself. Against one that no longer answers at all only our own clock
        # helps; shutting the socket down wakes the thread that waits on it.
        longest = max(at_most, self.config.statement_timeout + self.config.lock_timeout)
        with self._watchdog.over(connection.pgconn.socket, longest.total_seconds() + SILENCE_SECONDS):
            yield
        self._used[connection] = monotonic()

    def _alive(self, connection: Connection) -> None:
        # Asking before each batch would be a round trip more; a connection that just answered is there.
        if monotonic() - self._used.get(connection, 0.0) > RESTED_SECONDS:
            ConnectionPool.check_connection(connection)

    def _open(self) -> ConnectionPool[Connection]:
        if self._pool is None:
            pool: ConnectionPool[Connection] = ConnectionPool(
                self.config.url,
                connection_class=Closing,
                min_size=0,
                max_size=self.config.pool_size,
                open=False,
                timeout=self.config.connect_timeout.total_seconds(),
                reconnect_timeout=self.config.connect_timeout.total_seconds(),
                check=self._alive,
                kwargs=self.arguments(),
                name=f"cleanup-{self.config.name}",
            )
            # The pool's own time-out does not say why; a first connection by hand does.
            try:
                Closing.connect(self.config.url, **self.arguments()).close()
            except psycopg.Error as fault:
                raise connect_fault(fault, self.config) from None
            pool.open()
            self._pool = pool
        return self._pool

    def arguments(self, changed: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What psycopg.connect() takes besides the URL; `changed` are other settings of the session."""
        return {
            "autocommit": True,
            **tls_arguments(self.config.url),
            "connect_timeout": max(2, int(self.config.connect_timeout.total_seconds())),
            "application_name": self.config.application_name,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            # As startup options, and never by SET: behind a pooler in transaction mode a SET would stay on the server's
            # connection and be found there by the application. Such a pooler refuses options; this says so.
            "options": self._options(changed or {}),
        }

    def _options(self, changed: Mapping[str, str], without: str | None = None) -> str:
        wanted = _session_settings(self.config) | dict(changed)
        wanted.pop(without or "", None)
        settings = [f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in wanted.items()]
        return " ".join([self._own_options(), *settings]).strip()

    def _own_options(self) -> str:
        try:
            return str(conninfo_to_dict(self.config.url).get("options") or "")
        except psycopg.ProgrammingError:
            return ""

    def close(self) -> None:
        """Close every connection. Safe to call twice."""
        if self._pool is not None:
            self._pool.close(timeout=2)
            self._pool = None
        self._watchdog.close()
