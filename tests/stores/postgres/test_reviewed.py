"""Ways in which deletion could go wrong, each on a real server."""

from contextlib import suppress
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres, strategy

from .conftest import Clean, make_target

Db = psycopg.Connection[Any]


def count(db: Db, query: str) -> int:
    row = db.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_rows_of_an_heir_of_a_child_are_not_children(db: Db, store: PostgresStore, clean: Clean) -> None:
    """A foreign key is not inherited: the archive refers to nothing, and a cascade would leave it alone."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("INSERT INTO s VALUES (1, now() - interval '1 day'), (2, now() + interval '1 day')")
    db.execute("CREATE TABLE token (id int, session int REFERENCES s)")
    db.execute("CREATE TABLE archive () INHERITS (token)")
    db.execute("INSERT INTO token VALUES (1, 1), (2, 2)")
    db.execute("INSERT INTO archive VALUES (3, 1)")
    report = clean(store, make_target(children_first=True))
    assert (report.deleted, report.survivors) == (1, 0)
    assert count(db, "SELECT count(*) FROM ONLY archive") == 1
    assert report.children == 1


def months(db: Db) -> None:
    db.execute("CREATE TABLE p (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at)")
    db.execute("CREATE TABLE p_jan PARTITION OF p FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')")
    db.execute("CREATE TABLE p_now PARTITION OF p FOR VALUES FROM ('2025-02-01 00:00+00') TO (MAXVALUE)")
    db.execute("INSERT INTO p SELECT n, timestamptz '2025-01-02Z' + n * interval '1 s' FROM generate_series(1, 20) n")


def test_a_partition_that_somebody_else_detached_is_not_dropped(
    db: Db, postgres_url: str, store: PostgresStore, clean: Clean
) -> None:
    """A detach of ours that never came to pass leaves no right to a table that is put aside later."""
    months(db)
    db.execute("CREATE TABLE p_rest PARTITION OF p DEFAULT")
    with psycopg.connect(postgres_url) as reader:
        # Detaching waits for whoever reads the table, and gives up.
        reader.execute("SELECT * FROM p")
        plan = scan(store, make_target("p", drop_partitions=True), dry_run=False)
        (drops,) = [shard for shard in plan.work.shards if strategy.DROP in shard.bounds]
        with pytest.raises(StoreError):
            store.delete_batch(make_target("p", drop_partitions=True), plan.work, drops, None, 1000, plan.cutoff)
    # It is part of the table still; now it is put aside on purpose.
    assert count(db, "SELECT count(*) FROM p") == 20
    db.execute("ALTER TABLE p DETACH PARTITION p_jan")
    db.execute("INSERT INTO p VALUES (99, now() - interval '1 day')")
    clean(store, make_target("p", drop_partitions=True))
    assert count(db, "SELECT count(*) FROM pg_class WHERE relname = 'p_jan'") == 1


def test_a_partition_that_cannot_be_detached_does_not_keep_the_others(
    db: Db, store: PostgresStore, clean: Clean
) -> None:
    """Rows that refer to it keep p_jan from going as a whole; nothing keeps p_feb, nor the other rows of p_jan."""
    db.execute(
        "CREATE TABLE p (id int, expires_at timestamptz, PRIMARY KEY (id, expires_at)) PARTITION BY RANGE (expires_at)"
    )
    db.execute("CREATE TABLE p_jan PARTITION OF p FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')")
    db.execute("CREATE TABLE p_feb PARTITION OF p FOR VALUES FROM ('2025-02-01 00:00+00') TO ('2025-03-01 00:00+00')")
    db.execute("CREATE TABLE p_now PARTITION OF p FOR VALUES FROM ('2025-03-01 00:00+00') TO (MAXVALUE)")
    db.execute("INSERT INTO p SELECT n, timestamptz '2025-01-02Z' + n * interval '1 s' FROM generate_series(1, 20) n")
    db.execute("INSERT INTO p SELECT n, timestamptz '2025-02-02Z' + n * interval '1 s' FROM generate_series(21, 40) n")
    db.execute("CREATE TABLE c (a int, b timestamptz, FOREIGN KEY (a, b) REFERENCES p)")
    db.execute("INSERT INTO c SELECT id, expires_at FROM p WHERE id = 7")
    report = clean(store, make_target("p", drop_partitions=True))
    assert (report.deleted, report.survivors, report.parked) == (39, 1, 1), report.error


def test_children_first_holds_for_dropped_partitions_as_well(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute(
        "CREATE TABLE p (id int, expires_at timestamptz, PRIMARY KEY (id, expires_at)) PARTITION BY RANGE (expires_at)"
    )
    db.execute("CREATE TABLE p_jan PARTITION OF p FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')")
    db.execute("CREATE TABLE p_now PARTITION OF p FOR VALUES FROM ('2025-02-01 00:00+00') TO (MAXVALUE)")
    db.execute("INSERT INTO p SELECT n, timestamptz '2025-01-02Z' + n * interval '1 s' FROM generate_series(1, 20) n")
    db.execute("CREATE TABLE c (a int, b timestamptz, FOREIGN KEY (a, b) REFERENCES p)")
    db.execute("INSERT INTO c SELECT id, expires_at FROM p WHERE id = 7")
    report = clean(store, make_target("p", drop_partitions=True, children_first=True))
    assert (report.deleted, report.children, report.survivors) == (20, 1, 0), report.error


def test_the_comment_of_a_partition_that_stays_is_what_it_was(db: Db, store: PostgresStore) -> None:
    months(db)
    db.execute("COMMENT ON TABLE p_jan IS 'kept by the audit'")
    db.execute("CREATE VIEW audit AS SELECT * FROM p_jan")
    target = make_target("p", drop_partitions=True)
    plan = scan(store, target, dry_run=False)
    (drops,) = [shard for shard in plan.work.shards if strategy.DROP in shard.bounds]
    with pytest.raises(StoreError):
        store.delete_batch(target, plan.work, drops, None, 1000, plan.cutoff)
    assert count(db, "SELECT count(*) FROM p") == 20, "a partition that a view keeps is out of the table for ever"
    assert count(db, "SELECT count(*) FROM pg_description WHERE description = 'kept by the audit'") == 1


def test_a_row_that_a_login_held_is_not_left_behind_by_children_first(
    db: Db, postgres_url: str, store: PostgresStore
) -> None:
    """Without children a batch comes back to what was locked; the shard may not be called exhausted here either."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("CREATE TABLE c (s int REFERENCES s)")
    db.execute("INSERT INTO s SELECT n, now() - interval '1 day' FROM generate_series(1, 10) n")
    target = make_target(children_first=True)
    plan = scan(store, target, dry_run=False)
    shard, deleted = plan.work.shards[0], 0
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT * FROM s WHERE id = 3 FOR UPDATE")
        outcome = store.delete_batch(target, plan.work, shard, None, 1000, plan.cutoff)
        deleted += outcome.deleted
    while outcome.cursor is not None:
        outcome = store.delete_batch(target, plan.work, shard, outcome.cursor, 1000, plan.cutoff)
        deleted += outcome.deleted
    assert deleted == 10


