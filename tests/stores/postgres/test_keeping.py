"""Rows are kept before they go, go only while they are what was kept, and come back as they were."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.removed import Fate, Lot
from cleanup_pipeline.model.rules import Related
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore
from cleanup_pipeline.stores.postgres.composite import fields_of
from tests.stores.handing import Memory
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]

ODD = """
CREATE TABLE s (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  expires_at timestamptz NOT NULL,
  owner text, body bytea, doc json, docb jsonb, price numeric(20,7), far float8, near real, tags text[], span interval,
  day date, clock timetz, place inet, uid uuid, fixed char(7), bits bit(5), money_ money, range_ tstzrange,
  "record" int, "odd ""name, \\" text,
  twice bigint GENERATED ALWAYS AS (id * 2) STORED
)
"""
FILL = """
INSERT INTO s (expires_at, owner, body, doc, docb, price, far, near, tags, span, day, clock, place, uid, fixed, bits,
  money_, range_, "record", "odd ""name, \\")
SELECT now() - interval '1 day' * n, CASE WHEN n % 3 > 0 THEN 'user ' || n % 5 END,
  decode(repeat('00ff275c22', n), 'hex'), '{"b" : 1,   "a":[null, "(\\"x\\",\\\\)"]}', '{"b":1,"a":2.50}',
  n / 7.0, n / 3.0, n / 3.0,
  ARRAY['a,b', '"', '\\', NULL, '', '{'], '1 mon -2 days 03:00:00.000001', 'epoch', '10:00+02', '10.0.0.1/8',
  gen_random_uuid(), 'ab', '10101', 12.5, '[2020-01-01,2021-01-01)', n,
  CASE n % 4 WHEN 0 THEN '' WHEN 1 THEN E'line\\nbreak, "quoted" (in) \\\\ back' WHEN 2 THEN NULL ELSE 'plain' END
