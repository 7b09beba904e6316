"""Whole partitions, VACUUM, and what a table takes up."""

from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.engine.upkeep import keep_up
from cleanup_pipeline.model.words import EpochUnit, StopReason
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore, partitions

from .conftest import Clean, make_target

Db = psycopg.Connection[Any]


def ids(db: Db, table: str = "p") -> set[int]:
    return {row[0] for row in db.execute(f"SELECT id FROM {table}")}


def tables(db: Db) -> set[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'p\\_%'"
    return {row[0] for row in db.execute(query)}


def months(db: Db, *, default: bool = False) -> None:
    """Two months that are over, one that is under way whatever the day, and one without a lower end."""
    db.execute(
        "CREATE TABLE p (id int, expires_at timestamptz, app text DEFAULT 'web') PARTITION BY RANGE (expires_at)"
    )
    db.execute("CREATE TABLE p_always PARTITION OF p FOR VALUES FROM (MINVALUE) TO ('2025-01-01 00:00+00')")
    db.execute("CREATE TABLE p_jan PARTITION OF p FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')")
    db.execute("CREATE TABLE p_feb PARTITION OF p FOR VALUES FROM ('2025-02-01 00:00+00') TO ('2025-03-01 00:00+00')")
    db.execute("CREATE TABLE p_now PARTITION OF p FOR VALUES FROM ('2025-03-01 00:00+00') TO (MAXVALUE)")
    if default:
        db.execute("CREATE TABLE p_rest PARTITION OF p DEFAULT")
    db.execute("INSERT INTO p SELECT n, timestamptz '2025-01-02Z' + n * interval '1 s' FROM generate_series(1, 2000) n")
    db.execute(
        "INSERT INTO p SELECT n, timestamptz '2025-02-02Z' + n * interval '1 s' FROM generate_series(5001, 5010) n"
    )
    db.execute("INSERT INTO p VALUES (8000, now() - interval '1 day'), (8001, now() + interval '1 day')")
    db.execute("INSERT INTO p VALUES (9000, timestamptz '1970-01-01 00:00Z'), (9001, timestamptz '2024-05-01Z')")


@pytest.mark.parametrize("default", [False, True], ids=["concurrently", "beside a default partition"])
def test_partitions_that_are_over_are_dropped(db: Db, store: PostgresStore, clean: Clean, default: bool) -> None:
    months(db, default=default)
    report = clean(store, make_target("p", drop_partitions=True))
    assert (report.deleted, report.expired_found, report.survivors) == (2012, 2012, 0)
    assert report.stop_reason is StopReason.EXHAUSTED
    assert "2 partition(s) lie wholly before the cutoff" in report.why
    # What was deleted from the two that hold more than the dead went in batches.
    assert tables(db) == {"p_always", "p_now"} | ({"p_rest"} if default else set())
    assert ids(db) == {8001, 9000}


@pytest.mark.parametrize("default", [False, True], ids=["concurrently", "beside a default partition"])
def test_partitions_whose_names_have_a_percent_sign(db: Db, store: PostgresStore, clean: Clean, default: bool) -> None:
    months(db, default=default)
    for name in ("p_jan", "p_feb"):
        db.execute(f'ALTER TABLE {name} RENAME TO "{name} 100%s"')
        db.execute(f"""COMMENT ON TABLE "{name} 100%s" IS '5 % of it'""")
    report = clean(store, make_target("p", drop_partitions=True, vacuum=True))
    assert (report.deleted, report.survivors, report.error) == (2012, 0, None)
    assert tables(db) == {"p_always", "p_now"} | ({"p_rest"} if default else set())


def test_nothing_is_dropped_unless_it_is_asked_for(db: Db, store: PostgresStore, clean: Clean) -> None:
    months(db)
    report = clean(store, make_target("p"))
    assert (report.deleted, report.largest_batch) == (2012, 1000)
    assert tables(db) == {"p_always", "p_jan", "p_feb", "p_now"}


def test_a_partition_with_a_row_outside_the_guards_stays(db: Db, store: PostgresStore, clean: Clean) -> None:
    months(db)
    db.execute("UPDATE p SET app = 'other' WHERE id = 7")
    report = clean(store, make_target("p", drop_partitions=True, where={"app": "web"}))
    assert (report.deleted, report.survivors) == (2011, 0)
    assert tables(db) == {"p_always", "p_jan", "p_now"}
    assert ids(db) == {7, 8001, 9000}


def test_a_partition_by_epoch_numbers(db: Db, store: PostgresStore, clean: Clean) -> None:
    db.execute("CREATE TABLE p (id int, expires_at bigint) PARTITION BY RANGE (expires_at)")
    db.execute("CREATE TABLE p_old PARTITION OF p FOR VALUES FROM (1700000000) TO (1700100000)")
    db.execute("CREATE TABLE p_zero PARTITION OF p FOR VALUES FROM (0) TO (1700000000)")
    db.execute("CREATE TABLE p_new PARTITION OF p FOR VALUES FROM (1700100000) TO (99999999999)")
    db.execute("INSERT INTO p VALUES (1, 1700000000), (2, 0), (3, 99999999), (4, 1650000000), (5, 9999999999)")
    report = clean(store, make_target("p", unit=EpochUnit.SECONDS, drop_partitions=True))
    assert (report.deleted, report.survivors) == (2, 0)
    assert tables(db) == {"p_zero", "p_new"}
    assert ids(db) == {2, 3, 5}


def test_a_row_that_came_to_life_after_the_detach_is_attached_again(
    db: Db, store: PostgresStore, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    months(db)
    detach = partitions._detach

    def and_then_somebody_writes(*arguments: Any) -> None:
        detach(*arguments)
        db.execute("UPDATE p_feb SET app = 'other' WHERE id = 5003")

    monkeypatch.setattr(partitions, "_detach", and_then_somebody_writes)
    report = clean(store, make_target("p", drop_partitions=True, where={"app": "web"}))
    assert (report.deleted, report.survivors) == (2011, 0)
    assert ids(db) == {5003, 8001, 9000}


def test_a_pass_that_died_after_the_detach_is_carried_on(
    db: Db, store: PostgresStore, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    months(db)
    detach = partitions._detach

    def and_die(*arguments: Any) -> None:
        detach(*arguments)
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(partitions, "_detach", and_die)
        with pytest.raises(RuntimeError):
            clean(store, make_target("p", drop_partitions=True))
    assert len(tables(db)) == 4
    report = clean(store, make_target("p", drop_partitions=True))
    assert (report.survivors, report.error) == (0, None)
    assert tables(db) == {"p_always", "p_now"}
    assert ids(db) == {8001, 9000}


def test_only_the_owner_may_drop(db: Db, postgres_url: str) -> None:
    from cleanup_pipeline.model.store_config import StoreConfig
    from cleanup_pipeline.model.words import StoreType
    from cleanup_pipeline.stores.postgres import open_postgres

    months(db)
    db.execute("CREATE ROLE guest LOGIN")
    db.execute("GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest")
    guest = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url.replace("postgres@", "guest@")))
    try:
        with pytest.raises(StoreError, match=r"drop_partitions take the owner of p, and this login is not"):
            scan(guest, make_target("p", drop_partitions=True), dry_run=False)
        plan = scan(guest, make_target("p", vacuum=True), dry_run=False)
        assert any("vacuum take the owner" in finding.what for finding in plan.findings)
        assert keep_up(guest, make_target("p", vacuum=True), plan, 2012).vacuum_seconds is None
    finally:
        guest.close()
        db.execute("DROP OWNED BY guest")
        db.execute("DROP ROLE guest")


def test_a_big_pass_is_followed_by_a_vacuum(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE TABLE s (id int, expires_at timestamptz) WITH (autovacuum_enabled = off)")
    db.execute("INSERT INTO s SELECT n, now() + interval '1 day' * sign(n - 500.5) FROM generate_series(1, 1000) n")
    db.execute("ANALYZE s")
    target = make_target(vacuum=True)
    plan = scan(store, target, dry_run=False)
    assert plan.storage is not None
    assert plan.storage.records == 1000
    assert plan.storage.size_bytes >= 8192
    gone = store.delete_batch(target, plan.work, plan.work.shards[0], None, 1000, plan.cutoff)
    assert gone.deleted == 500
    few = keep_up(store, target, plan, 99)
    assert few.vacuum_seconds is None
    assert keep_up(store, make_target(), plan, 500).vacuum_seconds is None
    many = keep_up(store, target, plan, 500)
    assert many.vacuum_seconds is not None
    assert many.storage is not None
    assert (many.storage.records, many.storage.dead_records) == (500, 0)
