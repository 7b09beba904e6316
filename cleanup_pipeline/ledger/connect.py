"""From a URL to an engine: SQLite in a file, or PostgreSQL. Does not belong here: tables (tables.py, migrate.py)."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import SQLITE_BUSY, OperationalError
from sqlite3 import Connection as SqliteConnection
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.pool import StaticPool
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from cleanup_pipeline.ledger.database import LEDGER_VARIABLE, place_variable
from cleanup_pipeline.ledger.faults import LedgerError as LedgerError
from cleanup_pipeline.ledger.faults import RefusedError as RefusedError

SETTING = LEDGER_VARIABLE
PATIENCE_SECONDS = 5
"""How long a statement, a lock, or a connection may take."""
LONGEST_LINE = 300

_NO_URL = (
    "{setting}: this is no URL; write sqlite:///FILE or postgresql://USER@HOST/DATABASE,"
    " with special characters of a password as %XX"
)
_WRITING = "cleanup_writing"


@dataclass(frozen=True, slots=True)
class Place:
    """A place for a ledger: an engine that has not connected yet, and how to speak of it."""

    engine: Engine = field(repr=False)
    shown: str
    """Without user and password."""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only looks. Raises LedgerError."""
        with self._faults("used"), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that has the right to write from its beginning. Raises LedgerError."""
        with self._faults("written"), self.engine.execution_options(**{_WRITING: True}).begin() as connection:
            yield connection

    @contextmanager
    def _faults(self, done: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as fault:
            if _is_refusal(fault):
                told = f"{place_variable()}: the ledger at {self.shown} refused a value ({self.line(fault)})"
                raise RefusedError(told) from None
            raise self.error(done, fault) from None

    def error(self, done: str, fault: Exception) -> LedgerError:
        """What to say when the place could not be `done` (a participle)."""
        return LedgerError(
            f"{place_variable()}: the ledger at {self.shown} cannot be {done} ({self.line(fault)});"
            " correct the URL, or see to it that the place can be reached and written"
        )

    def line(self, fault: Exception) -> str:
        """What went wrong, on one line and without the password."""
        line = one_line(str(getattr(fault, "orig", None) or fault)) or type(fault).__name__
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line[:LONGEST_LINE]


def _is_refusal(fault: Exception) -> bool:
    # A StatementError that is none of the driver's is about a value that never got as far as the database.
    of_driver = isinstance(fault, DBAPIError)
    return isinstance(fault, DataError | IntegrityError) or (isinstance(fault, StatementError) and not of_driver)


def one_line(words: str) -> str:
    """The same on one line."""
    return " ".join(words.split())


def place_of(url: str) -> Place:
    """The place that a URL names; nothing is connected yet.

    Raises LedgerError for what is no URL of SQLite or PostgreSQL, and where a folder or file cannot be made.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerError(_NO_URL.format(setting=place_variable())) from None
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed)
        case "postgresql":
            return _postgres(parsed)
        case other:
            raise LedgerError(
                f"{place_variable()}: found {other}, expected sqlite or postgresql; write sqlite:///FILE or postgresql://..."
            )


def _postgres(url: URL) -> Place:
    passwords = [url.password, *(value for key, value in url.normalized_query.items() if key == "password")]
    words = {word for each in passwords if each for word in ([each] if isinstance(each, str) else each)}
    secrets = {form for word in words for form in (word, quote(word, safe=""), quote_plus(word))}
    timeout = f"{PATIENCE_SECONDS}s"
    # The driver is only imported where it is used.
    from cleanup_pipeline.stores.postgres.tls import tls_arguments

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={
            **tls_arguments(plain),
            "connect_timeout": PATIENCE_SECONDS,
            "application_name": "cleanup-pipeline",
            "options": f"-c statement_timeout={timeout} -c lock_timeout={timeout}",
        },
        pool_size=1,
        max_overflow=1,
        pool_timeout=PATIENCE_SECONDS,
        pool_pre_ping=True,
    )
    shown = f"postgresql://{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"
    return Place(engine, shown, tuple(sorted(secrets, key=len, reverse=True)))


def _sqlite(url: URL) -> Place:
    url = url.set(drivername="sqlite+pysqlite")
    file = None if url.database in {None, "", ":memory:"} else Path(str(url.database))
    shown = f"sqlite:///{file or ''}"
    arguments = {"timeout": PATIENCE_SECONDS, "check_same_thread": False}
    engine = (
        create_engine(url, connect_args=arguments)
        if file
        else create_engine(url, connect_args=arguments, poolclass=StaticPool)
    )
    place = Place(engine, shown)
    try:
        if file is not None:
            _make_private(file)
    except OSError as fault:
        raise place.error("used", fault) from None
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return place


def _make_private(file: Path) -> None:
    """Make the file where there is none. One that is there is never opened by anything but SQLite: closing it again
    would drop every lock that this process has on it (sqlite.org/howtocorrupt.html, 2.2), and another process that ends
    would take the journal away under the connections that are open here."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file.exists():
        return
    made, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(made)
    try:
        # Whole and closed before anybody can find it.
        with suppress(FileExistsError):
            file.hardlink_to(name)
    finally:
        Path(name).unlink()


def _prepare(connection: SqliteConnection, _: object) -> None:
    # The driver begins no transaction by itself: `_begin` says which kind.
    connection.isolation_level = None
    # Changing a new file over to WAL does not wait for others who do the same.
    for attempt in Retrying(
        retry=retry_if_exception(_is_busy),
        stop=stop_after_delay(PATIENCE_SECONDS),
        wait=wait_random(0.01, 0.05),
        reraise=True,
    ):
        with attempt:
            connection.execute("PRAGMA journal_mode=WAL")
    # With WAL this loses the last writes when the power goes, and none when a process is killed.
    connection.execute("PRAGMA synchronous=NORMAL")


def _is_busy(fault: BaseException) -> bool:
    return isinstance(fault, OperationalError) and fault.sqlite_errorcode == SQLITE_BUSY


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote in between.
    writing = connection.get_execution_options().get(_WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
