"""Rows that refer to a record go before it, within the limits of a batch, or the record stays."""

from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore

from .conftest import Clean, make_target

Db = psycopg.Connection[Any]


def table(db: Db, rows: int = 30) -> None:
    """Rows above 20 are alive."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("INSERT INTO s SELECT n, now() + (n - 20.5) * interval '1 hour' FROM generate_series(1, %s) n", (rows,))


def ids(db: Db, name: str, column: str = "id") -> list[int]:
    return [row[0] for row in db.execute(f"SELECT {column} FROM {name} ORDER BY 1")]


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "block sweep"])
@pytest.mark.parametrize("action", ["NO ACTION", "RESTRICT", "CASCADE"])
def test_children_and_theirs_go_first(db: Db, store: PostgresStore, clean: Clean, action: str, index: bool) -> None:
    table(db)
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    db.execute(f"CREATE TABLE tokens (id int PRIMARY KEY, session int REFERENCES s ON DELETE {action})")
    db.execute(f"CREATE TABLE uses (token int REFERENCES tokens ON DELETE {action}, at int)")
    db.execute("INSERT INTO tokens SELECT n, 1 + n %% 30 FROM generate_series(0, 89) n", ())
    db.execute("INSERT INTO uses SELECT n %% 90, n FROM generate_series(0, 179) n", ())
    report = clean(store, make_target(children_first=True, batch_size=7))
    assert (report.deleted, report.children, report.survivors, report.error) == (20, 60 + 120, 0, None)
    assert ids(db, "s") == list(range(21, 31))
    assert {1 + n % 30 for n in ids(db, "tokens")} == set(range(21, 31))
    assert len(ids(db, "tokens")) == 30
    assert len(ids(db, "uses", "at")) == 60


def test_names_with_a_percent_sign(db: Db, store: PostgresStore, clean: Clean) -> None:
    table(db)
    db.execute('CREATE TABLE "to%kens" (id int PRIMARY KEY, session int REFERENCES s)')
    db.execute('CREATE TABLE "%s" ("100%" int REFERENCES "to%kens")')
    db.execute('INSERT INTO "to%%kens" SELECT n, 1 + n %% 30 FROM generate_series(0, 89) n', ())
    db.execute('INSERT INTO "%%s" SELECT n FROM generate_series(0, 89) n', ())
    report = clean(store, make_target(children_first=True, batch_size=7))
    assert (report.deleted, report.children, report.survivors, report.error) == (20, 60 + 60, 0, None)


def test_keys_of_several_columns(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute('CREATE TABLE s (a int, "b c" text, expires_at timestamptz, PRIMARY KEY (a, "b c"))')
    db.execute("INSERT INTO s SELECT n, 'x', now() + (n - 5.5) * interval '1 hour' FROM generate_series(1, 10) n")
    db.execute('CREATE TABLE child (y text, x int, FOREIGN KEY (x, y) REFERENCES s (a, "b c"))')
    db.execute("INSERT INTO child SELECT 'x', n FROM generate_series(1, 10) n")
    report = clean(store, make_target(children_first=True))
    assert (report.deleted, report.children) == (5, 5)
    assert ids(db, "child", "x") == [6, 7, 8, 9, 10]


def test_never_more_than_a_batch_in_one_transaction(db: Db, store: PostgresStore, clean: Clean) -> None:
    table(db)
    db.execute("CREATE TABLE child (session int REFERENCES s)")
    db.execute("CREATE INDEX ON child (session)")
    db.execute("INSERT INTO child SELECT n FROM generate_series(1, 4) n, generate_series(1, 300)")
    db.execute("INSERT INTO child SELECT 5 FROM generate_series(1, 1500)")
    report = clean(store, make_target(children_first=True))
    # One with more children than fit is left, whole, and told; the others go in smaller batches.
    assert (report.deleted, report.children, report.survivors, report.parked) == (19, 1200, 1, 1)
    assert report.largest_batch <= 1000
    assert report.error is not None
    assert "rows refer to the records of one batch" in report.error
    assert ids(db, "s")[0] == 5
    assert len(ids(db, "child", "session")) == 1500


def test_one_that_is_renewed_keeps_its_children(db: Db, store: PostgresStore, clean: Clean, postgres_url: str) -> None:
    table(db)
    db.execute("CREATE TABLE child (session int REFERENCES s)")
    db.execute("INSERT INTO child SELECT n FROM generate_series(1, 30) n")
    with psycopg.connect(postgres_url) as login:
        login.execute("UPDATE s SET expires_at = now() + interval '1 day' WHERE id = 7")
        report = clean(store, make_target(children_first=True))
        assert report.deleted == 19
    assert ids(db, "s") == [7, *range(21, 31)]
    assert ids(db, "child", "session") == [7, *range(21, 31)]


def test_what_refers_to_itself_is_refused(db: Db, store: PostgresStore) -> None:
    table(db)
    db.execute("CREATE TABLE child (id int PRIMARY KEY, session int REFERENCES s, before int REFERENCES child)")
    with pytest.raises(StoreError, match=r"public\.child refers to itself or in a circle"):
        scan(store, make_target(children_first=True), dry_run=False)


def test_a_missing_index_on_a_child_is_told(db: Db, store: PostgresStore) -> None:
    table(db)
    db.execute("CREATE TABLE child (session int REFERENCES s)")
    plan = scan(store, make_target(children_first=True), dry_run=False)
    assert any("no index on public.child (session)" in finding.what for finding in plan.findings)
