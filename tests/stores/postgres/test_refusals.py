"""What cannot be cleaned says so in one line: target, setting, remedy. Nothing is deleted."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.base import SourceMissingError, StoreError, UnavailableError
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]


@pytest.fixture(autouse=True)
def table(db: Db) -> None:
    db.execute("CREATE TABLE sessions (id int PRIMARY KEY, expires_at timestamptz, note text, day date, n bigint)")
    db.execute("INSERT INTO sessions VALUES (1, now() - interval '1 day', 'x', '2020-01-01', 1600000000)")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (make_target("sesions"), ["targets.s.table", "table sesions does not exist", "did you mean sessions?"]),
        (
            make_target("sessions", "expire_at"),
            ["targets.s.expires.column", "no column expire_at", "did you mean expires_at?"],
        ),
        (make_target("sessions", "note"), ["targets.s.expires", "column note is text, not a timestamp", "unit"]),
        (make_target("sessions", "day"), ["targets.s.expires", "column day is date, not a timestamp"]),
        (make_target("sessions", "n"), ["targets.s.expires", "column n is bigint, not a timestamp", "unit: s"]),
        (make_target("sessions", zone="UTC"), ["targets.s.expires", "needs neither zone nor unit"]),
        (make_target("sessions", where={"kind": 1}), ["targets.s.where.kind", "no column kind"]),
        (make_target("sessions", where={"id": "one"}), ["targets.s", "22P02"]),
        (make_target("sessions", required=("user_id",), layout="x"), ["targets.s.layout", "no column user_id"]),
    ],
    ids=lambda value: None if isinstance(value, list) else value.source.table + "." + value.expiry.column,
)
def test_wrong_target(db: Db, store: PostgresStore, target: Any, says: list[str]) -> None:
    with pytest.raises(StoreError) as fault:
        scan(store, target, dry_run=False)
    for words in says:
        assert words in str(fault.value)
    assert "\n" not in str(fault.value)
    assert db.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_naive_column_wants_its_zone(db: Db, store: PostgresStore) -> None:
    db.execute("ALTER TABLE sessions ADD naive timestamp")
    with pytest.raises(StoreError, match=r"does not say whose clock it was.*zone: UTC"):
        scan(store, make_target("sessions", "naive"), dry_run=False)


def test_a_view_is_refused(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE VIEW v AS SELECT * FROM sessions")
    with pytest.raises(StoreError, match=r"targets\.s\.table: v is a view; name the table"):
        scan(store, make_target("v"), dry_run=False)


def test_a_table_that_need_not_exist_is_skipped(store: PostgresStore) -> None:
    plan = scan(store, make_target("nowhere", if_missing_skip=True), dry_run=False)
    assert plan.skipped == "table nowhere does not exist" and plan.work.shards == ()


@pytest.mark.parametrize(("rights", "lacks"), [("SELECT", "DELETE"), ("DELETE", "SELECT")])
def test_missing_right(db: Db, store: PostgresStore, rights: str, lacks: str) -> None:
    db.execute("CREATE ROLE reader LOGIN")
    try:
        db.execute(f"GRANT {rights} ON sessions TO reader")
        weak = open_postgres(replace(store.config, url=store.config.url.replace("postgres@", "reader@")))
        with pytest.raises(StoreError, match=rf"user reader lacks {lacks} on sessions; GRANT SELECT, UPDATE, DELETE"):
            scan(weak, make_target("sessions"), dry_run=False)
        weak.close()
    finally:
        db.execute("DROP OWNED BY reader")
        db.execute("DROP ROLE reader")


def test_server_down_names_the_setting_and_no_password() -> None:
    config = StoreConfig("main", StoreType.POSTGRES, "postgresql://joe:s3cret-Pw@127.0.0.1:9/db")
    with pytest.raises(UnavailableError) as fault:
        open_postgres(config).clock()
    assert str(fault.value).startswith("stores.main.url: cannot reach 127.0.0.1:9/db (connection refused)")
    assert "s3cret" not in str(fault.value) + repr(config)


def test_unknown_database(store: PostgresStore) -> None:
    wrong = open_postgres(replace(store.config, url=store.config.url.rsplit("/", 1)[0] + "/nowhere"))
    with pytest.raises(StoreError, match="there is no such database"):
        wrong.clock()


@pytest.mark.parametrize("action", ["NO ACTION", "RESTRICT", "SET NULL"])
def test_referring_rows_keep_their_parents_and_only_those(
    db: Db, store: PostgresStore, clean: Clean, action: str
) -> None:
    db.execute("INSERT INTO sessions SELECT n, now() - interval '1 day' FROM generate_series(2, 40) n")
    db.execute(f"CREATE TABLE child (session int NOT NULL REFERENCES sessions ON DELETE {action}, mail text)")
    db.execute("INSERT INTO child VALUES (7, 'alice@example.org')")
    report = clean(store, make_target("sessions"))
    assert [row[0] for row in db.execute("SELECT id FROM sessions")] == [7]
    assert (report.deleted, report.survivors, report.parked) == (39, 1, 1)
    assert report.error is not None and "keep a row from going" in report.error
    # The detail lines of PostgreSQL quote the row.
    assert "alice" not in report.error and "(7" not in report.error


def test_referring_tables_are_told(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE child (session int REFERENCES sessions)")
    what = "rows of child may refer to expired rows and keep them"
    finding = Finding(Severity.WARNING, what, "clean it first, or set children: delete_first", code="pg.referenced")
    assert finding in scan(store, make_target("sessions"), dry_run=False).findings


def test_a_cascade_is_refused_unless_it_is_meant(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE child (session int REFERENCES sessions ON DELETE CASCADE)")
    db.execute("INSERT INTO child VALUES (1)")
    told = r"also deletes rows of child .*set targets\.s\.children: delete_first, or cascade: allow"
    with pytest.raises(StoreError, match=told):
        scan(store, make_target("sessions"), dry_run=False)
    assert clean(store, make_target("sessions", cascade=True)).deleted == 1
    assert db.execute("SELECT count(*) FROM child").fetchone() == (0,)


@pytest.fixture
def limited(db: Db, store: PostgresStore) -> Iterator[PostgresStore]:
    """A store whose login is not the owner."""
    db.execute("CREATE ROLE limited LOGIN")
    opened = open_postgres(replace(store.config, url=store.config.url.replace("postgres@", "limited@")))
    yield opened
    opened.close()
    db.execute("DROP OWNED BY limited")
    db.execute("DROP ROLE limited")


def test_row_security_is_told(db: Db, limited: PostgresStore) -> None:
    db.execute("GRANT ALL ON sessions TO limited")
    db.execute("ALTER TABLE sessions ENABLE ROW LEVEL SECURITY")
    said = " / ".join(f.what for f in scan(limited, make_target("sessions"), dry_run=False).findings)
    assert "row security applies to limited" in said


def test_row_security_on_a_partitioned_table_is_refused(db: Db, limited: PostgresStore) -> None:
    db.execute("CREATE TABLE p (id int, tenant int, expires_at timestamptz) PARTITION BY HASH (id)")
    db.execute("CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    db.execute("INSERT INTO p SELECT n, n % 2, now() - interval '1 day' FROM generate_series(1, 10) n")
    db.execute("GRANT ALL ON p, p0 TO limited")
    db.execute("ALTER TABLE p ENABLE ROW LEVEL SECURITY")
    db.execute("CREATE POLICY one ON p TO limited USING (tenant = 1)")
    with pytest.raises(StoreError, match="batches would go round its policies"):
        scan(limited, make_target("p"), dry_run=False)


def test_rights_are_looked_for_on_each_partition(db: Db, limited: PostgresStore) -> None:
    db.execute("CREATE TABLE p (id int, expires_at timestamptz) PARTITION BY HASH (id)")
    db.execute("CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    db.execute("GRANT ALL ON p TO limited")
    with pytest.raises(StoreError, match=r"user limited lacks SELECT or DELETE on p0, a partition of p; GRANT"):
        scan(limited, make_target("p"), dry_run=False)


def test_inheritance_is_refused(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE more () INHERITS (sessions)")
    with pytest.raises(StoreError, match="other tables inherit from sessions"):
        scan(store, make_target("sessions"), dry_run=False)


def test_one_connection_is_enough(store: PostgresStore, clean: Clean) -> None:
    small = open_postgres(replace(store.config, pool_size=1, connect_timeout=timedelta(seconds=2)))
    assert clean(small, make_target("sessions")).deleted == 1
    small.close()


def test_settings_of_the_session_are_startup_options(store: PostgresStore) -> None:
    """Behind a pooler in transaction mode, what SET leaves behind is found by the application."""
    with store._connections.use() as connection:
        shown = {
            row[0]: (row[1], row[2])
            for row in connection.execute(
                "SELECT name, setting, source FROM pg_settings"
                " WHERE name IN ('statement_timeout', 'lock_timeout', 'synchronous_commit', 'TimeZone', 'DateStyle')"
            )
        }
    assert shown == {
        "statement_timeout": ("30000", "client"),
        "lock_timeout": ("2000", "client"),
        "synchronous_commit": ("off", "client"),
        "TimeZone": ("UTC", "client"),
        "DateStyle": ("ISO, YMD", "client"),
    }


def test_a_server_that_stopped_answering_is_given_up(
    db: Db, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is stopped, so that no limit of its own can end the statement."""
    monkeypatch.setattr("cleanup_pipeline.stores.postgres.connect.SILENCE_SECONDS", 0.2)
    short = timedelta(milliseconds=100)
    hung = open_postgres(replace(store.config, statement_timeout=short, lock_timeout=short))
    with pytest.raises(UnavailableError, match="went away"), hung._connections.use() as connection:
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            connection.execute("SELECT 1")
        finally:
            os.kill(pid, signal.SIGCONT)
    hung.close()


@pytest.mark.parametrize("password", ["hun@Zter2Z", "s3cret-Pw", "a"])
def test_no_part_of_a_password_in_a_fault(password: str) -> None:
    for host in ("127.0.0.1:9", "no-such-host.invalid"):
        config = StoreConfig("main", StoreType.POSTGRES, f"postgresql://joe:{password}@{host}/db")
        with pytest.raises(StoreError) as fault:
            open_postgres(config).clock()
        assert "Zter2Z" not in str(fault.value) and "s3cret" not in str(fault.value)


def test_no_index_comes_with_the_statement_that_makes_one(db: Db, store: PostgresStore) -> None:
    remedies = [f.remedy for f in scan(store, make_target("sessions"), dry_run=False).findings]
    assert remedies == ['CREATE INDEX CONCURRENTLY ON sessions ("expires_at")']
    db.execute(remedies[0])
    assert scan(store, make_target("sessions"), dry_run=False).findings == ()


def test_source_missing_is_its_own_fault(store: PostgresStore) -> None:
    with pytest.raises(SourceMissingError):
        store.preflight(make_target("nowhere"))
