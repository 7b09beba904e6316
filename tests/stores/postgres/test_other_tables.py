"""Guards and removals that involve other tables: what refers to a record, what it refers to, and what stays of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.model.rules import ColumnExpiry, Related, RowGuard, StartExpiry
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]
DEFERRED = "DEFERRABLE INITIALLY DEFERRED"


def tokens(db: Db, *, constraint: str = DEFERRED, rows: int = 3) -> None:
    """As Django has them: s are access tokens, r refresh tokens that refer to them, checked at the end."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz NOT NULL, source int)")
    db.execute(f"CREATE TABLE r (id int PRIMARY KEY, s_id int REFERENCES s (id) {constraint}, kind text)")  # type: ignore[call-overload]
    db.execute("CREATE INDEX ON r (s_id)")
    db.execute("INSERT INTO s SELECT i, now() - interval '1 h' FROM generate_series(1, %s) i", (rows,))
    db.execute("INSERT INTO r SELECT i, i, 'x' FROM generate_series(1, %s) i WHERE i %% 3 = 0", (rows,))


def ids(db: Db, table: str = "s") -> list[int]:
    return [row[0] for row in db.execute(f"SELECT id FROM {table} ORDER BY id")]  # type: ignore[call-overload]


HELD = RowGuard(Related("r", key="s_id", by="id"))


def test_what_is_referred_to_stays(db: Db, store: PostgresStore, clean: Clean) -> None:
    tokens(db)
    report = clean(store, make_target(guards=(HELD,)))
    assert (ids(db), report.deleted, report.survivors) == ([3], 2, 0)
    # The guard has seen to the foreign key, so that nobody is told that it may be in the way.
    assert not [f for f in store.preflight(make_target(guards=(HELD,))) if f.severity is not Severity.INFO]


def test_a_related_table_without_an_index_is_told(db: Db, store: PostgresStore) -> None:
    tokens(db)
    db.execute("DROP INDEX r_s_id_idx")
    told = [f.what for f in store.preflight(make_target(guards=(HELD,))) if f.severity is Severity.WARNING]
    assert told == ["no index on r (s_id): each batch may read the whole of it"]


def test_only_some_of_the_rows_that_refer_to_it_hold_a_record(db: Db, store: PostgresStore, clean: Clean) -> None:
    tokens(db, constraint="", rows=6)
    db.execute("ALTER TABLE r DROP CONSTRAINT r_s_id_fkey")
    db.execute("UPDATE r SET kind = 'valid' WHERE id = 6")
    clean(store, make_target(guards=(RowGuard(HELD.of, (("kind", "valid"),)),)))
    assert ids(db) == [6]


@pytest.mark.parametrize("constraint", ["", DEFERRED], ids=["at once", "at the end"])
@pytest.mark.parametrize("index", [True, False], ids=["walk", "sweep"])
def test_a_late_check_shows_in_the_batch(
    db: Db, store: PostgresStore, clean: Clean, constraint: str, index: bool
) -> None:
    """Without a guard the foreign key alone keeps the row; the others go, and the one is counted."""
    tokens(db, constraint=constraint, rows=40)
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    report = clean(store, make_target())
    held = ids(db, "r")
    assert ids(db) == held and held
    assert (report.deleted, report.survivors) == (40 - len(held), len(held))


def test_a_row_that_comes_to_refer_to_a_record_meanwhile_keeps_it(
    postgres_url: str, db: Db, store: PostgresStore, clean: Clean
) -> None:
    """The statement's snapshot does not see it; the lock that its foreign key took is stepped over."""
    tokens(db, constraint="", rows=3)
    with psycopg.connect(postgres_url) as rival:
        rival.execute("INSERT INTO r VALUES (9, 1, 'x')")  # not committed yet
        report = clean(store, make_target(guards=(HELD,)))
        rival.commit()
    assert ids(db) == [1, 3]
    assert report.deleted == 1


def test_with_a_late_check_it_is_the_newcomer_that_fails(
    postgres_url: str, db: Db, store: PostgresStore, clean: Clean
) -> None:
    """As with the framework's own cleaner: nothing is locked before its transaction ends, and then it says so."""
    tokens(db, rows=3)
    with psycopg.connect(postgres_url) as rival:
        rival.execute("INSERT INTO r VALUES (9, 1, 'x')")
        assert clean(store, make_target(guards=(HELD,))).deleted == 2
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            rival.commit()
    assert (ids(db), ids(db, "r")) == ([3], [3])


def test_referring_rows_let_go_first(db: Db, store: PostgresStore, clean: Clean) -> None:
    tokens(db)
    report = clean(store, make_target(detach=(HELD.of,)))
    assert (ids(db), report.deleted) == ([], 3)
    assert [tuple(row) for row in db.execute("SELECT id, s_id FROM r")] == [(3, None)]


def test_a_batch_counts_the_rows_that_let_go(db: Db, store: PostgresStore, clean: Clean) -> None:
    tokens(db, rows=1500)
    db.execute("TRUNCATE r")
    db.execute("INSERT INTO r SELECT i, i, 'x' FROM generate_series(1, 1500) i")
    report = clean(store, make_target(detach=(HELD.of,)))
    assert (report.deleted, report.survivors) == (1500, 0)
    assert report.largest_batch <= 1000
    assert db.execute("SELECT count(*) FROM r WHERE s_id IS NULL").fetchone() == (1500,)


GONE = RowGuard(Related("parents", key="id", by="parent"), gone=True)
AN_HOUR_OLD = StartExpiry(ColumnExpiry("created"), timedelta(hours=1))


