"""What a review of the deletion code found: each of these fails until it is mended."""

from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore, strategy

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


def test_a_partition_that_rows_refer_to_is_an_error_with_a_remedy_or_is_swept(
    db: Db, store: PostgresStore, clean: Clean
) -> None:
    db.execute(
        "CREATE TABLE p (id int, expires_at timestamptz, PRIMARY KEY (id, expires_at)) PARTITION BY RANGE (expires_at)"
    )
    db.execute("CREATE TABLE p_jan PARTITION OF p FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')")
    db.execute("CREATE TABLE p_now PARTITION OF p FOR VALUES FROM ('2025-02-01 00:00+00') TO (MAXVALUE)")
    db.execute("INSERT INTO p SELECT n, timestamptz '2025-01-02Z' + n * interval '1 s' FROM generate_series(1, 20) n")
    db.execute("CREATE TABLE c (a int, b timestamptz, FOREIGN KEY (a, b) REFERENCES p)")
    db.execute("INSERT INTO c SELECT id, expires_at FROM p WHERE id = 7")
    target = make_target("p", drop_partitions=True)
    report = clean(store, target)
    print(report.error, report.stop_reason, report.parked)
    assert "unexpected" not in (report.error or "")
    assert report.stop_reason in (StopReason.EXHAUSTED, StopReason.ERROR)
    assert (report.deleted, report.survivors) == (19, 1)


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
