"""What is kept of a row has the values of its own columns, whatever their order, and all of them."""

from typing import Any

import psycopg
import pytest

from cleanup_pipeline.model.removed import Fate, Lot, Removed
from cleanup_pipeline.stores.postgres import PostgresStore, keeping, related_rows
from tests.stores.handing import Memory
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]
OLD = "INTERVAL '1 day'"


def rows(db: Db, query: str) -> list[Any]:
    return db.execute(query + " ORDER BY 1").fetchall()  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def parted(db: Db) -> Db:
    """A partition with its columns in an order of its own, and one that is gone."""
    db.execute(
        "CREATE TABLE s (id int, user_id int, org_id int, expires_at timestamptz NOT NULL,"
        " PRIMARY KEY (id, expires_at)) PARTITION BY RANGE (expires_at)"
    )
    db.execute(
        "CREATE TABLE s_old (org_id int, lost int, id int NOT NULL, user_id int, expires_at timestamptz NOT NULL)"
    )
    db.execute("ALTER TABLE s_old DROP COLUMN lost")
    db.execute("ALTER TABLE s ATTACH PARTITION s_old FOR VALUES FROM ('2000-01-01') TO ('2100-01-01')")
    db.execute(f"INSERT INTO s SELECT n, 100 + n, 900 + n, now() - {OLD} * n FROM generate_series(1, 3) n")
    return db


@pytest.mark.parametrize("index", [True, False])
def test_a_partition_with_another_order_of_columns(parted: Db, store: PostgresStore, clean: Clean, index: bool) -> None:
    if index:
        parted.execute("CREATE INDEX ON s (expires_at)")
        parted.execute("ANALYZE s")
    before, memory = rows(parted, "SELECT * FROM s"), Memory()
    assert clean(store, make_target(handover=memory)).deleted == 3
    assert memory.back_to(store, make_target(handover=memory)) == {Fate.RESTORED: 3}
    assert rows(parted, "SELECT * FROM s") == before


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    ("change", "written", "columns"),
    [
        ("ADD note text DEFAULT 'x'", None, "id, note, user_id"),
        ("ADD note text DEFAULT 'x'", "note = 'y'", "id, note, user_id"),
        ("ADD note int DEFAULT 7, DROP user_id", "note = 8", "id, note"),
        ("ALTER twice DROP EXPRESSION", "twice = 1", "id, twice"),
        ("DROP twice", None, "id, user_id"),
        ("RENAME user_id TO whose", "id = id", "id, whose"),
    ],
)
def test_columns_that_change_during_a_pass(
    db: Db, store: PostgresStore, clean: Clean, index: bool, change: str, written: str | None, columns: str
) -> None:
    db.execute(
        "CREATE TABLE s (id int PRIMARY KEY, user_id int, expires_at timestamptz,"
        " twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    db.execute(f"INSERT INTO s SELECT n, 100 + n, now() - {OLD} * n FROM generate_series(1, 20) n")
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
        db.execute("ANALYZE s")
    before: list[Any] = []

    def meanwhile(lot: Lot) -> None:
        if memory.went and not before:
            db.execute(f"ALTER TABLE s {change}")
            if written:
                # The batch that was read before does not go.
                db.execute(f"UPDATE s SET {written}")
            before.extend(rows(db, f"SELECT {columns} FROM s"))

    memory = Memory(meanwhile=meanwhile)
    target = make_target(handover=memory, batch_size=5)
    clean(store, target)
    assert (memory.held[0].forms == memory.held[-1].forms, len(before)) == (False, 15)
    assert len(rows(db, "SELECT id FROM s")) == 20 - len(memory.records)
    del memory.went[0]
    assert set(memory.back_to(store, target)) <= {Fate.RESTORED}
    assert rows(db, f"SELECT {columns} FROM s") == before


@pytest.mark.parametrize("locked", [True, False])
def test_children_that_get_a_column_between_the_records_and_them(
    db: Db, store: PostgresStore, clean: Clean, monkeypatch: pytest.MonkeyPatch, postgres_url: str, locked: bool
) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("CREATE TABLE c (id int PRIMARY KEY, s_id int REFERENCES s, a int, b int) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE c_1 (b int, id int NOT NULL, s_id int, a int)")
    db.execute("ALTER TABLE c ATTACH PARTITION c_1 FOR VALUES FROM (0) TO (100)")
    db.execute("CREATE INDEX ON c (s_id)")
    db.execute(f"INSERT INTO s SELECT n, now() - {OLD} * n FROM generate_series(1, 4) n")
    db.execute("INSERT INTO c SELECT n, n, 10 + n, 20 + n FROM generate_series(1, 4) n")

    before = rows(db, "SELECT id, s_id, a, b FROM c")
    done: list[int] = []

    def read_others(*given: Any) -> Any:
        if not done:
            done.append(1)
            db.execute("ALTER TABLE c ADD note text DEFAULT 'x'")
        return related_rows.read_others(*given)

    monkeypatch.setattr(keeping, "read_others", read_others)
    memory = Memory()
    target = make_target(handover=memory, batch_size=2, children_first=True)
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT FROM s WHERE id = 1 FOR UPDATE" if locked else "SELECT 1")
        report = clean(store, target)
    gone = 3 if locked else 4
    assert (report.deleted, report.children) == (gone, gone)
    assert memory.back_to(store, target) == {Fate.RESTORED: 2 * gone}
    assert rows(db, "SELECT id, s_id, a, b FROM c") == before


def test_what_was_kept_by_an_earlier_version_is_still_read(db: Db, store: PostgresStore) -> None:
    """A sweep used to write a row with its place and its version in front."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    form = {"store": "postgres", "table": ["public", "s"], "skip": 2, "columns": ["id", "expires_at"], "computed": [],
            "key": ["id"], "nulls": []}  # fmt: skip
    lot = Lot([Removed(body=b'("(0,1)",777,5,"2020-01-01 00:00:00+00")')], (form,))
    assert store.put_back(make_target(), lot, dry_run=False).fates == (Fate.RESTORED,)
    assert rows(db, "SELECT id FROM s") == [(5,)]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("anew", ["VACUUM FULL s", "ALTER TABLE s ALTER pad TYPE bigint"])
def test_a_table_that_is_written_anew_meanwhile(
    db: Db, store: PostgresStore, clean: Clean, anew: str, index: bool
) -> None:
    """Other rows of the same transaction, and so with the same xmin, are then at the places that were read."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, pad int, expires_at timestamptz)")
    db.execute(f"INSERT INTO s SELECT n, n, now() - {OLD} * n FROM generate_series(1, 200) n")
    db.execute("DELETE FROM s WHERE id <= 50")
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
        db.execute("ANALYZE s")

    def meanwhile(lot: Lot) -> None:
        if len(memory.held) == 1:
            db.execute(anew)  # type: ignore[call-overload]

    memory = Memory(meanwhile=meanwhile)
    before = rows(db, "SELECT id, pad, expires_at FROM s")
    target = make_target(handover=memory, batch_size=20)
    deleted = clean(store, target).deleted
    assert deleted == 150 - len(rows(db, "SELECT id FROM s")) > 0
    assert memory.back_to(store, target) == {Fate.RESTORED: deleted}
    assert rows(db, "SELECT id, pad, expires_at FROM s") == before
