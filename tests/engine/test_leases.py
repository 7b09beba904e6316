"""What a shard makes of its lease, on a real PostgreSQL and a real Redis."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg

from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import PassStatus, StopReason, StoreType
from cleanup_pipeline.reporting.fold import fold_pass, fold_target
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres
from tests.engine.conftest import QUICK, TARGET, Db, fill, ids

MINE, THEIRS = Lease("run-a", 0, "web-1"), Lease("run-b", 0, "web-2")


def shard(
    store: PostgresStore, limits: Limits = QUICK, progress: Callable[[Tally], None] = lambda _: None
) -> ShardOutcome:
    plan = scan(store, TARGET, dry_run=True)
    return clean_shard(
        store, TARGET, plan.work, plan.work.shards[0], plan.cutoff, limits, Watch(lambda _: None, progress), lease=MINE
    )


def test_a_target_that_somebody_else_cleans_is_skipped_and_not_red(db: Db, store: PostgresStore) -> None:
    fill(db, 5)
    other = open_postgres(store.config)
    assert isinstance(other.acquire(TARGET, THEIRS), Lease)
    # Scan says so at once; a shard that was planned before does, too.
    plan = scan(store, TARGET, dry_run=False)
    assert plan.skipped is not None and plan.skipped.startswith("held by web-2 since 20")
    assert scan(store, TARGET, dry_run=True).skipped is None
    outcome = shard(store)
    assert (outcome.stop_reason, outcome.tally.deleted, outcome.error) == (StopReason.SKIPPED, 0, None)
    assert outcome.note is not None and outcome.note.startswith("held by web-2 since 20")
    report = fold_target(replace(plan, skipped=None, dry_run=False), [outcome], None)
    assert not report.red and report.stop_reason is StopReason.SKIPPED and "held by web-2" in report.why
    assert fold_pass("sessions", [report], 1.0).status is PassStatus.SKIPPED
    other.release(TARGET, THEIRS)
    outcome = shard(store)
    assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.EXHAUSTED, 5)
    assert store.holders(TARGET) == [] == other.holders(TARGET)
    other.close()


def test_a_lease_that_is_taken_away_ends_the_shard_red(db: Db, store: PostgresStore) -> None:
    fill(db, 50)
    other = open_postgres(store.config)

    def steal(tally: Tally) -> None:
        if tally.batches == 2:
            with psycopg.connect(store.config.url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE '%@web-1'"
                )
            assert isinstance(other.acquire(TARGET, THEIRS), Lease)

    plan = scan(store, TARGET, dry_run=False)
    outcome = shard(store, replace(QUICK, batch_size=5), steal)
    assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.LEASE_LOST, 10)
    assert outcome.note is not None and "ran out or was taken away" in outcome.note
    report = fold_target(plan, [outcome], 40)
    assert report.red and "40 expired records are left" in (report.error or "")
    assert len(ids(db)) == 40
    other.close()


def test_a_lease_lasts_through_a_pause_that_is_longer_than_itself(db: Db, postgres_url: str) -> None:
    fill(db, 10)
    config = StoreConfig("main", StoreType.POSTGRES, postgres_url, lease=timedelta(seconds=1))
    store, other = open_postgres(config), open_postgres(config)
    seen: list[Any] = []

    def look(tally: Tally) -> None:
        if tally.batches == 2:
            seen.append(other.acquire(TARGET, THEIRS))

    outcome = shard(store, replace(QUICK, batch_size=5, pause=timedelta(seconds=2.5)), look)
    assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.EXHAUSTED, 10)
    assert len(seen) == 1 and not isinstance(seen[0], Lease)
    store.close()
    other.close()
