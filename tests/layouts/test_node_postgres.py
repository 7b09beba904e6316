"""Frameworks of Node.js in PostgreSQL: what they say is alive stays, what they say is over goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from tests.layouts.case import primary_key
from tests.layouts.differential import compare, copy_of, may_differ
from tests.layouts.node import ZONE, Presets, Record, Verdict, check, installed, needs, node, pass_over

pytestmark = installed


@pytest.fixture
def new_york_url(postgres_url: str) -> str:
    """A database that is neither where its application is nor where we are."""
    name = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET TimeZone = 'America/New_York'")  # type: ignore[call-overload]
    return postgres_url


@dataclass(frozen=True)
class Looked:
    """How the rows of a database are looked at."""

    identified_by: Mapping[str, str] = field(default_factory=dict)
    """The column by which a framework speaks of the rows of a table; the primary key elsewhere."""
    forgets: Mapping[str, str] = field(default_factory=dict)
    """A column of a table that its own foreign key sets to null."""
    held: Mapping[str, str] = field(default_factory=dict)
    """A condition on the rows of a table that are not accepted, and have to stay all the same."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Other names that columns have, by those of the preset."""


def rows(url: str, looked: Looked, where: Mapping[str, str] | None = None) -> dict[Record, tuple[str, str]]:
    """Every row of every table, or those of some tables, and by which transaction it was written."""
    found: dict[Record, tuple[str, str]] = {}
    with psycopg.connect(url, autocommit=True) as db:
        tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            if where is not None and table not in where:
                continue
            known, forgets = looked.identified_by.get(table), looked.forgets.get(table, "")
            key = " || ' ' || ".join(
                f'"{name}"::text' for name in ([known] if known else primary_key(db, f'"{table}"'))
            )
            written = "''" if forgets else "xmin::text"
            condition = "true" if where is None else where[table]
            query = f"""SELECT {key}, {written}, (to_jsonb(t) - '{forgets}')::text FROM "{table}" t WHERE {condition}"""
            found |= {(table, row[0]): (row[1], row[2]) for row in db.execute(query)}  # type: ignore[call-overload]
    return found


def judged(url: str, script: str, presets: Presets, *arguments: str, looked: Looked = Looked()) -> Any:
    """The framework fills a database, is asked on a copy what is alive, and our presets have the same left.

    Answers with what the framework's program knows, for asking it again.
    """
    known = node(script, "create", url, *arguments)
    before, verdict = rows(url, looked), asked(url, script, known, *arguments)
    dead = {(table, key) for table, found in verdict.items() for key, alive in found.items() if not alive}
    held = dead & set(rows(url, looked, looked.held)) if looked.held else set()
    if held:
        may_differ(presets)
    pass_over(url, presets, looked.columns)
    check(before, rows(url, looked), verdict, held)
    assert asked(url, script, known, *arguments) == verdict, "they would answer otherwise now"
    return known


def asked(url: str, script: str, known: Any, *arguments: str) -> Verdict:
    """What is alive, from a copy: reading renews and removes."""
    with copy_of(url) as copy:
        verdict: Verdict = node(script, "alive", copy, *arguments, known=known)
        return verdict


def test_connect_pg_simple_and_its_own_pruning(new_york_url: str) -> None:
    node("connect_pg_simple", "create", new_york_url)
    found = compare(
        new_york_url, ["session"], lambda copy: node("connect_pg_simple", "clean", copy), {"connect-pg-simple": {}}
    )
    found.check_something_happened()
    assert found.ours == found.theirs


def test_connect_pg_simple(new_york_url: str) -> None:
    judged(new_york_url, "connect_pg_simple", {"connect-pg-simple": {}})


@pytest.mark.parametrize("zone", ["UTC", ZONE])
def test_connect_pg_simple_read_in_another_zone_would_end_live_sessions(new_york_url: str, zone: str) -> None:
    with pytest.raises(AssertionError, match="gone, and should stay"):
        judged(new_york_url, "connect_pg_simple", {"connect-pg-simple": {"zone": zone}})


