"""Frameworks of Node.js in PostgreSQL: what they say is alive stays, what they say is over goes."""

from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.layouts import layouts
from tests.layouts.case import clean, primary_key, targets_for
from tests.layouts.differential import compare, copy_of
from tests.layouts.node import ZONE, Record, Verdict, check, node

Presets = Mapping[str, Mapping[str, Any]]


@pytest.fixture
def new_york_url(postgres_url: str) -> str:
    """A database that is neither where its application is nor where we are."""
    name = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET TimeZone = 'America/New_York'")  # type: ignore[call-overload]
    return postgres_url


def rows(url: str, identified_by: Mapping[str, str]) -> dict[Record, tuple[str, str]]:
    """Every row of every table, and by which transaction it was written."""
    found: dict[Record, tuple[str, str]] = {}
    with psycopg.connect(url, autocommit=True) as db:
        tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            columns = [identified_by[table]] if table in identified_by else primary_key(db, f'"{table}"')
            key = " || ' ' || ".join(f'"{column}"::text' for column in columns)
            query = f'SELECT {key}, xmin::text, t::text FROM "{table}" t'
            found |= {(table, row[0]): (row[1], row[2]) for row in db.execute(query)}  # type: ignore[call-overload]
    return found


def judged(url: str, script: str, presets: Presets, identified_by: Mapping[str, str], *arguments: str) -> Verdict:
    """The framework fills a database, is asked on a copy what is alive, and our presets have the same left."""
    known = node(script, "create", url, *arguments)
    before = rows(url, identified_by)
    with copy_of(url) as copy:
        # Reading renews and removes, so it is not done where we clean.
        verdict: Verdict = node(script, "alive", copy, *arguments, known=known)
    for name, params in presets.items():
        for target, report in clean(url, targets_for(layouts()[name], params, {})).items():
            assert report.survivors == 0, target
    check(before, rows(url, identified_by), verdict)
    return verdict


def test_connect_pg_simple_and_its_own_pruning(new_york_url: str) -> None:
    node("connect_pg_simple", "create", new_york_url)
    found = compare(
        new_york_url, ["session"], lambda copy: node("connect_pg_simple", "clean", copy), {"connect-pg-simple": {}}
    )
    found.check_something_happened()
    assert found.ours == found.theirs


def test_connect_pg_simple(new_york_url: str) -> None:
    judged(new_york_url, "connect_pg_simple", {"connect-pg-simple": {}}, {})


@pytest.mark.parametrize("zone", ["UTC", ZONE])
def test_connect_pg_simple_read_in_another_zone_would_end_live_sessions(new_york_url: str, zone: str) -> None:
    with pytest.raises(AssertionError, match="gone, and should stay"):
        judged(new_york_url, "connect_pg_simple", {"connect-pg-simple": {"zone": zone}}, {})


def test_authjs_pg(new_york_url: str) -> None:
    keys = {"sessions": "sessionToken", "verification_token": "token"}
    judged(new_york_url, "authjs_pg", {"authjs-pg": {}}, keys)


def test_authjs_drizzle(new_york_url: str) -> None:
    keys = {"session": "sessionToken", "verificationToken": "token"}
    judged(new_york_url, "authjs_drizzle", {"authjs-drizzle": {}}, keys)
