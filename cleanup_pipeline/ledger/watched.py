"""What is watched of passes and targets now: the last run, the last witness, what happened of late.

A few rows by an index each, so that it can be asked every few seconds. Dry runs are in none of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, func, not_, or_, select

from cleanup_pipeline.ledger.tables import brakes, days, passes, shards, targets, witnesses
from cleanup_pipeline.ledger.words import UNDONE
from cleanup_pipeline.model.words import PassStatus, StopReason

RECENT = 2
"""Intervals of its pass that are "of late"."""
GROWTH = 3
"""Intervals over which a backlog is compared."""
RUN_WINDOW = "run_window"
"""The governor's reason outside a run window (engine/governor.py)."""
_LAST_STARTED = 20
"""Passes among which the one that ended last is looked for: the last to start need not be the last to end."""


@dataclass(frozen=True, slots=True)
class WatchedPass:
    """One pass, as it is now."""

    last_end: datetime | None
    """When a run of it last ended, however; None: never, or longer ago than retention."""
    running: int


@dataclass(frozen=True, slots=True)
class Witness:
    """What was found of a target by whoever looked behind its passes. None: unknown."""

    checked_at: datetime
    known: bool
    survivors: int | None
    oldest_survivor: datetime | None
    """Since when the oldest expired record ought to be gone; with `known`, None: there is none."""
    objective_seconds: float


@dataclass(frozen=True, slots=True)
class WatchedTarget:
    """One target, as it is now, and what happened to it in the last `RECENT` intervals of its pass. None: unknown."""

    backlog: int | None
    """Expired records that the last report found left."""
    backlog_at: datetime | None
    """When that report was made; None: never."""
    backlog_growth: int | None
    """By how much that is more than `GROWTH` intervals before."""
    slowest_seconds: float | None
    """The longest operation; None: there was none."""
    delete_seconds: float
    """That its delete steps took, pauses included; those that came to the end of a run window are left out."""
    wait_seconds: float
    """Of these, those that the governor had them wait."""
    governor_stops: int
    """Delete steps that the governor ended."""
    witness: Witness | None
    braked: bool = False
    """A brake holds it back, and nobody let it go."""


def first_day(connection: Connection) -> datetime | None:
    """The beginning of the UTC day of the first pass of all; it does not move when retention folds that day."""
    first = connection.execute(
        select(passes.c.started_at).where(*_real()).order_by(passes.c.started_at).limit(1)
    ).scalar()
    folded = connection.execute(select(func.min(days.c.day))).scalar()
    known = [day for day in (first and first.astimezone(UTC).date(), folded) if day is not None]
    return datetime.combine(min(known), time(), UTC) if known else None


def watched_pass(connection: Connection, name: str) -> WatchedPass:
    """What is known of a pass."""
    of_pass = [passes.c.pass_name == name, *_real()]
    last = (
        select(passes.c.ended_at)
        .where(*of_pass, passes.c.ended_at.is_not(None))
        .order_by(passes.c.started_at.desc())
        .limit(_LAST_STARTED)
    )
    running = select(func.count()).select_from(passes).where(passes.c.ended_at.is_(None), *of_pass)
    ends = connection.execute(last).scalars().all()
    return WatchedPass(max(ends, default=None), connection.execute(running).scalar_one())


def watched_target(connection: Connection, target: str, every: timedelta, now: datetime) -> WatchedTarget:
    """What is known of a target whose pass runs every so often."""
    begin = now - RECENT * every
    cleaned = [targets.c.target == target, targets.c.dry_run.is_(False), targets.c.stop_reason.not_in(sorted(UNDONE))]
    slowest = select(func.max(targets.c.seconds)).where(*cleaned, targets.c.reported_at >= begin)
    of_shards = select(
        func.sum(shards.c.waited_seconds),
        func.sum(shards.c.seconds),
        func.count().filter(shards.c.stop_reason == str(StopReason.GOVERNOR)),
    ).where(shards.c.target == target, shards.c.ended_at >= begin, not_(_outside_window()))
    waited, took, stops = connection.execute(of_shards).one()
    backlog, backlog_at, growth = _backlog(connection, cleaned, every)
    return WatchedTarget(
        backlog=backlog,
        backlog_at=backlog_at,
        backlog_growth=growth,
        slowest_seconds=connection.execute(slowest).scalar(),
        delete_seconds=took or 0.0,
        wait_seconds=waited or 0.0,
        governor_stops=stops,
        witness=_witness(connection, target),
        braked=_braked(connection, target, now),
    )


def _real() -> list[ColumnElement[bool]]:
    """Passes that are no dry run."""
    return [
        passes.c.dry_run.is_(False),
        or_(passes.c.status.is_(None), passes.c.status != str(PassStatus.DRY_RUN)),
    ]


def _outside_window() -> ColumnElement[bool]:
    """Shards that waited for their run window to open: somebody asked for that."""
    return func.coalesce(cast(shards.c.slowed, Text), "").contains(f'"{RUN_WINDOW}"')


def _backlog(
    connection: Connection, cleaned: Sequence[ColumnElement[bool]], every: timedelta
) -> tuple[int | None, datetime | None, int | None]:
    # A pass over a window with a lower end says nothing of what is older.
    newest = (
        select(targets.c.survivors, targets.c.reported_at)
        .where(*cleaned, targets.c.since.is_(None), targets.c.reported_at.is_not(None))
        .order_by(targets.c.reported_at.desc())
        .limit(1)
    )
    last = connection.execute(newest).one_or_none()
    if last is None:
        return None, None, None
    # Reports do not come by the clock: half an interval is close enough.
    before = last.reported_at - GROWTH * every + every / 2
    earlier = connection.execute(newest.where(targets.c.reported_at <= before)).one_or_none()
    known = earlier is not None and earlier.survivors is not None and last.survivors is not None
    return last.survivors, last.reported_at, last.survivors - earlier.survivors if known and earlier else None


def _braked(connection: Connection, target: str, now: datetime) -> bool:
    let_go = and_(brakes.c.released_until.is_not(None), brakes.c.released_until > now)
    holds = select(brakes.c.id).where(brakes.c.target == target, brakes.c.ended_at.is_(None), ~let_go).limit(1)
    return connection.execute(holds).first() is not None


def _witness(connection: Connection, target: str) -> Witness | None:
    columns = (witnesses.c[name] for name in Witness.__dataclass_fields__)
    chosen = select(*columns).where(witnesses.c.target == target).order_by(witnesses.c.checked_at.desc()).limit(1)
    row = connection.execute(chosen).mappings().one_or_none()
    return None if row is None else Witness(**row)
