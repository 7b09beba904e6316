"""What the ledger keeps. All instants are UTC; sizes are in records unless the name says bytes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

metadata = MetaData()


class Instant(TypeDecorator[datetime]):
    """A time-zone aware datetime in UTC, also where the database has none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        instant: datetime = value
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


passes = Table(
    "cleanup_passes",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("pass_name", String(64), nullable=False),
    Column("window", String(64)),
    Column("parent_run_id", String(64)),
    Column("host", String(255), nullable=False, default=""),
    Column("dry_run", Boolean, nullable=False, default=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("status", String(16)),
    Column("reason", Text),
    Index("cleanup_passes_by_start", "pass_name", "started_at"),
)

targets = Table(
    "cleanup_targets",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("target", String(64), primary_key=True),
    Column("store", String(64), nullable=False),
    Column("store_type", String(16), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("strategy", String(32)),
    Column("cutoff", Instant),
    Column("expired_found", BigInteger),
    Column("survivors", BigInteger),
    Column("oldest_expired", Instant),
    Column("without_expiry", BigInteger),
    Column("unparsable", BigInteger),
    Column("stop_reason", String(16)),
    Column("seconds", Float),
    Column("error", Text),
    Column("planned_at", Instant),
    Column("reported_at", Instant),
)

shards = Table(
    "cleanup_shards",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("target", String(64), primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("store", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("stop_reason", String(16)),
    Column("deleted", BigInteger, nullable=False, default=0),
    # The most that may have been deleted by now: more than `deleted` while a shard runs, or when it was killed.
    # NULL: nobody knows.
    Column("at_most", BigInteger),
    Column("scanned", BigInteger, nullable=False, default=0),
    Column("live", BigInteger, nullable=False, default=0),
    Column("repaired", BigInteger, nullable=False, default=0),
    Column("children", BigInteger, nullable=False, default=0),
    Column("bytes_freed", BigInteger),
    Column("batches", BigInteger, nullable=False, default=0),
    Column("retries", BigInteger, nullable=False, default=0),
    Column("parked", BigInteger, nullable=False, default=0),
    Column("paused_seconds", Float, nullable=False, default=0.0),
    Column("waited_seconds", Float, nullable=False, default=0.0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("latency_ms", JSON),
    Column("slowed", JSON),
    Column("error", Text),
    Index("cleanup_shards_by_end", "ended_at"),
)