FROM generate_series(1, 40) n
"""


@pytest.fixture
def odd(db: Db) -> Db:
    """Forty expired rows of every kind of type, and one that lives."""
    db.execute(ODD)
    db.execute(FILL)
    db.execute("INSERT INTO s (expires_at) VALUES (now() + interval '1 day')")
    return db


def rows(db: Db, table: str = "s") -> list[Any]:
    found = db.execute(f"SELECT t::text FROM {table} t ORDER BY 1").fetchall()  # type: ignore[call-overload]
    return [row[0] for row in found]


def told(handover: Memory, **changes: Any) -> Target:
    return make_target(handover=handover, batch_size=7, owner="owner", **changes)


@pytest.mark.parametrize("index", [True, False])
def test_every_type_comes_back_as_it_was(odd: Db, store: PostgresStore, clean: Clean, index: bool) -> None:
    if index:
        odd.execute("CREATE INDEX ON s (expires_at)")
        odd.execute("ANALYZE s")
    before, memory = rows(odd), Memory()
    report = clean(store, told(memory))
    assert (report.deleted, report.survivors, len(rows(odd))) == (40, 0, 1)
    assert memory.names == sorted(str(n) for n in range(1, 41))
    assert {r.owner for r in memory.records} == {b"", *(f"user {n}".encode() for n in range(5))}
    assert memory.back_to(store, told(memory), dry_run=True) == {Fate.RESTORED: 40}
    assert len(rows(odd)) == 1
    assert memory.back_to(store, told(memory)) == {Fate.RESTORED: 40}
    assert rows(odd) == before
    assert memory.back_to(store, told(memory)) == {Fate.EXISTS: 40}


def test_only_told(odd: Db, store: PostgresStore, clean: Clean) -> None:
    memory = Memory(whole=False)
    died = odd.execute(
        "SELECT id, (date_part('epoch', expires_at) * 1000)::bigint FROM s WHERE expires_at < now()"
    ).fetchall()
    assert clean(store, told(memory)).deleted == 40
    assert not memory.held
    assert sorted((int(r.identifier), r.died) for r in memory.records) == sorted(died)
    assert not any(r.body for r in memory.records)


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ("UPDATE s SET owner = 'changed' WHERE id = 3", 1),
        ("UPDATE s SET expires_at = now() + interval '1 h' WHERE id = 3", 1),
        ("DELETE FROM s WHERE id = 3", 0),
    ],
)
def test_what_changed_meanwhile_stays_in_this_batch(
    odd: Db, store: PostgresStore, clean: Clean, change: str, stays: int
) -> None:
    done: list[int] = []

    def meanwhile(_: Lot) -> None:
        if not done:
            done.append(odd.execute(change).rowcount)

    memory = Memory(meanwhile=meanwhile)
    target = told(memory)
    plan = scan(store, target, dry_run=False)
    batch = store.delete_batch(target, plan.work, plan.work.shards[0], None, 10, plan.cutoff)
    assert (batch.scanned, batch.deleted, done) == (10, 9, [1])
    assert "3" not in memory.names and len(memory.names) == 9
    assert odd.execute("SELECT count(*) FROM s WHERE id = 3").fetchone() == (stays,)


def test_a_row_that_somebody_holds_is_left_for_later(odd: Db, store: PostgresStore, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT FROM s WHERE id = 5 FOR UPDATE")
        memory = Memory()
        target = told(memory)
        plan = scan(store, target, dry_run=False)
        batch = store.delete_batch(target, plan.work, plan.work.shards[0], None, 10, plan.cutoff)
    assert (batch.scanned, batch.deleted) == (10, 9)
    assert "5" not in memory.names


def test_columns_that_are_set_to_null(odd: Db, store: PostgresStore, clean: Clean) -> None:
    odd.execute("ALTER TABLE s ALTER expires_at DROP NOT NULL")
    before, memory = rows(odd), Memory()
    target = told(memory, set_null=("expires_at", "owner"))
    assert clean(store, target).deleted == 40
    assert len(rows(odd)) == 41
    odd.execute("UPDATE s SET owner = 'another' WHERE id = 2")
    assert memory.back_to(store, target) == {Fate.RESTORED: 39, Fate.EXISTS: 1}
    odd.execute("UPDATE s SET owner = NULL WHERE id = 2")
    assert memory.back_to(store, target) == {Fate.RESTORED: 1, Fate.EXISTS: 39}
    assert rows(odd) == before


@pytest.fixture
def family(db: Db) -> Db:
    """Two levels of children, and rows elsewhere that let go."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz, owner text)")
    db.execute(
        "CREATE TABLE child (id int PRIMARY KEY, s_id int REFERENCES s DEFERRABLE INITIALLY DEFERRED, note text)"
    )
    db.execute("CREATE TABLE grandchild (id int PRIMARY KEY, child_id int REFERENCES child)")
    db.execute("CREATE TABLE other (id int PRIMARY KEY, by_id int REFERENCES s)")
    db.execute("INSERT INTO s SELECT n, now() - interval '1 day', 'u' || n FROM generate_series(1, 6) n")
    db.execute("INSERT INTO child SELECT n, 1 + n / 2, 'note ' || n FROM generate_series(1, 10) n")
    db.execute("INSERT INTO grandchild SELECT n, n FROM generate_series(1, 10) n")
    db.execute("INSERT INTO other SELECT n, n FROM generate_series(1, 6) n")
    db.execute("CREATE INDEX ON child (s_id)")
    db.execute("CREATE INDEX ON grandchild (child_id)")
    return db


def whole(db: Db) -> list[Any]:
    return [rows(db, table) for table in ("s", "child", "grandchild", "other")]


def family_target(memory: Memory) -> Target:
    # Rows of `other` let go; its foreign key is then in nobody's way.
    return told(memory, children_first=True, detach=(Related("other", "by_id", "id"),))


def test_children_go_and_come_back_with_their_record(family: Db, store: PostgresStore, clean: Clean) -> None:
    family.execute("ALTER TABLE other DROP CONSTRAINT other_by_id_fkey")
    before, memory = whole(family), Memory()
    report = clean(store, family_target(memory))
    assert (report.deleted, report.children) == (6, 20)
    assert [len(each) for each in whole(family)] == [0, 0, 0, 6]
    assert memory.names == ["1", "2", "3", "4", "5", "6"]
    assert memory.back_to(store, family_target(memory)) == {Fate.RESTORED: 6 + 20 + 6}
    assert whole(family) == before


def test_what_went_with_a_record_that_is_there_again_stays_away(family: Db, store: PostgresStore, clean: Clean) -> None:
    family.execute("ALTER TABLE other DROP CONSTRAINT other_by_id_fkey")
    memory = Memory()
    clean(store, family_target(memory))
    family.execute("INSERT INTO s VALUES (1, now() + interval '1 day', 'new')")
    fates = memory.back_to(store, family_target(memory))
    # Its child 1, that one's child, and the row that had let go of it.
    assert fates == {Fate.EXISTS: 1, Fate.RESTORED: 5 + 18 + 5, Fate.LEFT: 3}
    assert family.execute("SELECT owner FROM s WHERE id = 1").fetchone() == ("new",)


