"""A ledger into one file, and back: also from SQLite to PostgreSQL, for whoever outgrows a file.

A backup is itself a ledger in SQLite. Passes may go on while one is made: it shows one instant. Does not belong here:
Dagster's own history.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.engine import make_url

from cleanup_pipeline.ledger import plan_tables as plan_tables  # its tables are among those that are copied
from cleanup_pipeline.ledger.connect import LedgerError, Place, place_of
from cleanup_pipeline.ledger.ledger import open_ledger
from cleanup_pipeline.ledger.migrate import HEAD, version_of
from cleanup_pipeline.ledger.tables import VERSION_TABLE, metadata, passes

CHUNK = 1000
"""Rows that are held in memory at once."""
_STATEMENT_SECONDS = 60
_WRONG = "is no backup of a ledger"


@dataclass(frozen=True, slots=True)
class Copied:
    """What is in a backup, or was put back."""

    passes: int
    rows: int
    """Of all tables."""
    size: int
    """Of the file, in bytes."""


def back_up(url: str, file: Path) -> Copied:
    """Write the ledger at a URL to a file that does not exist yet, for its owner's eyes. Changes nothing in the ledger.

    Raises LedgerError: also where there is no ledger, and for one in PostgreSQL of another version.
    """
    if file.exists():
        raise LedgerError(f"{file} exists; name a file that does not")
    place = place_at(url)
    try:
        with _beside(file) as made:
            if place.engine.dialect.name == "sqlite":
                _vacuum(Path(str(place.engine.url.database)), made)
            else:
                _from_server(place, made)
            copied = _count(made)
            made.replace(file)
    except (OSError, sqlite3.Error) as fault:
        raise LedgerError(f"{file} cannot be written ({fault})") from None
    finally:
        place.engine.dispose()
    return copied


def restore(file: Path, url: str) -> Copied:
    """Put a backup into the ledger at a URL, which has to be empty, all of it or nothing.

    A backup of an older version is brought up to this one's on the way. Raises LedgerError: also for a newer one.
    """
    with tempfile.TemporaryDirectory(prefix="cleanup-ledger-") as folder:
        made = Path(folder) / "ledger.db"
        try:
            shutil.copyfile(file, made)
            _check(file, made)
        except OSError as fault:
            raise LedgerError(f"{file}: cannot be read ({fault.strerror or type(fault).__name__})") from None
        except sqlite3.Error as fault:
            raise LedgerError(f"{file} {_WRONG} ({fault})") from None
        source = open_ledger(f"sqlite:///{made}")
        try:
            target = open_ledger(url)
            try:
                with source.place.reading() as old, target.place.writing() as new:
                    _patience(new)
                    _refuse_unless_empty(new, target.place)
                    _copy(old, new)
            finally:
                target.close()
        finally:
            source.close()
        return _count(made)


def place_at(url: str) -> Place:
    """The place of a ledger that is there already. Raises LedgerError."""
    named = make_url(url) if url.startswith("sqlite") else None
    # To look at a file that is not there would make it.
    if named is not None and not (named.database and Path(named.database).is_file()):
        raise LedgerError(f"there is no ledger at {url.removeprefix('sqlite:///')}")
    return place_of(url)


def _vacuum(source: Path, file: Path) -> None:
    with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("VACUUM INTO ?", (str(file),))


def _from_server(place: Place, file: Path) -> None:
    with place.reading() as connection:
        # Before anything else is asked: one snapshot for all tables.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        _patience(connection)
        found = version_of(connection)
        if found != HEAD:
            told = "there is no ledger" if found is None else f"the ledger has version {found}, this program {HEAD}"
            raise LedgerError(f"{place.shown}: {told}; back up with the version that wrote it, or by pg_dump")
        made = open_ledger(f"sqlite:///{file}")
        try:
            with made.place.writing() as new:
                _copy(connection, new)
        finally:
            made.close()
    with closing(sqlite3.connect(file)) as connection:
        # All in one file.
        connection.execute("PRAGMA journal_mode=DELETE")


def _patience(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'"))


def _copy(old: Connection, new: Connection) -> None:
    streaming = old.execution_options(stream_results=True, yield_per=CHUNK)
    for table in metadata.sorted_tables:
        for part in streaming.execute(select(table)).mappings().partitions():
            new.execute(insert(table), [dict(row) for row in part])


def _refuse_unless_empty(connection: Connection, place: Place) -> None:
    full = [
        table.name
        for table in metadata.sorted_tables
        if connection.execute(select(table.primary_key.columns[0]).limit(1)).first() is not None
    ]
    if full:
        raise LedgerError(
            f"the ledger at {place.shown} is not empty ({', '.join(full)}); stop what writes to it, and move the file"
            " away or drop its tables named cleanup_..."
        )


def _check(named: Path, file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (told,) = connection.execute("PRAGMA quick_check").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if told != "ok" or not {VERSION_TABLE, passes.name} <= tables:
        raise LedgerError(f"{named} {_WRONG} ({told if told != 'ok' else 'it has no such tables'})")


def _count(file: Path) -> Copied:
    place = place_of(f"sqlite:///{file}")
    try:
        with place.reading() as connection:
            there = {name for (name,) in connection.execute(text("SELECT name FROM sqlite_master"))}
            tables = [table for table in metadata.sorted_tables if table.name in there]
            counts = {t.name: connection.execute(select(func.count()).select_from(t)).scalar_one() for t in tables}
    finally:
        place.engine.dispose()
    with closing(sqlite3.connect(file)) as plain:
        plain.execute("PRAGMA journal_mode=DELETE")
    return Copied(counts[passes.name], sum(counts.values()), file.stat().st_size)


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """A new name in a folder of its own beside `file`, so that nobody finds half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    old = os.umask(0o077)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            yield Path(folder) / "ledger.db"
    finally:
        os.umask(old)
