"""Whole drains by each strategy: every expired row and nothing else, never more than the batch size at once."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres
from tests.e2e.support import wait_for
from tests.stores.postgres.conftest import Clean, make_target

Db = psycopg.Connection[Any]

MIXED = """INSERT INTO {table} (id, data, expires_at)
SELECT n, repeat('x', 100), CASE WHEN n % 3 = 0 THEN now() + interval '1 day' WHEN n % 50 = 1 THEN NULL
       ELSE now() - n % 400 * interval '1 hour' - interval '1 minute' END FROM generate_series(1, {rows}) n"""


def ids(db: Db, table: str = "s", where: str = "true") -> set[int]:
    return {row[0] for row in db.execute(f"SELECT id FROM {table} WHERE {where}")}


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_drains_exactly(db: Db, store: PostgresStore, clean: Clean, index: bool, batch_size: int) -> None:
    rows = 300 if batch_size == 1 else 6000
    db.execute("CREATE TABLE s (id bigint, data text, expires_at timestamptz)")
    db.execute(MIXED.format(table="s", rows=rows))
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    db.execute("ANALYZE s")
    stay = ids(db, where="expires_at IS NULL OR expires_at > now()")
    report = clean(store, make_target(batch_size=batch_size))
    assert ids(db) == stay
    assert report.strategy == ("index_walk" if index else "block_sweep")
    assert report.deleted == rows - len(stay)
    assert report.largest_batch <= batch_size


def test_index_walk_goes_oldest_first(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    db.execute("INSERT INTO s SELECT n, now() - n * interval '1 minute' FROM generate_series(1, 100) n")
    db.execute("CREATE INDEX ON s (expires_at)")
    plan = scan(store, make_target(), dry_run=False)
    assert plan.work.strategy == "index_walk"
    store.delete_batch(make_target(), plan.work, plan.work.shards[0], None, 10, plan.cutoff)
    assert ids(db) == set(range(1, 91))


def test_many_rows_that_died_at_one_instant(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    db.execute("INSERT INTO s SELECT n, timestamptz '2026-01-01' FROM generate_series(1, 5000) n")
    db.execute("CREATE INDEX ON s (expires_at)")
    report = clean(store, make_target(batch_size=100))
    assert (report.deleted, report.survivors, report.largest_batch) == (5000, 0, 100)


@pytest.mark.parametrize("index", [False, True])
def test_partitions_each_by_itself(db: Db, store: PostgresStore, clean: Clean, index: bool) -> None:
    db.execute("CREATE TABLE s (id bigint, data text, expires_at timestamptz) PARTITION BY HASH (id)")
    for part in range(6):
        db.execute(f"CREATE TABLE s{part} PARTITION OF s FOR VALUES WITH (MODULUS 6, REMAINDER {part})")
    db.execute(MIXED.format(table="s", rows=6000))
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    stay = ids(db, where="expires_at IS NULL OR expires_at > now()")
    target = make_target(batch_size=500, max_shards=4)
    assert len(scan(store, target, dry_run=False).work.shards) == 4
    assert clean(store, target).deleted == 6000 - len(stay)
    assert ids(db) == stay


def test_shards_of_a_big_table_are_disjoint_and_cover_it(
    db: Db, store: PostgresStore, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleanup_pipeline.stores.postgres.strategy.BLOCKS_PER_SHARD", 10)
    db.execute("CREATE TABLE s (id bigint, data text, expires_at timestamptz)")
    db.execute(MIXED.format(table="s", rows=5000))
    target = make_target(max_shards=4)
    shards = scan(store, target, dry_run=False).work.shards
    assert [s.bounds["block_from"] for s in shards[1:]] == [s.bounds["block_to"] for s in shards[:-1]]
    assert (shards[0].bounds["block_from"], shards[-1].bounds["block_to"], len(shards)) == (0, None, 4)
    report = clean(store, target)
    assert (report.survivors, report.deleted) == (0, report.expired_found)


def test_locked_rows_are_stepped_over_and_told(db: Db, store: PostgresStore, clean: Clean, postgres_url: str) -> None:
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    db.execute("INSERT INTO s SELECT n, now() - interval '1 day' FROM generate_series(1, 50) n")
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT * FROM s WHERE id <= 3 FOR UPDATE")
        report = clean(store, make_target())
    assert (report.deleted, report.survivors) == (47, 3)
    assert report.error is not None and "3 expired records are left" in report.error
    assert ids(db) == {1, 2, 3}


def test_a_row_refreshed_while_it_is_being_deleted_stays(db: Db, store: PostgresStore, postgres_url: str) -> None:
    """The refresh commits after the batch's snapshot was taken and before it reaches the row."""
    from threading import Thread

    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    db.execute("INSERT INTO s VALUES (1, now() - interval '1 day')")
    # Without the right to UPDATE there is no SKIP LOCKED: the DELETE waits for the login and must look again.
    db.execute("CREATE ROLE deleter LOGIN")
    db.execute("GRANT SELECT, DELETE ON s TO deleter")
    try:
        from dataclasses import replace

        from cleanup_pipeline.stores.postgres import open_postgres

        weak = open_postgres(replace(store.config, url=postgres_url.replace("postgres@", "deleter@")))
        plan = scan(weak, make_target(), dry_run=False)
        outcomes = []
        with psycopg.connect(postgres_url) as login:
            login.execute("UPDATE s SET expires_at = now() + interval '1 day'")
            batch = Thread(
                target=lambda: outcomes.append(
                    weak.delete_batch(make_target(), plan.work, plan.work.shards[0], None, 100, plan.cutoff)
                )
            )
            batch.start()
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'deleter'"
            while db.execute(waiting).fetchone() == (0,):
                assert batch.is_alive()
            login.commit()
            batch.join()
        assert outcomes[0].deleted == 0
        assert ids(db) == {1}
        weak.close()
    finally:
        db.execute("DROP OWNED BY deleter")
        db.execute("DROP ROLE deleter")


