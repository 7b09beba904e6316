"""Rows that others hold, shards side by side, and windows: nothing is taken twice, left out or taken too early."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import EpochUnit, StoreType
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres, strategy

from .conftest import Clean, make_target

Db = psycopg.Connection[Any]


def table(db: Db, rows: int, *, index: bool, extra: str = "") -> None:
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    db.execute(
        "INSERT INTO s SELECT n, now() - interval '1 day' + n * interval '1 second' FROM generate_series(1, %s) n",
        (rows,),
    )
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    db.execute("ANALYZE s")


def left(db: Db) -> list[int]:
    return [row[0] for row in db.execute("SELECT id FROM s ORDER BY id")]


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "block sweep"])
def test_what_was_locked_gets_a_second_look(db: Db, store: PostgresStore, postgres_url: str, index: bool) -> None:
    table(db, 50, index=index)
    target = make_target()
    plan = scan(store, target, dry_run=False)
    [shard] = plan.work.shards
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT * FROM s WHERE id IN (3, 4) FOR UPDATE")
        first = store.delete_batch(target, plan.work, shard, None, 20, plan.cutoff)
        assert first.deleted == 20
        assert {3, 4} <= set(left(db))
    cursor, batches = first.cursor, 0
    while cursor is not None:
        assert (batches := batches + 1) < 10
        cursor = store.delete_batch(target, plan.work, shard, cursor, 20, plan.cutoff).cursor
    assert left(db) == []


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "block sweep"])
def test_what_stays_locked_is_looked_at_twice_and_no_more(
    db: Db, store: PostgresStore, clean: Clean, postgres_url: str, index: bool
) -> None:
    table(db, 300, index=index)
    with psycopg.connect(postgres_url) as login:
        login.execute("SELECT * FROM s WHERE id IN (3, 250) FOR UPDATE")
        report = clean(store, make_target(batch_size=20))
    assert left(db) == [3, 250]
    assert report.survivors == 2
    assert report.error is not None


@pytest.mark.parametrize(
    ("column", "value", "unit"),
    [
        ("timestamptz", "now() - interval '1 day' + n * interval '1 second'", None),
        ("timestamp", "(now() AT TIME ZONE 'UTC') - interval '1 day' + n * interval '1 second'", None),
        ("bigint", "(extract(epoch FROM now())::bigint - 86400 + n) * 1000", EpochUnit.MILLISECONDS),
        ("numeric", "extract(epoch FROM now()) - 86400 + n", EpochUnit.SECONDS),
    ],
)
def test_an_index_walk_is_cut_into_disjoint_shards(
    db: Db, store: PostgresStore, monkeypatch: pytest.MonkeyPatch, column: str, value: str, unit: EpochUnit | None
) -> None:
    monkeypatch.setattr(strategy, "BLOCKS_PER_SHARD", 10)
    db.execute(f"CREATE TABLE s (id int, expires_at {column})")
    db.execute(f"INSERT INTO s SELECT n, {value} FROM generate_series(1, 20000) n")
    alive = value.replace("- 86400", "+ 86400").replace("- interval", "+ interval")
    db.execute(f"INSERT INTO s SELECT -n, {alive} FROM generate_series(1, 100) n")
    db.execute("CREATE INDEX ON s (expires_at)")
    db.execute("ANALYZE s")
    target = make_target(unit=unit, zone="UTC" if column == "timestamp" else None)
    plan = scan(store, target, dry_run=False)
    assert plan.work.strategy == strategy.INDEX_WALK
    assert len(plan.work.shards) == target.max_shards
    took = []
    for shard in plan.work.shards:
        cursor, deleted = None, 0
        while True:
            batch = store.delete_batch(target, plan.work, shard, cursor, 1000, plan.cutoff)
            deleted += batch.deleted
            if (cursor := batch.cursor) is None:
                break
        took.append(deleted)
    assert sum(took) == 20000
    assert min(took) > 0.5 * 20000 / len(took)
    assert all(n < 0 for n in left(db))


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "block sweep"])
@pytest.mark.parametrize("column", ["timestamptz", "timestamp", "bigint"])
def test_windows_take_together_what_one_pass_would(db: Db, store: PostgresStore, column: str, index: bool) -> None:
    end = datetime(2026, 5, 2, tzinfo=UTC)
    start = end - timedelta(hours=48)
    expression = "timestamptz '2026-05-02 00:00Z' - n * interval '13 minutes'"
    if column == "bigint":
        expression = f"extract(epoch FROM {expression})::bigint"
    elif column == "timestamp":
        expression = f"({expression}) AT TIME ZONE 'UTC'"
    db.execute(f"CREATE TABLE s (id int, expires_at {column})")
    db.execute(f"INSERT INTO s SELECT n, {expression} FROM generate_series(-10, 240) n")
    db.execute("INSERT INTO s VALUES (999, NULL)")
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    db.execute("ANALYZE s")
    unit = EpochUnit.SECONDS if column == "bigint" else None
    whole = make_target(unit=unit, zone="UTC" if column == "timestamp" else None)
    minute = timedelta(minutes=13)
    in_time = [n for n in range(1, 241) if start <= end - n * minute < end]
    hour = timedelta(hours=1)
    for window in range(48):
        target = replace(whole, since=start + window * hour)
        cutoff = start + (window + 1) * hour
        mine = [n for n in in_time if target.since <= end - n * minute < cutoff]
        store.preflight(target)
        census = store.census(target, cutoff, timedelta(seconds=5))
        assert census.expired == len(mine) == store.survivors(target, cutoff, timedelta(seconds=5))
        assert census.without_expiry == 1
        assert census.unparsable == 0
        work = store.plan(target, cutoff, census)
        deleted, cursor = 0, None
        for shard in work.shards:
            while True:
                batch = store.delete_batch(target, work, shard, cursor, 3, cutoff)
                deleted += batch.deleted
                if (cursor := batch.cursor) is None:
                    break
        assert deleted == len(mine)
    assert left(db) == sorted({*range(-10, 241), 999} - set(in_time))


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "block sweep"])
@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_to_delete_on_a_fresh_connection(
    db: Db, store: PostgresStore, postgres_url: str, index: bool, rows: int
) -> None:
    """Where no row is even looked at, nothing is left for the statement that asks what was found."""
    db.execute("CREATE TABLE s (id int, expires_at timestamptz)")
    if index:
        db.execute("CREATE INDEX ON s (expires_at)")
    db.execute("INSERT INTO s SELECT n, now() + interval '1 day' FROM generate_series(1, %s) n", (rows,))
    target = make_target()
    plan = scan(store, target, dry_run=False)
    fresh = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    try:
        outcome = fresh.delete_batch(target, plan.work, plan.work.shards[0], None, 100, plan.cutoff)
    finally:
        fresh.close()
    assert (outcome.scanned, outcome.deleted, outcome.cursor) == (0, 0, None)
