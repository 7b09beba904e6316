"""What PostgreSQL could do alone: every command that is printed is run as it stands."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.advice import advise
from cleanup_pipeline.model.advice import Advice, Native, drain
from cleanup_pipeline.model.rules import ColumnGuard, NullMeans, StartExpiry, Test
from cleanup_pipeline.model.target import ColumnExpiry, Target
from cleanup_pipeline.model.words import EpochUnit, Mode
from cleanup_pipeline.stores.postgres import PostgresStore
from cleanup_pipeline.stores.postgres.advice import _by_cron, _Table, cron_delete
from tests.stores.postgres.conftest import Clean, make_target

WEEK = timedelta(days=7)


def run_all(db: psycopg.Connection[Any], advice: Advice) -> None:
    for way in advice.ways:
        for step in way.steps:
            if step.command and not step.command.startswith("cleanup-pipeline "):
                db.execute(step.command)  # type: ignore[call-overload]


def count(db: psycopg.Connection[Any], query: str) -> int:
    row = db.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


TABLES = [
    ('"of""f 100%" text PRIMARY KEY', "expires_at timestamptz NOT NULL", "now() + (n + 0.5) * interval '1 day'", {}),
    ("id serial PRIMARY KEY, t text UNIQUE", "expires_at timestamptz", "now() + (n + 0.5) * interval '1 day'", {}),
    (
        "id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u int REFERENCES users",
        "expires_at timestamp",
        "localtimestamp + (n + 0.5) * interval '1 day'",
        {"zone": "Europe/Berlin"},
    ),
    (
        "id uuid DEFAULT gen_random_uuid() PRIMARY KEY, twice int GENERATED ALWAYS AS (1) STORED",
        "expires_at bigint",
        "(extract(epoch FROM now()) + (n + 0.5) * 86400) * 1000",
        {"unit": EpochUnit.MILLISECONDS},
    ),
]


@pytest.mark.parametrize(("key", "column", "expiry", "changes"), TABLES)
def test_partitions_by_expiry_as_printed(
    store: PostgresStore,
    db: psycopg.Connection[Any],
    clean: Clean,
    key: str,
    column: str,
    expiry: str,
    changes: dict[str, Any],
) -> None:
    db.execute("CREATE TABLE users (id int PRIMARY KEY)")
    db.execute(f'CREATE TABLE "s 100%" ({key}, {column})')  # type: ignore[call-overload]
    first = '"of""f 100%", ' if "of" in key else ""
    db.execute(  # type: ignore[call-overload]
        f'INSERT INTO "s 100%" ({first}expires_at)'
        f" SELECT {'n::text, ' if first else ''}{expiry} FROM generate_series(-40, 39) n"
    )
    db.execute('CREATE INDEX ON "s 100%" (expires_at)')
    target = make_target("s 100%", grace=WEEK, **changes)
    advice = advise(store, target)
    assert (advice.native, advice.backlog) == (Native.CHANGE_FIRST, 33)
    assert advice.why[0].startswith("pg_cron is not among the extensions")
    run_all(db, advice)

    assert count(db, 'SELECT count(*) FROM "s 100%"') == 80
    assert count(db, "SELECT count(*) FROM pg_partition_tree('\"s 100%\"') WHERE isleaf") >= 4
    if "serial" in key or "IDENTITY" in key:
        db.execute('DROP TABLE "s 100%_before"')
        row = db.execute(
            "INSERT INTO \"s 100%\" (expires_at) VALUES (now() + interval '1 day') RETURNING id"
        ).fetchone()
        assert row is not None and row[0] >= 81
    again = advise(store, target)
    assert again.native is Native.POSSIBLE and again.ways[0].name == "drop partitions"
    dropping = make_target("s 100%", grace=WEEK, drop_partitions=True, **changes)
    assert advise(store, dropping).native is Native.WORKS
    report = clean(store, dropping)
    assert (report.deleted, report.survivors) == (33, 0)


def test_the_statement_of_a_job_keeps_to_the_rule(store: PostgresStore, db: psycopg.Connection[Any]) -> None:
    """pg_cron itself is not among the extensions of the server that tests start; what it would run is SQL."""
    rules: list[tuple[str, str, dict[str, Any]]] = [
        ("timestamptz", "now() + (n + 0.5) * interval '1 day'", {}),
        ("timestamp", "localtimestamp + (n + 0.5) * interval '1 day'", {"zone": "America/New_York"}),
        ("bigint", "extract(epoch FROM now()) + (n + 0.5) * 86400", {"unit": EpochUnit.SECONDS}),
    ]
    for kind, expiry, changes in rules:
        db.execute("DROP TABLE IF EXISTS s")
        db.execute(f"CREATE TABLE s (id int, expires_at {kind})")  # type: ignore[call-overload]
        db.execute(f"INSERT INTO s SELECT n, {expiry} FROM generate_series(-20, 19) n")  # type: ignore[call-overload]
        zero = "0" if kind == "bigint" else "'1970-01-01'"
        db.execute(f"INSERT INTO s VALUES (100, {zero}), (101, NULL)")  # type: ignore[call-overload]
        target = make_target(grace=WEEK, **changes)
        store.preflight(target)
        relation = store._relations["s"]
        assert isinstance(target.expiry, ColumnExpiry)
        table = _Table(relation, target.expiry, target.grace, store.clock())
        dead = store.survivors(target, store.clock() - WEEK, WEEK)
        assert db.execute(cron_delete(table)).rowcount == dead == 13  # type: ignore[call-overload]
        assert count(db, "SELECT count(*) FROM s WHERE id >= 100") == 2
        way = _by_cron(table, target, installed=False)
        assert [step.command.split("(")[0] for step in way.steps][1:3] == [
            "CREATE EXTENSION pg_cron;",
            "SELECT cron.schedule",
        ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"guards": (ColumnGuard("status", Test.NULL),)}, "the target has guards"),
        ({"where": {"status": "x"}}, "the target has guards"),
        ({"set_null": ("status",)}, "columns of rows that stay"),
        ({"expiry": ColumnExpiry("expires_at", null_means=NullMeans.DEAD)}, "takes more than one column"),
        ({"column": "status", "unit": EpochUnit.SECONDS}, "column status is text, which has no order in time"),
    ],
)
def test_why_it_could_not(store: PostgresStore, db: psycopg.Connection[Any], changes: dict[str, Any], why: str) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, status text, expires_at timestamptz)")
    expiry = changes.get("expiry")
    target = make_target(**{name: value for name, value in changes.items() if name != "expiry"})
    if expiry is not None:
        target = Target(**{**{name: getattr(target, name) for name in Target.__dataclass_fields__}, "expiry": expiry})
    advice = advise(store, target)
    assert advice.native is Native.NO and any(why in line for line in advice.why)


def test_a_key_that_sessions_are_written_by(store: PostgresStore, db: psycopg.Connection[Any]) -> None:
    """As connect-pg-simple has it, which writes by ON CONFLICT (sid)."""
    upsert = "INSERT INTO s VALUES ('a', '{}', now()) ON CONFLICT (sid) DO UPDATE SET expires_at = excluded.expires_at"
    db.execute("CREATE TABLE s (sid varchar PRIMARY KEY, sess json NOT NULL, expires_at timestamp(6) NOT NULL)")
    db.execute(upsert)
    target = make_target(zone="UTC")
    advice = advise(store, target)
    assert advice.native is Native.CHANGE_FIRST
    assert "has to hold expires_at, and (sid) does not" in advice.why[-1]
    assert "ON CONFLICT on (sid)" in advice.ways[0].steps[0].what
    run_all(db, advice)
    with pytest.raises(psycopg.errors.InvalidColumnReference):
        db.execute(upsert)
    db.execute("DROP TABLE s; CREATE TABLE s (sid varchar, expires_at timestamptz, PRIMARY KEY (sid, expires_at))")
    advice = advise(PostgresStore(store.config), make_target())
    assert advice.native is Native.POSSIBLE
    assert not any("ON CONFLICT on (" in step.what for step in advice.ways[0].steps)


@pytest.mark.parametrize(
    ("mode", "command"), [(Mode.DELETE, "cleanup-pipeline run sessions"), (Mode.DRY_RUN, "cleanup-pipeline plan s")]
)
def test_what_drains_it(mode: Mode, command: str) -> None:
    step = drain(replace(make_target(), mode=mode))
    assert step.command == command
    assert ("cleanup-pipeline apply" in step.what) == (mode is Mode.DRY_RUN)


def test_rows_that_refer_to_it_are_in_the_way_of_partitions(store: PostgresStore, db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("CREATE TABLE child (s int REFERENCES s)")
    advice = advise(store, make_target())
    assert advice.native is Native.NO
    assert any("no partitions: rows of child refer to this table" in line for line in advice.why)


def test_a_lifetime_after_a_start(store: PostgresStore, db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, made timestamptz NOT NULL)")
    target = make_target(column="made")
    fields = {name: getattr(target, name) for name in Target.__dataclass_fields__}
    advice = advise(store, Target(**{**fields, "expiry": StartExpiry(ColumnExpiry("made"), timedelta(days=60))}))
    run_all(db, advice)
    # From the month in which what still lives began.
    parts = "SELECT count(*) FROM pg_partition_tree('s') WHERE isleaf AND relid::text LIKE 's\\_p20%'"
    assert count(db, parts) in {4, 5, 6}
