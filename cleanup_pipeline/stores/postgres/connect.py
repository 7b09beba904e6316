"""Connections of the cleaner's own: few, named, bounded in time, and never holding a transaction across a pause."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.postgres.faults import connect_fault, translated

Connection = psycopg.Connection[tuple[Any, ...]]

SILENCE_SECONDS = 5.0
"""How much longer than its own limits a server may stay silent before its connection is cut."""

# The pool logs each failed attempt; the engine decides what is an error, and reports it once.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


def _session_settings(config: StoreConfig) -> dict[str, str]:
    return {
        "statement_timeout": f"{int(config.statement_timeout.total_seconds() * 1000)}ms",
        "lock_timeout": f"{int(config.lock_timeout.total_seconds() * 1000)}ms",
        "idle_in_transaction_session_timeout": "10s",
        # A crash may lose the last commits; the next pass deletes those rows again. Not waiting for the disk is what
        # lets small transactions run at the speed of a big one (docs/decisions/0003-postgres-deletes.md).
        "synchronous_commit": "off",
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
        "TimeZone": "UTC",
        # Text that is read back (cursors, the oldest expiry) must not depend on the role's or the database's settings.
        "DateStyle": "ISO, YMD",
    }


class Connections:
    """A pool that opens on first use and says why it could not."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._pool: ConnectionPool[Connection] | None = None

    @contextmanager
    def use(self, target: Target | None = None, at_most: timedelta = timedelta(0)) -> Iterator[Connection]:
        """A connection in autocommit mode: each statement is its own transaction.

        `at_most` is how long a statement may take where that is more than statement_timeout.

        Raises UnavailableError or StoreError when there is none to be had, and the protocol's faults for whatever
        goes wrong inside.
        """
        pool = self._open()
        with translated(self.config, target), pool.connection() as connection, self._patience(connection, at_most):
            yield connection

    @contextmanager
    def _patience(self, connection: Connection, at_most: timedelta) -> Iterator[None]:
        # The server ends a slow statement by itself. Against one that no longer answers at all only our own clock
        # helps; shutting the socket down wakes the thread that waits on it.
        longest = max(at_most, self.config.statement_timeout + self.config.lock_timeout)
        seconds = longest.total_seconds() + SILENCE_SECONDS
        handle = os.dup(connection.pgconn.socket)
        wire = socket.socket(fileno=handle)
        watchdog = threading.Timer(seconds, wire.shutdown, (socket.SHUT_RDWR,))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()
            wire.close()

    def _open(self) -> ConnectionPool[Connection]:
        if self._pool is None:
            pool: ConnectionPool[Connection] = ConnectionPool(
                self.config.url,
                min_size=0,
                max_size=self.config.pool_size,
                open=False,
                timeout=self.config.connect_timeout.total_seconds(),
                reconnect_timeout=self.config.connect_timeout.total_seconds(),
                check=ConnectionPool.check_connection,
                kwargs=self._arguments(),
                name=f"cleanup-{self.config.name}",
            )
            # The pool's own time-out does not say why; a first connection by hand does.
            try:
                psycopg.connect(self.config.url, **self._arguments()).close()
            except psycopg.Error as fault:
                raise connect_fault(fault, self.config) from None
            pool.open()
            self._pool = pool
        return self._pool

    def _arguments(self) -> dict[str, Any]:
        settings = [
            f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in _session_settings(self.config).items()
        ]
        return {
            "autocommit": True,
            "connect_timeout": max(2, int(self.config.connect_timeout.total_seconds())),
            "application_name": self.config.application_name,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            # As startup options, and never by SET: behind a pooler in transaction mode a SET would stay on the server's
            # connection and be found there by the application. Such a pooler refuses options; this says so.
            "options": " ".join([self._own_options(), *settings]).strip(),
        }

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