def test_a_trigger_that_keeps_the_parent_keeps_its_children(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("CREATE TABLE c (s int REFERENCES s)")
    db.execute("INSERT INTO s SELECT n, now() - interval '1 day' FROM generate_series(1, 3) n")
    db.execute("INSERT INTO c SELECT n FROM generate_series(1, 3) n")
    db.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    db.execute("CREATE TRIGGER keep BEFORE DELETE ON s FOR EACH ROW WHEN (OLD.id = 2) EXECUTE FUNCTION keep()")
    clean(store, make_target(children_first=True))
    assert [row[0] for row in db.execute("SELECT id FROM s")] == [2]
    assert [row[0] for row in db.execute("SELECT s FROM c")] == [2]


@pytest.mark.parametrize("shrunk", [1000, 10])
def test_a_second_look_by_smaller_batches_sees_it_all(
    db: Db, postgres_url: str, store: PostgresStore, shrunk: int
) -> None:
    """The governor and halving shrink batches at any time."""
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    db.execute("INSERT INTO s SELECT n, now() - interval '1 day' FROM generate_series(1, 100) n")
    target = make_target()
    plan = scan(store, target, dry_run=False)
    assert plan.work.strategy == strategy.BLOCK_SWEEP
    work, shard = plan.work, plan.work.shards[0]
    deleted, cursor, size = 0, None, 1000
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT * FROM s FOR UPDATE")
        outcome = store.delete_batch(target, work, shard, cursor, size, plan.cutoff)
        deleted, cursor = outcome.deleted, outcome.cursor
        assert (deleted, cursor is not None) == (0, True)
    while cursor is not None:
        outcome = store.delete_batch(target, work, shard, cursor, shrunk, plan.cutoff)
        deleted, cursor = deleted + outcome.deleted, outcome.cursor
    assert deleted == 100
    assert count(db, "SELECT count(*) FROM s") == 0


def test_a_parent_with_very_many_children_does_not_make_a_batch_of_them_all(
    db: Db, store: PostgresStore, clean: Clean
) -> None:
    """What is undone has been done: the locks, the log and the dead space of a transaction of any size."""
    db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
    db.execute("INSERT INTO s SELECT n, now() - interval '1 day' FROM generate_series(1, 8) n")
    db.execute("CREATE TABLE token (session int REFERENCES s)")
    db.execute("CREATE INDEX ON token (session)")
    db.execute("INSERT INTO token SELECT 1 FROM generate_series(1, 20000)")
    report = clean(store, make_target(children_first=True, batch_size=8))
    assert (report.deleted, report.parked) == (7, 1)
    store.close()
    db.execute("SELECT pg_stat_force_next_flush()")
    query = "SELECT n_tup_del FROM pg_stat_all_tables WHERE relname = 'token'"
    assert count(db, query) <= 1001 * 20, "rows of children that batches deleted, undone ones included"


def test_a_row_limit_holds_for_dropped_partitions_as_well(db: Db, store: PostgresStore, clean: Clean) -> None:
    months(db)
    report = clean(store, make_target("p", drop_partitions=True, row_limit=5))
    assert report.deleted <= 5


def test_rows_that_a_policy_hides_are_not_dropped_with_their_partition(db: Db, postgres_url: str, clean: Clean) -> None:
    """A policy on the partition alone: the table itself looks as if everything could be seen."""
    months(db)
    db.execute("ALTER TABLE p ADD app text DEFAULT 'web'")
    db.execute("UPDATE p SET app = 'other' WHERE id = 7")
    db.execute("ALTER TABLE p_jan ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    db.execute("CREATE POLICY web ON p_jan USING (app = 'web')")
    db.execute("CREATE ROLE keeper LOGIN")
    db.execute("GRANT ALL ON SCHEMA public TO keeper")
    for name in ("p", "p_jan", "p_now"):
        db.execute(f"ALTER TABLE {name} OWNER TO keeper")
    keeper = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url.replace("postgres@", "keeper@")))
    try:
        with suppress(StoreError):
            clean(keeper, make_target("p", drop_partitions=True, where={"app": "web"}))
        assert count(db, "SELECT count(*) FROM p WHERE app = 'other'") == 1
    finally:
        keeper.close()
        db.execute("DROP OWNED BY keeper CASCADE")
        db.execute("DROP ROLE keeper")