def test_a_trigger_that_keeps_rows_does_not_loop_for_ever(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    db.execute("INSERT INTO s SELECT n, timestamptz '2026-01-01' FROM generate_series(1, 30) n")
    db.execute("CREATE INDEX ON s (expires_at)")
    db.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    db.execute("CREATE TRIGGER keep BEFORE DELETE ON s FOR EACH ROW EXECUTE FUNCTION keep()")
    report = clean(store, make_target(batch_size=10))
    assert (report.deleted, report.survivors) == (0, 30)
    assert report.red


def test_dry_look_changes_nothing(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE s (id bigint, data text, expires_at timestamptz)")
    db.execute(MIXED.format(table="s", rows=500))
    before = db.execute("SELECT id, expires_at, xmin, ctid FROM s ORDER BY id").fetchall()
    plan = scan(store, make_target(), dry_run=True)
    assert plan.census.expired and store.survivors(make_target(), plan.cutoff, timedelta(seconds=5))
    assert db.execute("SELECT id, expires_at, xmin, ctid FROM s ORDER BY id").fetchall() == before


def test_census_that_takes_too_long_is_unknown_not_zero(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE s (id bigint, data text, expires_at timestamptz)")
    db.execute(MIXED.format(table="s", rows=200_000))
    target = make_target()
    cutoff = store.clock()
    store.preflight(target)
    census = store.census(target, cutoff, timedelta(milliseconds=1))
    assert (census.expired, census.live, census.exact) == (None, None, False)
    assert store.survivors(target, cutoff, timedelta(milliseconds=1)) is None


def test_recount_does_not_look_up_each_dead_row(db: Db, postgres_url: str) -> None:
    db.execute("CREATE TABLE s (id int, data text, expires_at timestamptz)")
    db.execute(
        "INSERT INTO s SELECT n, repeat('x', 400), now() + (n - 5600) * interval '1 hour'"
        " FROM generate_series(1, 8000) n ORDER BY random()"
    )
    db.execute("CREATE INDEX ON s (expires_at)")
    db.execute("VACUUM (FREEZE, ANALYZE) s")
    db.execute("DELETE FROM s WHERE expires_at <= now()")
    before, _ = heap_blocks(db)
    opened = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    assert opened.survivors(make_target(), opened.clock(), timedelta(seconds=10)) == 0
    opened.close()
    after, of_table = heap_blocks(db)
    assert after - before < 3 * of_table


def heap_blocks(db: Db) -> tuple[int, int]:
    """Blocks of the table `s` that were looked at so far by sessions that are over, and how many it has."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_for("other sessions to end", lambda: db.execute(others).fetchone() == (0,), 20)
    db.execute("SELECT pg_stat_force_next_flush()")
    row = db.execute(
        "SELECT heap_blks_read + heap_blks_hit, pg_relation_size(relid) / 8192 FROM pg_statio_user_tables"
    ).fetchone()
    assert row is not None
    return row