def test_authjs_pg(new_york_url: str) -> None:
    keys = {"sessions": "sessionToken", "verification_token": "token"}
    judged(new_york_url, "authjs_pg", {"authjs-pg": {}}, looked=Looked(keys))


def test_authjs_drizzle(new_york_url: str) -> None:
    keys = {"session": "sessionToken", "verificationToken": "token"}
    judged(new_york_url, "authjs_drizzle", {"authjs-drizzle": {}}, looked=Looked(keys))


def test_authjs_typeorm(new_york_url: str) -> None:
    """Whose expires is text."""
    keys = {"sessions": "sessionToken", "verification_tokens": "token"}
    judged(new_york_url, "authjs_typeorm", {"authjs-typeorm": {}}, looked=Looked(keys))


def test_authjs_prisma(new_york_url: str) -> None:
    keys = {"Session": "sessionToken", "VerificationToken": "token"}
    judged(new_york_url, "authjs_prisma", {"authjs-prisma": {}}, looked=Looked(keys))


BETTER_AUTH = {"session": "token", "verification": "identifier", "deviceCode": "userCode"}


def test_better_auth(new_york_url: str) -> None:
    judged(new_york_url, "better_auth_pg", {"better-auth": {"api_keys": True}}, looked=Looked(BETTER_AUTH))


def test_better_auth_over_drizzle(new_york_url: str) -> None:
    looked = Looked(BETTER_AUTH, columns={"expiresAt": "expires_at", "userId": "user_id"})
    presets = {"better-auth": {"api_keys": True, "zone": "UTC"}}
    judged(new_york_url, "better_auth_drizzle", presets, looked=looked)


def test_better_auth_as_an_oauth_provider(new_york_url: str) -> None:
    runs_on = '"expiresAt" > now()'
    looked = Looked(
        BETTER_AUTH,
        forgets={"oauthRefreshToken": "sessionId"},
        held={
            # Revoked and rotated, which prove theft when they come back; and of a session that has ended.
            "oauthRefreshToken": runs_on,
            "oauthAccessToken": runs_on,
            "oauthClientAssertion": """ "expiresAt" > now() - interval '5 min' """,
            "session": f'id IN (SELECT "sessionId" FROM "oauthAccessToken" WHERE {runs_on})',
        },
    )
    presets = {"better-auth": {"api_keys": True, "oauth_provider": True, "device_codes": True}}
    known = judged(new_york_url, "better_auth_pg", presets, "oauth", looked=looked)

    before = asked(new_york_url, "better_auth_pg", known, "oauth")["oauthAccessToken"]
    with psycopg.connect(new_york_url, autocommit=True) as db:
        db.execute('DELETE FROM session WHERE "expiresAt" < now()')
    after = asked(new_york_url, "better_auth_pg", known, "oauth")["oauthAccessToken"]
    assert [token for token, alive in after.items() if alive and not before[token]], "what the guard is for"


def test_better_auth_and_what_it_removes_itself(new_york_url: str) -> None:
    node("better_auth_pg", "create", new_york_url)
    presets = {"better-auth": {"api_keys": True, "sessions": False}}
    tables = ["verification", "apikey", '"session"', '"user"', "account"]
    found = compare(new_york_url, tables, lambda copy: node("better_auth_pg", "clean", copy), presets)
    found.check_something_happened()
    assert found.ours == found.theirs


@needs("lucia-v3")
def test_lucia(new_york_url: str) -> None:
    judged(new_york_url, "lucia_pg", {"lucia-v3": {}})


@needs("lucia-v3")
def test_lucia_and_its_own_cleaner(new_york_url: str) -> None:
    node("lucia_pg", "create", new_york_url)
    tables = ["user_session", "auth_user"]
    found = compare(new_york_url, tables, lambda copy: node("lucia_pg", "clean", copy), {"lucia-v3": {}})
    found.check_something_happened()
    assert found.ours == found.theirs
