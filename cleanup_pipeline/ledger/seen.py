"""What passes did of late, target by target, for whoever wants to know what cleaning costs and how much there is to do.

Dry runs, windows of a backfill, and targets that were skipped are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, select

from cleanup_pipeline.ledger.ledger import Ledger
from cleanup_pipeline.ledger.tables import passes, shards, targets
from cleanup_pipeline.ledger.words import UNTRIED

MOST = 500
"""Passes of a target that are read at most, the newest ones."""


@dataclass(frozen=True, slots=True)
class SeenPass:
    """What one pass did to one target. None is unknown; seconds are of shards one after another."""

    run_id: str
    target: str
    strategy: str | None
    pass_started: datetime
    pass_ended: datetime | None
    cutoff: datetime | None
    planned_at: datetime | None
    expired_found: int | None
    survivors: int | None
    oldest_expired: datetime | None
    records_before: int | None
    """Expired ones too; PostgreSQL alone, as of its last ANALYZE."""
    bytes_before: int | None
    seconds: float
    """Of looking and deleting."""
    shards: int
    failed: int
    """Shards that ended with an error."""
    deleted: int
    scanned: int
    batches: int
    deleting: float
    """Of all shards, from beginning to end."""
    paused: float
    waited: float


def seen_passes(ledger: Ledger, since: datetime) -> Sequence[SeenPass]:
    """The last passes that ended a target's cleaning since an instant, the oldest first. Raises LedgerError."""
    of_shards = (
        select(
            shards.c.run_id,
            shards.c.target,
            func.count().label("shards"),
            func.sum(case((shards.c.error.is_not(None), 1), else_=0)).label("failed"),
            *(func.sum(shards.c[name]).label(name) for name in ("deleted", "scanned", "batches")),
            func.sum(shards.c.seconds).label("deleting"),
            func.sum(shards.c.paused_seconds).label("paused"),
            func.sum(shards.c.waited_seconds).label("waited"),
        )
        .join(passes, passes.c.run_id == shards.c.run_id)
        .where(passes.c.started_at >= since, shards.c.ended_at.is_not(None))
        .group_by(shards.c.run_id, shards.c.target)
        .subquery("done")
    )
    newest = func.row_number().over(partition_by=targets.c.target, order_by=targets.c.reported_at.desc())
    chosen = (
        select(
            *(targets.c[name] for name in _OF_TARGET),
            passes.c.started_at.label("pass_started"),
            passes.c.ended_at.label("pass_ended"),
            *(of_shards.c[name] for name in _OF_SHARDS),
            newest.label("place"),
        )
        .join(passes, passes.c.run_id == targets.c.run_id)
        .join(of_shards, and_(of_shards.c.run_id == targets.c.run_id, of_shards.c.target == targets.c.target))
        .where(
            passes.c.started_at >= since,
            passes.c.backfill.is_(None),
            passes.c.dry_run.is_(False),
            targets.c.dry_run.is_(False),
            targets.c.reported_at.is_not(None),
            targets.c.stop_reason.not_in(sorted(UNTRIED)),
        )
        .subquery("chosen")
    )
    wanted = select(chosen).where(chosen.c.place <= MOST).order_by(chosen.c.pass_started, chosen.c.target)
    with ledger.place.reading() as connection:
        rows = [dict(row) for row in connection.execute(wanted).mappings()]
    for row in rows:
        del row["place"]
        row |= {name: int(row[name]) for name in ("shards", "failed", "deleted", "scanned", "batches")}
    return [SeenPass(**row) for row in rows]


_OF_TARGET = (
    *("run_id", "target", "strategy", "cutoff", "planned_at", "expired_found", "survivors", "oldest_expired"),
    *("records_before", "bytes_before", "seconds"),
)
_OF_SHARDS = ("shards", "failed", "deleted", "scanned", "batches", "deleting", "paused", "waited")
