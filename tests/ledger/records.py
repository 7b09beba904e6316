"""What the tests write into a ledger, and all that is in one."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.tables import metadata
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Census, Plan, Shard, Storage, Work
from cleanup_pipeline.model.words import StopReason, StoreType

CUTOFF = datetime(2026, 11, 1, 12, 30, 0, 123000, tzinfo=UTC)
CENSUS = Census(
    live=5, expired=40, without_expiry=1, unparsable=2, oldest_expired=CUTOFF - timedelta(days=2), exact=True
)
PLAN = Plan(
    target="web",
    store="main",
    store_type=StoreType.POSTGRES,
    kind="session",
    cutoff=CUTOFF,
    dry_run=False,
    census=CENSUS,
    work=Work("index_walk", "", (Shard(0), Shard(1))),
    storage=Storage(8192, 45, 3),
    since=CUTOFF - timedelta(hours=1),
)
REPORT = TargetReport("web", "main", StoreType.POSTGRES, "session", "index_walk", StopReason.EXHAUSTED, survivors=0)


def outcome(shard: int, deleted: int, target: str = "web", **more: Any) -> ShardOutcome:
    tally = Tally(deleted=deleted, batches=1, largest_batch=deleted, latency_ms=(0, 1, *[0] * 10), slowed={"lag": 2})
    return ShardOutcome(target, shard, tally, more.pop("stop_reason", StopReason.EXHAUSTED), 1.5, **more)


def everything(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but heartbeats, which say when a pass was last written about."""
    with ledger.place.reading() as connection:
        return {
            table.name: sorted(
                (tuple(row) for row in connection.execute(select(*(c for c in table.c if c.name != "heartbeat_at")))),
                key=repr,
            )
            for table in metadata.sorted_tables
        }
