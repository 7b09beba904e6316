"""PostgreSQL as its application sees it."""

import contextlib
from collections.abc import Mapping
from typing import Any

import psycopg

from tests.faults.bench.side import NAME, RefusedError, UnknownError, instant, seconds


class PostgresSide:
    """Table `web`; with `children`, rows of `part` refer to each record."""

    def __init__(self, url: Any, shape: str) -> None:
        self.url, self.shape = url, shape
        self._db: psycopg.Connection[Any] | None = None

    def _execute(self, query: str, values: tuple[Any, ...] = ()) -> "psycopg.Cursor[Any]":
        try:
            if self._db is None or self._db.closed:
                # Of the application: what is done to sessions by default is not done to these.
                options = "-c default_transaction_read_only=off -c lock_timeout=0 -c synchronous_commit=on"
                self._db = psycopg.connect(
                    self.url(), autocommit=True, connect_timeout=5, options=options, application_name="bench"
                )
            with self._db.transaction():
                return self._db.execute(query, values)  # type: ignore[call-overload]
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as fault:
            raise RefusedError from fault
        except psycopg.Error as fault:
            with contextlib.suppress(psycopg.Error):
                if self._db is not None:
                    self._db.close()
            raise UnknownError(str(fault)) from fault

    def make(self) -> None:
        self._execute("DROP TABLE IF EXISTS part; DROP TABLE IF EXISTS web")
        self._execute("CREATE TABLE web (id text PRIMARY KEY, e timestamptz)")
        if self.shape == "walk":
            self._execute("CREATE INDEX web_e ON web (e)")
        self._execute("CREATE TABLE part (web text NOT NULL REFERENCES web (id), n int)")
        self._execute("CREATE INDEX ON part (web)")

    def create(self, name: str, expiry: float | None) -> bool:
        return (
            self._execute("INSERT INTO web VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, instant(expiry))).rowcount
            > 0
        )

    def change(self, name: str, expiry: float | None) -> bool:
        return self._execute("UPDATE web SET e = %s WHERE id = %s", (instant(expiry), name)).rowcount > 0

    def delete(self, name: str) -> bool:
        if self.shape != "children":
            return self._execute("DELETE FROM web WHERE id = %s", (name,)).rowcount > 0
        text = "WITH p AS (DELETE FROM part WHERE web = %s) DELETE FROM web WHERE id = %s"
        return self._execute(text, (name, name)).rowcount > 0

    def read(self, name: str) -> tuple[bool, float | None]:
        row = self._execute("SELECT e FROM web WHERE id = %s", (name,)).fetchone()
        return row is not None, seconds(row[0]) if row else None

    def fill(self, records: Mapping[str, float | None]) -> None:
        names, dies = list(records), [instant(value) for value in records.values()]
        self._execute("INSERT INTO web SELECT * FROM unnest(%s::text[], %s::timestamptz[])", (names, dies))
        if self.shape == "children":
            self._execute("INSERT INTO part SELECT id, n FROM unnest(%s::text[]) id, generate_series(1, 2) n", (names,))

    def all(self) -> dict[str, float | None]:
        return {name: seconds(dies) for name, dies in self._execute("SELECT id, e FROM web").fetchall()}

    def half_done(self) -> int:
        """Records of which some rows that refer to them are gone and others are not."""
        if self.shape != "children":
            return 0
        row = self._execute(
            "SELECT count(*) FROM (SELECT web FROM part GROUP BY web HAVING count(*) NOT IN (0, 2)) q"
        ).fetchone()
        return int(row[0]) if row else 0

    def leases(self) -> int:
        row = self._execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        return int(row[0]) if row else 0

    def connections(self) -> int:
        row = self._execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s", (NAME + "%",)
        ).fetchone()
        return int(row[0]) if row else 0

    def who(self) -> list[str]:
        """What the cleaner's sessions do."""
        rows = self._execute(
            "SELECT client_port, state, wait_event, left(query, 60) FROM pg_stat_activity"
            " WHERE application_name LIKE %s",
            (NAME + "%",),
        ).fetchall()
        return [str(row) for row in rows]

    def another(self) -> "PostgresSide":
        return PostgresSide(self.url, self.shape)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
