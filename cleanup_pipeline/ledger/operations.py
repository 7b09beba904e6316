"""Queries about operations: the cleaning of one target in one pass. Each is answered from an index.

Dry runs, targets that were skipped or braked, and windows of a backfill are none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from cleanup_pipeline.ledger.connect import Place
from cleanup_pipeline.ledger.tables import passes, shards, targets, witnesses
from cleanup_pipeline.ledger.words import LOST, UNTRIED


@dataclass(frozen=True, slots=True)
class Operation:
    """What a pass did to a target."""

    reported_at: datetime
    seconds: float
    stop_reason: str | None
    failed: bool
    survivors: int | None
    """None: unknown."""
    waited_seconds: float = 0.0
    """Held back by the governor; of all shards together."""
    busy_seconds: float = 0.0
    """From beginning to end; of all shards together."""
    slowed: Mapping[str, int] = field(default_factory=dict[str, int])
    """Slow-downs by reason."""


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """What the last look behind a target's passes found."""

    checked_at: datetime
    known: bool
    oldest_survivor: datetime | None
    """Since when it ought to be gone; None: there is none, or unknown."""
    objective_seconds: float


@dataclass(frozen=True, slots=True)
class Operations:
    """Questions to a ledger. Each method raises LedgerError."""

    place: Place

    def recent(self, target: str, limit: int) -> Sequence[Operation]:
        """The last operations of a target, the newest first."""
        with self.place.reading() as connection:
            return _recent(connection, target, limit)

    def failures(self, pass_name: str, since: datetime) -> tuple[int, int]:
        """Of passes that began at `since` or later and are over: operations, and how many of these failed."""
        with self.place.reading() as connection:
            return _failures(connection, pass_name, since)

    def last_end(self, pass_name: str, *, dry: bool) -> tuple[datetime | None, datetime | None]:
        """When the newest pass that is over ended, and when the first one that is known began; None: there is none.

        One whose process was lost did not end. `dry`: dry runs count.
        """
        with self.place.reading() as connection:
            return _last_end(connection, pass_name, dry)

    def witness(self, target: str) -> WitnessRow | None:
        """The last look behind a target; None: nobody looked."""
        newest = (
            select(*(witnesses.c[name] for name in WitnessRow.__slots__))
            .where(witnesses.c.target == target)
            .order_by(witnesses.c.checked_at.desc())
            .limit(1)
        )
        with self.place.reading() as connection:
            row = connection.execute(newest).mappings().one_or_none()
        return None if row is None else WitnessRow(**row)


def _recent(connection: Connection, target: str, limit: int) -> list[Operation]:
    chosen = (
        select(*(targets.c[name] for name in ("run_id", "reported_at", "seconds", "stop_reason", "error", "survivors")))
        .join(passes, passes.c.run_id == targets.c.run_id)
        .where(targets.c.target == target, targets.c.reported_at.is_not(None), _counts(), passes.c.backfill.is_(None))
        .order_by(targets.c.reported_at.desc(), targets.c.run_id)
        .limit(limit)
    )
    found = connection.execute(chosen).mappings().all()
    of_shards = select(shards.c.run_id, shards.c.waited_seconds, shards.c.seconds, shards.c.slowed).where(
        shards.c.run_id.in_([row["run_id"] for row in found]), shards.c.target == target
    )
    waited: dict[str, float] = {}
    busy: dict[str, float] = {}
    slowed: dict[str, dict[str, int]] = {}
    for run_id, waiting, seconds, reasons in connection.execute(of_shards):
        waited[run_id] = waited.get(run_id, 0.0) + waiting
        busy[run_id] = busy.get(run_id, 0.0) + seconds
        of_run = slowed.setdefault(run_id, {})
        for reason, count in (reasons or {}).items():
            of_run[reason] = of_run.get(reason, 0) + count
    return [
        Operation(
            row["reported_at"],
            row["seconds"],
            row["stop_reason"],
            row["error"] is not None,
            row["survivors"],
            waited.get(row["run_id"], 0.0),
            busy.get(row["run_id"], 0.0),
            slowed.get(row["run_id"], {}),
        )
        for row in found
    ]


def _failures(connection: Connection, pass_name: str, since: datetime) -> tuple[int, int]:
    # What was planned and never reported, because the process was gone, failed.
    red = or_(targets.c.error.is_not(None), targets.c.reported_at.is_(None))
    statement = (
        select(func.count(), func.sum(case((red, 1), else_=0)))
        .select_from(passes)
        .join(targets, targets.c.run_id == passes.c.run_id)
        .where(
            passes.c.pass_name == pass_name,
            passes.c.started_at >= since,
            passes.c.ended_at.is_not(None),
            _counts(),
        )
    )
    count, failed = connection.execute(statement).one()
    return int(count), int(failed or 0)


def _counts() -> ColumnElement[bool]:
    untried = and_(targets.c.stop_reason.is_not(None), targets.c.stop_reason.in_(sorted(UNTRIED)))
    return and_(passes.c.dry_run.is_(False), targets.c.dry_run.is_(False), ~untried)


def _last_end(connection: Connection, pass_name: str, dry: bool) -> tuple[datetime | None, datetime | None]:
    of_pass = select(passes.c.ended_at).where(passes.c.pass_name == pass_name, passes.c.backfill.is_(None))
    if not dry:
        of_pass = of_pass.where(passes.c.dry_run.is_(False))
    over = of_pass.where(passes.c.ended_at.is_not(None), passes.c.status != LOST)
    last = connection.execute(over.order_by(passes.c.started_at.desc()).limit(1)).scalar()
    first = select(func.min(passes.c.started_at)).where(passes.c.pass_name == pass_name)
    return last, connection.execute(first).scalar()