def orphans(db: Db) -> None:
    db.execute("CREATE TABLE parents (id text PRIMARY KEY)")
    db.execute("INSERT INTO parents VALUES ('a')")
    db.execute("CREATE TABLE s (id int PRIMARY KEY, parent text, created timestamptz)")
    db.execute(
        "INSERT INTO s VALUES (1, 'a', now() - interval '9 d'), (2, 'gone', now() - interval '9 d'),"
        " (3, 'to come', now() - interval '1 min'), (4, NULL, now() - interval '9 d'), (5, 'gone', NULL)"
    )


def test_what_points_to_something_gone_goes_when_it_is_old_enough(db: Db, store: PostgresStore, clean: Clean) -> None:
    orphans(db)
    clean(store, replace(make_target(), expiry=AN_HOUR_OLD, guards=(GONE,)))
    assert ids(db) == [1, 3, 4, 5]


def test_an_empty_table_says_that_parents_are_kept_elsewhere(db: Db, store: PostgresStore, clean: Clean) -> None:
    orphans(db)
    db.execute("TRUNCATE parents")
    with pytest.raises(StoreError, match="parents is empty"):
        clean(store, replace(make_target(), expiry=AN_HOUR_OLD, guards=(GONE,)))
    assert ids(db) == [1, 2, 3, 4, 5]


def test_hidden_rows_of_another_table_are_an_error(db: Db, postgres_url: str, clean: Clean) -> None:
    """Row security on what keeps records alive: each of them would look as if nothing did."""
    from cleanup_pipeline.model.store_config import StoreConfig
    from cleanup_pipeline.model.words import StoreType
    from cleanup_pipeline.stores.postgres import open_postgres

    tokens(db)
    db.execute("CREATE ROLE cleaner_of_guards LOGIN")
    try:
        db.execute("GRANT SELECT, UPDATE, DELETE ON s, r TO cleaner_of_guards")
        db.execute("ALTER TABLE r ENABLE ROW LEVEL SECURITY")
        url = postgres_url.replace("//postgres@", "//cleaner_of_guards@")
        store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
        try:
            with pytest.raises(StoreError, match=r"row security may hide rows of public\.r"):
                clean(store, make_target(guards=(HELD,)))
        finally:
            store.close()
        # What the naive statement does: it sees no refresh token at all.
        with psycopg.connect(url) as naive:
            hidden = naive.execute("SELECT count(*) FROM s WHERE id NOT IN (SELECT s_id FROM r)").fetchone()
        assert hidden == (3,)
        assert ids(db) == [1, 2, 3]
    finally:
        db.execute("DROP OWNED BY cleaner_of_guards; DROP ROLE cleaner_of_guards")


def test_columns_that_are_set_to_null(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, email text, token text, sent timestamptz)")
    db.execute("INSERT INTO s SELECT i, 'e', 't', now() - interval '9 h' FROM generate_series(1, 2500) i")
    db.execute("INSERT INTO s VALUES (9001, 'e', 't', now()), (9002, 'e', NULL, now() - interval '9 h')")
    rule = StartExpiry(ColumnExpiry("sent"), timedelta(hours=6))
    target = replace(make_target(), expiry=rule, set_null=("token",))
    report = clean(store, target)
    # Also where the date itself is not set to null: what is null already does not count again.
    assert (report.expired_found, report.deleted, report.survivors, report.largest_batch) == (2500, 2500, 0, 1000)
    assert db.execute("SELECT count(*), count(email), count(token) FROM s").fetchone() == (2502, 2502, 1)
    assert clean(store, target).deleted == 0


def test_what_is_not_there_or_may_not_be_read_is_told(db: Db, store: PostgresStore) -> None:
    tokens(db)
    for related, said in (
        (Related("nowhere", key="s_id", by="id"), "table public.nowhere, which decides"),
        (Related("r", key="x", by="id"), "r has no column x"),
        (Related("r", key="s_id", by="x"), "the record has no column x"),
    ):
        with pytest.raises(StoreError, match=said):
            store.preflight(make_target(guards=(RowGuard(related),)))
    with pytest.raises(StoreError, match="has no column nope"):
        store.preflight(make_target(set_null=("nope",)))


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        ("extract(epoch FROM now())::bigint * 1000", "s", "after 2100"),
        ("extract(epoch FROM now())::bigint", "ms", "before 2001"),
    ],
    ids=["milliseconds read as seconds", "seconds read as milliseconds"],
)
def test_a_wrong_unit_is_refused(db: Db, store: PostgresStore, clean: Clean, value: str, unit: str, said: str) -> None:
    from cleanup_pipeline.model.words import EpochUnit

    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at bigint)")
    db.execute(f"INSERT INTO s SELECT i, {value} + i FROM generate_series(-50, 50) i")  # type: ignore[call-overload]
    db.execute("INSERT INTO s VALUES (900, 0), (901, NULL)")
    for start in (False, True):
        target = make_target(unit=EpochUnit(unit))
        if start:
            target = replace(target, expiry=StartExpiry(ColumnExpiry("expires_at", unit=EpochUnit(unit)), timedelta(1)))
        with pytest.raises(StoreError, match=said):
            clean(store, target)
    assert len(ids(db)) == 103


def test_a_table_of_records_that_never_die_is_not_refused(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("INSERT INTO s VALUES (1, NULL), (2, 'epoch')")
    assert clean(store, make_target()).deleted == 0


def test_a_join_that_turns_rows_round_leaves_none_behind(db: Db, store: PostgresStore, clean: Clean) -> None:
    """A hash join that is built from the records hands them on in the order of the hash."""
    tokens(db, constraint="", rows=40)
    db.execute("ANALYZE s; ANALYZE r")
    report = clean(store, make_target(guards=(HELD,), batch_size=5))
    assert ids(db) == [n for n in range(1, 41) if n % 3 == 0]
    assert (report.deleted, report.survivors, report.error) == (27, 0, None)
