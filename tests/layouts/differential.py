"""Our cleaner beside a framework's own, on two copies of one database that the framework itself filled."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import StoreType
from tests.layouts.case import Key, clean, left, targets_for
from tests.layouts.init_places import look

FRAMEWORKS = Path(__file__).parent / "frameworks"


def python_of(*modules: str) -> str:
    """An interpreter that has these modules: that of `make test-layouts`, or our own. Skips where none has them."""
    folder = os.environ.get("CLEANUP_LAYOUTS")
    program = str(Path(folder) / "bin" / "python") if folder else sys.executable
    found = subprocess.run([program, "-c", f"import {', '.join(modules)}"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"{', '.join(modules)} not installed: make test-layouts")
    return program


def run(program: str, script: str, *arguments: str, path: str | None = None) -> str:
    """What the framework's program prints."""
    environment = {**os.environ, **({"PYTHONPATH": path} if path else {}), "TZ": "Asia/Kathmandu"}
    command = [program, "-W", "ignore", str(FRAMEWORKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextmanager
def copy_of(url: str) -> Iterator[str]:
    """Another database with the same content."""
    base, name = url.rsplit("/", 1)
    copy = f"copy_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {copy} TEMPLATE {name}")  # type: ignore[call-overload]
        # A template hands on its content, not its settings: the copy would be in another time zone.
        query = """
            SELECT split_part(setting, '=', 1), split_part(setting, '=', 2)
            FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) setting
            WHERE d.datname = %s AND setrole = 0"""
        for setting, value in connection.execute(query, (name,)).fetchall():
            connection.execute(f"ALTER DATABASE {copy} SET {setting} = '{value}'")  # type: ignore[call-overload]
        yield f"{base}/{copy}"
        connection.execute(f"DROP DATABASE {copy} WITH (FORCE)")  # type: ignore[call-overload]


@dataclass(frozen=True)
class Compared:
    """Rows by table and primary key."""

    before: Mapping[Key, Mapping[str, Any]]
    theirs: Mapping[Key, Mapping[str, Any]]
    ours: Mapping[Key, Mapping[str, Any]]

    @property
    def only_they_keep(self) -> set[Key]:
        return set(self.theirs) - set(self.ours)

    @property
    def only_we_keep(self) -> set[Key]:
        return set(self.ours) - set(self.theirs)

    def tables(self, rows: set[Key]) -> set[str]:
        return {table for table, _ in rows}

    def check_something_happened(self) -> None:
        """A comparison of two cleaners that did nothing, or left nothing, proves nothing."""
        for kept in (self.theirs, self.ours):
            assert 0 < len(kept) < len(self.before)


def compare(
    url: str,
    tables: Sequence[str],
    their_cleaner: Any,
    presets: Mapping[str, Mapping[str, Any]],
) -> Compared:
    """`their_cleaner` is given the URL of a copy, our presets, with their parameters, take the database itself."""
    with copy_of(url) as copy:
        before = _rows(url, tables)
        their_cleaner(copy)
        theirs = _rows(copy, tables)
    # Django's applications come with its own sessions.
    django = {"django-sessions"} if "django_session" in _names(url) else set()
    assert look(StoreType.POSTGRES, url).names == set(presets) | django
    for name, params in presets.items():
        for target, report in clean(url, targets_for(layouts()[name], params, {})).items():
            assert report.survivors == 0, target
    ours = _rows(url, tables)
    if ours != theirs:
        may_differ(presets)
    return Compared(before, theirs, ours)


def may_differ(presets: Iterable[str]) -> None:
    """Fails for presets of which none says that it goes or keeps otherwise than its framework."""
    said = [sentence for name in presets for sentence in layouts()[name].differs]
    assert said, f"it differs, and no file of {', '.join(presets)} says so under `differs`"


def _names(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r'")}


def _rows(url: str, tables: Sequence[str]) -> dict[Key, dict[str, Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return left(connection, tables)
