"""One table on a real PostgreSQL, its store, and a way to run the loop over it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import Mode, StopReason, StoreType
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres

Db = psycopg.Connection[Any]
FREE = Pace(
    latency_target=timedelta(seconds=30),
    max_ping=None,
    max_connections_share=None,
    look_every=timedelta(milliseconds=5),
)
"""A pace that no busy test machine slows down."""
QUICK = Limits(pause=timedelta(0), first_backoff=timedelta(milliseconds=1), pace=FREE)

TARGET = Target(
    "s",
    "main",
    StoreType.POSTGRES,
    "sessions",
    "session",
    TableSource("s"),
    ColumnExpiry("expires_at"),
    mode=Mode.DELETE,
)


@pytest.fixture
def db(postgres_url: str) -> Iterator[Db]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
        yield connection


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    opened = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    yield opened
    opened.close()


def fill(db: Db, expired: int, live: int = 0) -> None:
    """Records 1 to `expired` are dead, those after them alive."""
    db.execute("INSERT INTO s SELECT n, now() - interval '1 day' FROM generate_series(1, %s) n", (expired,))
    db.execute(
        "INSERT INTO s SELECT n, now() + interval '1 day' FROM generate_series(%s::int, %s::int) n",
        (expired + 1, expired + live),
    )


def ids(db: Db) -> set[int]:
    """What is left."""
    return {row[0] for row in db.execute("SELECT id FROM s")}


def host_clock() -> datetime:
    return datetime.now(UTC)


def run(
    store: Store,
    limits: Limits = QUICK,
    *,
    target: Target = TARGET,
    progress: Callable[[Tally], None] = lambda _: None,
    stop_asked: Callable[[], StopReason | None] = lambda: None,
    clock: Callable[[], datetime] = host_clock,
) -> list[ShardOutcome]:
    """Plan, then every shard in turn."""
    plan = scan(store, target, dry_run=False)
    return [
        clean_shard(
            store, target, plan.work, shard, plan.cutoff, limits, Watch(lambda _: None, progress, stop_asked), clock
        )
        for shard in plan.work.shards
    ]
