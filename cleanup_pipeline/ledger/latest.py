"""The last thing known of each target, what went wrong lately, and what a pass usually removes. All by an index.

Functions over an open ledger; each is one transaction and raises LedgerError.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from cleanup_pipeline.ledger.ledger import Ledger
from cleanup_pipeline.ledger.reading import successes
from cleanup_pipeline.ledger.tables import passes, shards, targets, witnesses
from cleanup_pipeline.ledger.words import UNDONE

USUAL_OF = 20
"""Green passes that what is usual is the median of."""
USUAL_FROM = 3
"""Fewer say nothing."""
_LOOKED_AT = 200
"""Passes that are looked at for so many green ones."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last check of a target found."""

    target: str
    checked_at: datetime
    survivors: int | None
    oldest_survivor: datetime | None
    """Since when it ought to be gone; None: there is none, or unknown (`known`)."""
    known: bool
    objective_seconds: float


@dataclass(frozen=True, slots=True)
class State:
    """What the last pass over a target came to, dry runs and skipped ones included."""

    target: str
    run_id: str
    pass_name: str
    store: str
    kind: str
    dry_run: bool
    stop_reason: str | None
    skipped: str | None
    error: str | None
    survivors: int | None
    oldest_expired: datetime | None
    """Of those that were there when it began."""
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """A target that ended red."""

    at: datetime
    """When it was reported; where it never was, when its pass began."""
    target: str
    pass_name: str
    run_id: str
    error: str
    """One line."""


def latest_witnesses(ledger: Ledger, until: datetime) -> list[Seen]:
    """The last check of each target up to an instant, by name."""
    wanted = ("target", "checked_at", "survivors", "oldest_survivor", "known", "objective_seconds")
    columns = [witnesses.c[name] for name in wanted]
    with ledger.place.reading() as connection:
        found = []
        for name in _names(connection, witnesses.c.target):
            last = select(*columns).where(witnesses.c.target == name, witnesses.c.checked_at <= until)
            row = connection.execute(last.order_by(witnesses.c.checked_at.desc()).limit(1)).one_or_none()
            if row is not None:
                found.append(Seen(*tuple(row)))
        return found


def latest_states(ledger: Ledger, since: datetime, until: datetime) -> list[State]:
    """The last report of each target between two instants, by name."""
    of_target = ("store", "kind", "dry_run", "stop_reason", "skipped", "error", "survivors", "oldest_expired")
    columns = [targets.c.target, targets.c.run_id, passes.c.pass_name, *(targets.c[name] for name in of_target)]
    with ledger.place.reading() as connection:
        found = []
        for name in _names(connection, targets.c.target):
            last = (
                select(*columns, targets.c.reported_at)
                .join(passes, passes.c.run_id == targets.c.run_id)
                .where(targets.c.target == name, targets.c.reported_at >= since, targets.c.reported_at < until)
                .order_by(targets.c.reported_at.desc())
                .limit(1)
            )
            row = connection.execute(last).one_or_none()
            if row is not None:
                found.append(State(*tuple(row)))
        return found


def _names(connection: Connection, column: ColumnElement[str]) -> Iterator[str]:
    """Each value of the first column of an index, without reading all of it."""
    name = connection.execute(select(func.min(column))).scalar()
    while name is not None:
        yield name
        name = connection.execute(select(func.min(column)).where(column > name)).scalar()


def failures(ledger: Ledger, days: Sequence[date], limit: int) -> list[Failure]:
    """Targets that ended red in passes that began on one of `days`, the newest first, at most `limit`."""
    found: list[Failure] = []
    with ledger.place.reading() as connection:
        for day in sorted(days, reverse=True):
            if len(found) >= limit:
                break
            found += [_failure(row) for row in connection.execute(_failed_on(day, limit - len(found)))]
    return sorted(found, key=lambda failure: failure.at, reverse=True)


def _failed_on(day: date, limit: int) -> Select[Any]:
    start = datetime.combine(day, time(), UTC)
    began = and_(passes.c.started_at >= start, passes.c.started_at < start + timedelta(days=1))
    red = or_(targets.c.reported_at.is_(None), targets.c.error.is_not(None))
    done = or_(targets.c.stop_reason.is_(None), targets.c.stop_reason.not_in(sorted(UNDONE)))
    dry = or_(passes.c.dry_run, targets.c.dry_run)
    return (
        select(
            func.coalesce(targets.c.reported_at, passes.c.started_at).label("at"),
            targets.c.target,
            passes.c.pass_name,
            targets.c.run_id,
            func.coalesce(targets.c.error, passes.c.reason, passes.c.status, ""),
        )
        .join(passes, passes.c.run_id == targets.c.run_id)
        .where(began, passes.c.ended_at.is_not(None), red, done, ~dry)
        .order_by(passes.c.started_at.desc(), targets.c.target)
        .limit(limit)
    )


def _failure(row: Any) -> Failure:
    at: datetime = row[0]
    return Failure(at if at.tzinfo else at.replace(tzinfo=UTC), *row[1:])


def usual(ledger: Ledger, target: str, run_id: str) -> float | None:
    """Records that a green pass over a target removes: the median of the last 20 before `run_id`. None: fewer than 3.

    Dry runs and windows of a backfill do not count.
    """
    recent = (
        select(targets.c.run_id, targets.c.error, targets.c.stop_reason, targets.c.dry_run, targets.c.reported_at)
        .where(targets.c.target == target, targets.c.reported_at.is_not(None), targets.c.run_id != run_id)
        .order_by(targets.c.reported_at.desc())
        .limit(_LOOKED_AT)
        .subquery("targets_seen")
    )
    ok = and_(recent.c.error.is_(None), recent.c.stop_reason.not_in(sorted(UNDONE)), recent.c.dry_run.is_(False))
    chosen = (
        select(recent.c.run_id)
        .join(passes, passes.c.run_id == recent.c.run_id)
        .where(ok, passes.c.dry_run.is_(False), passes.c.backfill.is_(None))
        .order_by(recent.c.reported_at.desc())
        .limit(USUAL_OF)
    )
    return _median(ledger, chosen, shards.c.target == target)


def usual_of_pass(ledger: Ledger, pass_name: str, run_id: str) -> float | None:
    """The same of a pass as a whole."""
    green, _ = successes()
    recent = (
        select(passes.c.run_id)
        .where(passes.c.pass_name == pass_name, passes.c.run_id != run_id)
        .order_by(passes.c.started_at.desc())
        .limit(_LOOKED_AT)
    )
    chosen = (
        select(passes.c.run_id)
        .where(passes.c.run_id.in_(recent), green, passes.c.backfill.is_(None))
        .order_by(passes.c.started_at.desc())
        .limit(USUAL_OF)
    )
    return _median(ledger, chosen)


def _median(ledger: Ledger, chosen: Select[Any], *where: ColumnElement[bool]) -> float | None:
    with ledger.place.reading() as connection:
        runs = list(connection.execute(chosen).scalars())
        if len(runs) < USUAL_FROM:
            return None
        sums = select(shards.c.run_id, func.sum(shards.c.deleted)).where(shards.c.run_id.in_(runs), *where)
        removed = dict(connection.execute(sums.group_by(shards.c.run_id)).tuples().all())
    # A pass that found nothing to delete has no shard, or an empty one.
    return float(median(int(removed.get(run, 0)) for run in runs))
