"""What cannot be cleaned says so in one line: target, setting, remedy. Nothing is deleted."""

from dataclasses import replace
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
        (make_target("sessions", where={"id": "one"}), ["targets.s", "invalid input syntax"]),
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


def test_referring_rows_keep_their_parents(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE child (session int REFERENCES sessions)")
    db.execute("INSERT INTO child VALUES (1)")
    plan = scan(store, make_target("sessions"), dry_run=False)
    assert Finding(Severity.WARNING, "rows of child may refer to expired rows and keep them", "clean child first") in (
        plan.findings
    )
    report = clean(store, make_target("sessions"))
    assert report.deleted == 0 and report.survivors == 1
    assert report.error is not None and "clean the referring table first" in report.error


def test_cascade_and_row_security_are_told(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE child (session int REFERENCES sessions ON DELETE CASCADE)")
    db.execute("CREATE ROLE limited LOGIN")
    try:
        db.execute("GRANT ALL ON sessions TO limited")
        db.execute("ALTER TABLE sessions ENABLE ROW LEVEL SECURITY")
        weak = open_postgres(replace(store.config, url=store.config.url.replace("postgres@", "limited@")))
        said = " / ".join(f.what for f in scan(weak, make_target("sessions"), dry_run=False).findings)
        assert "also deletes rows of child" in said and "row security applies to limited" in said
        weak.close()
    finally:
        db.execute("DROP OWNED BY limited")
        db.execute("DROP ROLE limited")


def test_no_index_comes_with_the_statement_that_makes_one(db: Db, store: PostgresStore) -> None:
    remedies = [f.remedy for f in scan(store, make_target("sessions"), dry_run=False).findings]
    assert remedies == ['CREATE INDEX CONCURRENTLY ON sessions ("expires_at")']
    db.execute(remedies[0])
    assert scan(store, make_target("sessions"), dry_run=False).findings == ()


def test_source_missing_is_its_own_fault(store: PostgresStore) -> None:
    with pytest.raises(SourceMissingError):
        store.preflight(make_target("nowhere"))
