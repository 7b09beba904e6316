"""Rows that are planted: made from the catalog of tables that real applications have, or refused with a word."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.canaries import wanted
from cleanup_pipeline.model.canary import CANARY_PREFIX, CanaryKind, CanarySettings
from cleanup_pipeline.model.rules import ColumnGuard, StartExpiry, Test
from cleanup_pipeline.model.target import ColumnExpiry, Target
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import make_target

HOUR = timedelta(hours=1)
ALL = frozenset(CanaryKind)


def target_of(canaries: CanarySettings | None = None, **changes: Any) -> Target:
    return make_target(canaries=canaries or CanarySettings(), grace=HOUR, **changes)


def planted(store: PostgresStore, target: Target) -> frozenset[CanaryKind]:
    """Plant, find, take away: the kinds that were there in between."""
    cutoff = store.clock() - target.grace
    here = store.canaries(target)
    assert here.refusals() == []
    several = here.make(wanted(target.canaries or CanarySettings(), cutoff, None, target.grace, datetime.now(UTC)))
    here.plant(several, cutoff)
    there = store.canaries(target).present(several)
    store.canaries(target).remove(several)
    assert store.canaries(target).present(several) == frozenset()
    return frozenset(each.kind for each in several if each.mark in there)


@pytest.mark.parametrize(
    ("columns", "changes", "kinds"),
    [
        ("id uuid PRIMARY KEY, token text NOT NULL UNIQUE, user_id int, expires_at timestamptz", {}, ALL),
        ("id bigserial PRIMARY KEY, token text, expires_at timestamptz", {}, ALL),
        (
            "id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t varchar(40) UNIQUE, expires_at timestamptz NOT NULL",
            {},
            ALL - {CanaryKind.WITHOUT_EXPIRY},
        ),
        ('"a%s" char(40) PRIMARY KEY, "of""f" bytea NOT NULL, expires_at timestamp', {"zone": "Europe/Berlin"}, ALL),
        ("id text PRIMARY KEY, expires_at bigint", {"unit": EpochUnit.MILLISECONDS}, ALL),
        ("id text PRIMARY KEY, expires_at text", {"unit": EpochUnit.SECONDS}, ALL),
        (
            """id text PRIMARY KEY, ip inet NOT NULL, data jsonb NOT NULL, n numeric NOT NULL, b boolean NOT NULL,
            tags text[] NOT NULL, made timestamptz NOT NULL, short varchar(8) NOT NULL, expires_at timestamptz,
            whole text GENERATED ALWAYS AS (id || 'x') STORED""",
            {},
            ALL,
        ),
        (
            "id text PRIMARY KEY, status text NOT NULL, left_at timestamptz, expires_at timestamptz",
            {"where": {"status": "open"}, "guards": (ColumnGuard("left_at", Test.NULL),)},
            ALL,
        ),
        (
            "id text PRIMARY KEY, created timestamptz",
            {"column": "created", "expiry": StartExpiry(ColumnExpiry("created"), timedelta(days=14))},
            ALL,
        ),
    ],
)
def test_rows_are_made_from_the_catalog(
    store: PostgresStore, db: psycopg.Connection[Any], columns: str, changes: dict[str, Any], kinds: frozenset[Any]
) -> None:
    db.execute(f"CREATE TABLE s ({columns})")  # type: ignore[call-overload]
    target = target_of(**{name: value for name, value in changes.items() if name != "expiry"})
    if "expiry" in changes:
        target = Target(**{**_fields(target), "expiry": changes["expiry"]})
    assert planted(store, target) == kinds


def _fields(target: Target) -> dict[str, Any]:
    return {name: getattr(target, name) for name in Target.__dataclass_fields__}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("id text PRIMARY KEY, user_id int NOT NULL REFERENCES users, expires_at timestamptz", "user_id refers to"),
        ("id text PRIMARY KEY, mood mood NOT NULL, expires_at timestamptz", "column mood is mood"),
        ("id int PRIMARY KEY, expires_at timestamptz", "no column of text has room for the 31 characters"),
        ("id varchar(30) PRIMARY KEY, expires_at timestamptz", "no column of text has room"),
        ("id text, expires_at timestamptz", "without a primary key"),
    ],
)
def test_what_cannot_be_made_is_said_and_not_guessed(
    store: PostgresStore, db: psycopg.Connection[Any], columns: str, said: str
) -> None:
    db.execute("CREATE TABLE users (id int PRIMARY KEY); CREATE TYPE mood AS ENUM ('good')")
    db.execute(f"CREATE TABLE s ({columns})")  # type: ignore[call-overload]
    target = target_of()
    here = store.canaries(target)
    assert any(said in finding.what for finding in here.refusals())
    with pytest.raises(StoreError, match="nothing was deleted"):
        here.make(wanted(CanarySettings(), store.clock(), None, HOUR, datetime.now(UTC)))
    db.execute("INSERT INTO users VALUES (7)")
    if "user_id" in said or "mood" in said:
        values: dict[str, Any] = {"user_id": 7} if "user_id" in said else {"mood": "good"}
        assert planted(store, target_of(CanarySettings(values=values))) == ALL


def test_triggers_and_rights(store: PostgresStore, db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE s (id text PRIMARY KEY, expires_at timestamptz)")
    db.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    db.execute("CREATE TRIGGER audit BEFORE INSERT ON s FOR EACH ROW EXECUTE FUNCTION f()")
    [finding] = store.canaries(target_of()).refusals()
    assert "triggers or rules that would see them (audit)" in finding.what
    assert planted(store, target_of(CanarySettings(allow_triggers=True))) == ALL
    db.execute("DROP TRIGGER audit ON s; CREATE TRIGGER later AFTER UPDATE ON s EXECUTE FUNCTION f()")
    assert planted(store, target_of()) == ALL


def test_a_row_that_the_table_or_the_rule_does_not_take_leaves_nothing(
    store: PostgresStore, db: psycopg.Connection[Any]
) -> None:
    db.execute("CREATE TABLE s (id text PRIMARY KEY, n int NOT NULL CHECK (n > 5), expires_at timestamptz)")
    with pytest.raises(StoreError, match="does not take one for expired \\(s_n_check\\)"):
        planted(store, target_of())
    assert planted(store, target_of(CanarySettings(values={"n": 6}))) == ALL
    # The user's own word takes it out of the target's guards.
    with pytest.raises(StoreError, match="rule and guards do not take a planted record"):
        planted(store, target_of(CanarySettings(values={"n": 6}), guards=(ColumnGuard("n", Test.IN, (7,)),)))
    assert db.execute("SELECT count(*) FROM s").fetchone() == (0,)


def test_only_what_has_both_its_key_and_its_mark_is_taken_away(
    store: PostgresStore, db: psycopg.Connection[Any]
) -> None:
    db.execute("CREATE TABLE s (id uuid PRIMARY KEY, token text NOT NULL, expires_at timestamptz)")
    target, cutoff = target_of(), store.clock()
    here = store.canaries(target)
    several = here.make(wanted(CanarySettings(), cutoff, None, HOUR, datetime.now(UTC)))
    here.plant(several, cutoff)
    tokens = {str(row[0]): row[1] for row in db.execute("SELECT id, token FROM s")}
    assert len(tokens) == 5 and all(token.startswith(CANARY_PREFIX) for token in tokens.values())
    # A token is a way in: the ledger is given no more of it than a hash.
    assert not any(token in str(each) for each in several for token in tokens.values())
    db.execute("UPDATE s SET token = 'a user''s by now' WHERE id = %s", (several[0].identity["id"],))
    here.remove(several)
    assert db.execute("SELECT token FROM s").fetchall() == [("a user's by now",)]


@pytest.mark.parametrize(
    ("columns", "refused"),
    [
        ("id serial PRIMARY KEY, t text, code varchar(6) NOT NULL", "code"),
        ("id serial PRIMARY KEY, t text, otp integer NOT NULL UNIQUE", "otp"),
        ("id serial PRIMARY KEY, refresh_token char(36) UNIQUE NOT NULL", "refresh_token"),
        ("token varchar(32) PRIMARY KEY", "token"),
        ("id serial PRIMARY KEY, t text, token varchar(25) NOT NULL, secret bytea NOT NULL", None),
        ("id serial PRIMARY KEY, token varchar(40) UNIQUE, token_type varchar(8) NOT NULL", None),
        ("id serial PRIMARY KEY, token char(60) NOT NULL", None),
        ("id serial PRIMARY KEY, t text, code varchar(6)", None),
    ],
)
def test_no_canary_can_be_guessed(
    store: PostgresStore, db: psycopg.Connection[Any], columns: str, refused: str | None
) -> None:
    db.execute(f"CREATE TABLE s ({columns}, expires_at timestamptz)")  # type: ignore[call-overload]
    if refused is None:
        assert planted(store, target_of()) == ALL
        return
    [finding] = store.canaries(target_of()).refusals()
    assert f"column {refused} looks like a secret, and what has room in it could be guessed" in finding.what
    assert f"values: {{{refused}: ...}}" in (finding.remedy or "")
    if refused == "code":
        assert planted(store, target_of(CanarySettings(values={"code": "-"}))) == ALL


def test_the_mark_is_in_a_column_that_is_no_token_where_there_is_one(
    store: PostgresStore, db: psycopg.Connection[Any]
) -> None:
    db.execute("CREATE TABLE s (id serial PRIMARY KEY, token text NOT NULL UNIQUE, note text, expires_at timestamptz)")
    here = store.canaries(target_of())
    several = here.make(wanted(CanarySettings(), store.clock(), None, HOUR, datetime.now(UTC)))
    assert all(set(each.identity) == {"id", "note"} and each.identity["note"] == each.mark for each in several)
