"""What a row breaks keeps that row away, and no other; what refers to one another comes back in any order."""

from typing import Any

import psycopg
import pytest

from cleanup_pipeline.model.removed import Fate, Lot, PutBack, Removed
from cleanup_pipeline.stores.postgres import PostgresStore
from cleanup_pipeline.stores.postgres.putting_back import belonging
from tests.stores.handing import Memory
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]
DEFERRED = "DEFERRABLE INITIALLY DEFERRED"
FORM = {
    "store": "postgres",
    "table": ["public", "s"],
    "columns": ["id", "at"],
    "computed": [],
    "key": ["id"],
    "nulls": [],
}


def taken(db: Db, store: PostgresStore, clean: Clean, columns: str, fill: str) -> Lot:
    """One lot of all rows of a table that is now empty."""
    db.execute(f"CREATE TABLE s (id int PRIMARY KEY, {columns}, expires_at timestamptz)")
    db.execute(f"INSERT INTO s SELECT n, {fill}, now() - interval '1 day' * (20 - n) FROM generate_series(1, 10) n")
    memory = Memory()
    assert clean(store, make_target(handover=memory)).deleted == 10
    [(lot, _, _)] = memory.went
    return lot


def both(store: PostgresStore, lot: Lot) -> PutBack:
    """Put a lot back; a dry run says the same beforehand."""
    foretold = store.put_back(make_target(), lot, dry_run=True)
    done = store.put_back(make_target(), lot, dry_run=False)
    assert foretold == done
    return done


def ids(db: Db) -> list[int]:
    return [row[0] for row in db.execute("SELECT id FROM s ORDER BY id")]


def test_a_deferred_foreign_key_refuses_one_row_and_no_other(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE users (id int PRIMARY KEY)")
    db.execute("INSERT INTO users SELECT generate_series(1, 10)")
    lot = taken(db, store, clean, f"owner int REFERENCES users {DEFERRED}", "n")
    db.execute("DELETE FROM users WHERE id = 7")
    done = both(store, lot)
    assert sorted(done.fates) == [Fate.REFUSED] + [Fate.RESTORED] * 9
    assert done.reasons == ("ForeignKeyViolation (s_owner_fkey)",)
    assert ids(db) == [1, 2, 3, 4, 5, 6, 8, 9, 10]


@pytest.mark.parametrize("when", ["", DEFERRED])
@pytest.mark.parametrize("fill", ["nullif(n - 1, 0)", "nullif(n + 1, 11)", "nullif((n * 2) % 11, 1)"])
def test_a_chain_within_a_table(db: Db, store: PostgresStore, clean: Clean, when: str, fill: str) -> None:
    lot = taken(db, store, clean, f"other int REFERENCES s {when}", fill)
    done = both(store, lot)
    assert (set(done.fates), done.reasons) == ({Fate.RESTORED}, ())
    assert ids(db) == list(range(1, 11))


def test_a_chain_whose_end_is_refused(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE users (id int PRIMARY KEY)")
    db.execute("INSERT INTO users SELECT generate_series(1, 10)")
    columns = "owner int REFERENCES users, other int REFERENCES s"
    lot = taken(db, store, clean, columns, "n, CASE WHEN n IN (5, 6, 7) THEN n - 1 END")
    db.execute("DELETE FROM users WHERE id = 5")
    assert sorted(both(store, lot).fates) == [Fate.REFUSED] * 3 + [Fate.RESTORED] * 7
    assert ids(db) == [1, 2, 3, 4, 8, 9, 10]


def test_a_circle_comes_back_where_its_constraint_may_wait(db: Db, store: PostgresStore, clean: Clean) -> None:
    lot = taken(db, store, clean, f"other int REFERENCES s {DEFERRED}", "1 + n % 10")
    done = both(store, lot)
    assert (set(done.fates), done.reasons) == ({Fate.RESTORED}, ())


def test_a_unique_constraint_that_is_deferrable(db: Db, store: PostgresStore, clean: Clean) -> None:
    lot = taken(db, store, clean, f"device int UNIQUE {DEFERRED}", "n")
    db.execute("INSERT INTO s VALUES (77, 4, now())")
    assert sorted(both(store, lot).fates) == [Fate.EXISTS] + [Fate.RESTORED] * 9
    assert set(both(store, lot).fates) == {Fate.EXISTS}
    assert ids(db) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 77]


@pytest.mark.parametrize("body", [b"(1)", b"(1,2,3)", b"secret", b'("secret', b"(\xff,1)", b""])
def test_a_body_that_does_not_fit_its_form(db: Db, store: PostgresStore, body: bytes) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, at int)")
    done = both(store, Lot([Removed(body=b"(5,6)"), Removed(body=body), Removed(body=b"(7,8)")], (FORM,)))
    assert done == PutBack((Fate.RESTORED, Fate.REFUSED, Fate.RESTORED), ("it is not as it was written",))
    assert ids(db) == [5, 7]


def test_a_form_that_lacks_something(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, at int)")
    poor = {key: value for key, value in FORM.items() if key not in {"columns", "computed"}}
    done = both(store, Lot([Removed(body=b"(5,6)")], (poor,)))
    assert done == PutBack((Fate.REFUSED,), ("it is not as it was written",))
    named = poor | {"columns": ["id", "at"], "nulls": ["at"], "key": ["none"]}
    assert both(store, Lot([Removed(body=b"(5,6)")], (named,))) == done


def test_a_child_that_cannot_be_read(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, at int)")
    db.execute("CREATE TABLE c (id int PRIMARY KEY, s_id int REFERENCES s)")
    below = {"table": ["public", "c"], "columns": ["id", "s_id"], "computed": [], "key": ["id"], "above": 0,
             "referring": ["s_id"], "referred": ["id"]}  # fmt: skip
    bodies = [(b"(5,6)", 0), (b"(6", 0), (b"(1,5)", 1), (b"(2,6)", 1), (b"(3)", 1)]
    lot = Lot([Removed(body=body, form=form) for body, form in bodies], (FORM, below))
    fates = (Fate.RESTORED, Fate.REFUSED, Fate.RESTORED, Fate.LEFT, Fate.REFUSED)
    assert both(store, lot) == PutBack(fates, ("it is not as it was written",))
    assert belonging(lot, [0]) == [2, 4]