def test_a_child_that_comes_meanwhile_keeps_its_record(family: Db, store: PostgresStore, clean: Clean) -> None:
    family.execute("ALTER TABLE other DROP CONSTRAINT other_by_id_fkey")
    before: list[int] = []

    def meanwhile(_: Lot) -> None:
        if not before:
            before.append(1)
            family.execute("INSERT INTO child VALUES (99, 1, 'late')")

    memory = Memory(meanwhile=meanwhile)
    report = clean(store, family_target(memory))
    assert report.deleted == 6
    # The first try was undone as a whole; the second one kept the late child, too.
    assert len(memory.held) > len(memory.went)
    assert b"late" in b"".join(r.body for r in memory.records)
    assert memory.back_to(store, family_target(memory))[Fate.RESTORED] == 6 + 21 + 6


def test_a_row_whose_user_is_gone_is_refused_and_says_no_value(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE users (id int PRIMARY KEY)")
    db.execute("CREATE TABLE s (id int PRIMARY KEY, owner int REFERENCES users, expires_at timestamptz)")
    db.execute("INSERT INTO users VALUES (77), (78)")
    db.execute("INSERT INTO s VALUES (1, 77, now() - interval '1 day'), (2, 78, now() - interval '1 day')")
    memory = Memory()
    clean(store, told(memory))
    db.execute("DELETE FROM users WHERE id = 77")
    [(lot, _, _)] = memory.went
    done = store.put_back(told(memory), lot, dry_run=False)
    assert sorted(done.fates) == [Fate.REFUSED, Fate.RESTORED]
    assert done.reasons == ("ForeignKeyViolation (s_owner_fkey)",)


def test_a_row_whose_place_somebody_else_took_stays_away(db: Db, store: PostgresStore, clean: Clean) -> None:
    """Not the same record again, but one that has its name: a user who logged in has a new row for the same device."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, device text UNIQUE, expires_at timestamptz, owner text)")
    db.execute("INSERT INTO s SELECT n, 'device ' || n, now() - interval '1 day', 'u' FROM generate_series(1, 3) n")
    memory = Memory()
    assert clean(store, told(memory)).deleted == 3
    db.execute("INSERT INTO s VALUES (77, 'device 2', now() + interval '1 day', 'u')")
    assert memory.back_to(store, told(memory)) == {Fate.RESTORED: 2, Fate.EXISTS: 1}
    assert db.execute("SELECT id, device FROM s ORDER BY id").fetchall() == [
        (1, "device 1"), (3, "device 3"), (77, "device 2"),
    ]  # fmt: skip
    assert memory.back_to(store, told(memory)) == {Fate.EXISTS: 3}


@pytest.mark.parametrize(
    ("make", "changes", "says"),
    [
        ("", {"quarantine": True}, "s has no primary key"),
        ("ALTER TABLE s ADD PRIMARY KEY (id)", {"owner": "nobody", "removals": True}, "s has no column nobody"),
        (
            "ALTER TABLE s ADD PRIMARY KEY (id)",
            {"drop_partitions": True, "removals": True},
            "partitions that are dropped",
        ),
        (
            "ALTER TABLE s ADD PRIMARY KEY (id); CREATE TABLE c (id int, s_id int REFERENCES s ON DELETE CASCADE)",
            {"quarantine": True, "cascade": True},
            "rows of c go or change with a record by themselves, unseen",
        ),
        (
            "ALTER TABLE s ADD PRIMARY KEY (id); CREATE TABLE c (s_id int REFERENCES s); CREATE INDEX ON c (s_id)",
            {"quarantine": True, "children_first": True},
            "public.c has no primary key",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_reason(
    db: Db, store: PostgresStore, make: str, changes: dict[str, Any], says: str
) -> None:
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    for each in filter(None, make.split(";")):
        db.execute(each)
    with pytest.raises(StoreError, match=says):
        scan(store, make_target(**changes), dry_run=False)
    # Where nothing is to be kept, it is none of its business.
    scan(store, replace(make_target(**changes), quarantine=False, removals=False), dry_run=False)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("()", [None]),
        ("(,)", [None, None]),
        ('("")', [""]),
        ('(1,"a ""b"" \\\\ c",,"x,y")', ["1", 'a "b" \\ c', None, "x,y"]),
    ],
)
def test_rows_are_taken_apart(text: str, fields: list[str | None]) -> None:
    assert fields_of(text) == fields


@pytest.mark.parametrize("text", ["", "1", '("', '("a'])
def test_what_is_no_row_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no row|does not end"):
        fields_of(text)
