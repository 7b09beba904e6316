"""The table that the PostgreSQL benchmarks delete from, Django's own, so that every way works on the same rows.

A row is about 250 bytes. It is filled once for each case and copied for each run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from cleanup_pipeline.embedded.processes import Server
from cleanup_pipeline.embedded.servers import start_postgres

SERVER = {
    "fsync": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    # Whether autovacuum happens to run would decide the comparison.
    "autovacuum": "off",
}
"""Of the benchmarks' server: durable, and large enough for the disk not to be the only thing measured."""

TABLE = """
CREATE TABLE django_session (
    session_key varchar(40) PRIMARY KEY, session_data text NOT NULL, expire_date timestamptz NOT NULL
);
INSERT INTO django_session
    SELECT md5(n::text), repeat('x', 170), now() + (n - {dead}) * interval '100 milliseconds' - interval '1 hour'
        + CASE WHEN n > {dead} THEN interval '1 day' ELSE interval '0' END
    FROM generate_series(1, {rows}) n ORDER BY {order};
{index};
VACUUM (FREEZE, ANALYZE) django_session;
CHECKPOINT
"""
INDEX = "CREATE INDEX ON django_session (expire_date)"


@dataclass(frozen=True, slots=True)
class Case:
    """One filled table."""

    rows: int
    expired: int
    """Per cent."""
    correlated: bool
    """Whether the heap is in the order of expiry."""
    index: bool = True

    @property
    def title(self) -> str:
        order = "in the order of expiry" if self.correlated else "scattered"
        return f"{self.rows:,} rows, {self.expired} % expired, {order}{'' if self.index else ', no index on expiry'}"


class Bench:
    """A server with one filled database, of which fresh copies are made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.base = server.url.rsplit("/", 1)[0]

    @property
    def url(self) -> str:
        """The copy that a run works on."""
        return f"{self.base}/work"

    def fill(self, case: Case) -> None:
        """Make the case's table."""
        self._admin("DROP DATABASE IF EXISTS work WITH (FORCE)", "DROP DATABASE IF EXISTS filled WITH (FORCE)")
        self._admin("CREATE DATABASE filled")
        text = TABLE.format(
            rows=case.rows,
            dead=case.rows * case.expired // 100,
            order="n" if case.correlated else "random()",
            index=INDEX if case.index else "SELECT 1",
        )
        with psycopg.connect(f"{self.base}/filled", autocommit=True) as connection:
            for statement in text.split(";"):
                connection.execute(statement.encode())

    def fresh(self) -> str:
        """A new copy, and its URL."""
        self._admin(
            "DROP DATABASE IF EXISTS work WITH (FORCE)",
            "CREATE DATABASE work TEMPLATE filled STRATEGY FILE_COPY",
            "CHECKPOINT",
        )
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT count(*) FROM django_session WHERE length(session_data) = 0")
        return self.url

    def _admin(self, *statements: str) -> None:
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """A server in `folder` for as long as the block runs."""
    server = start_postgres(folder, SERVER)
    try:
        yield Bench(server)
    finally:
        server.stop()
