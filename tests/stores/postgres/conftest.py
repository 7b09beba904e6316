"""A PostgreSQL store on a fresh database, and ways to look at a table that do not go through the store."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import ShardOutcome, TargetReport
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.reporting.fold import fold_target
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres


@pytest.fixture
def db(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    opened = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    yield opened
    opened.close()


def make_target(table: str = "s", column: str = "expires_at", **changes: Any) -> Target:
    expiry = ColumnExpiry(column, zone=changes.pop("zone", None), unit=changes.pop("unit", None))
    source = TableSource(table, schema=changes.pop("schema", None), required_columns=changes.pop("required", ()))
    defaults: dict[str, Any] = {"mode": Mode.DELETE, "pause": timedelta(0), "kind": "session", "pass_name": "sessions"}
    return Target("s", "main", StoreType.POSTGRES, source=source, expiry=expiry, **(defaults | changes))


Clean = Callable[[Store, Target], TargetReport]


@pytest.fixture
def clean() -> Clean:
    """A whole pass over one target without Dagster: scan, every shard, recount."""

    def _clean(store: Store, target: Target) -> TargetReport:
        plan = scan(store, target, dry_run=False)
        outcomes: list[ShardOutcome] = []
        for shard in plan.work.shards:
            clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(outcomes.append))
        return fold_target(plan, outcomes, store.survivors(target, plan.cutoff, timedelta(seconds=10)))

    return _clean
