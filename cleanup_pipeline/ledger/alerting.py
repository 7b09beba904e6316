"""Which alerts fire and which did: from conditions to rows that are opened and closed.

A row is told about apart from being opened or closed, so that a process that ends between the two leaves it to the next
one. Does not belong here: judging (observability/alerts), what is said (observability/notifications).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, text, update

from cleanup_pipeline.ledger.tables import alerts
from cleanup_pipeline.ledger.writing import insert
from cleanup_pipeline.model.alert import AlertState, Condition

QUIET = timedelta(minutes=10)
"""An alert that starts again so soon after its end was told is only told of if it lasts until then."""
_LOCK = 7_215_604_333
"""Advisory lock of PostgreSQL: two that evaluate do it one after the other."""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert that fires, or fired."""

    id: str
    name: str
    subject: str
    severity: str
    started_at: datetime
    ended_at: datetime | None
    """None: it fires."""
    value: float | None
    """As of the last look while it fired; None: whether it still should fire is unknown."""
    summary: str
    start_told_at: datetime | None
    """When its start was handed to whoever tells it; None: it was not, or not yet."""
    end_told_at: datetime | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of alerts."""

    started: tuple[AlertRow, ...] = ()
    ended: tuple[AlertRow, ...] = ()


def open_alerts(connection: Connection) -> list[AlertRow]:
    """Those that fire, by start."""
    return _rows(connection, alerts.c.ended_at.is_(None))


def alerts_since(connection: Connection, since: datetime | None) -> list[AlertRow]:
    """Those that fire, and those that ended at `since` or later, by start."""
    if since is None:
        return _rows(connection)
    return _rows(connection, or_(alerts.c.ended_at.is_(None), alerts.c.ended_at >= since))


def set_alerts(connection: Connection, conditions: Sequence[Condition], now: datetime) -> Changes:
    """Open what fires and is not open; close what is open and clear, or not among the conditions any more."""
    one_at_a_time(connection)
    there = {(row.name, row.subject): row for row in open_alerts(connection)}
    wanted = {(each.name, each.subject): each for each in conditions}
    for key, row in there.items():
        condition = wanted.get(key)
        if condition is None or condition.state is AlertState.CLEAR:
            connection.execute(update(alerts).where(alerts.c.id == row.id).values(ended_at=now))
            continue
        known = condition.state is AlertState.FIRING
        values: dict[str, Any] = {"value": condition.value, "summary": condition.summary} if known else {"value": None}
        if any(getattr(row, name) != value for name, value in values.items()):
            connection.execute(update(alerts).where(alerts.c.id == row.id).values(values))
    started = []
    for key, condition in wanted.items():
        if condition.state is AlertState.FIRING and key not in there:
            row_id = uuid4().hex
            connection.execute(
                insert(connection.dialect.name, alerts)
                .values(
                    id=row_id,
                    name=condition.name,
                    subject=condition.subject,
                    severity=str(condition.severity),
                    started_at=now,
                    value=condition.value,
                    summary=condition.summary,
                )
                .on_conflict_do_nothing()
            )
            started.append(row_id)
    closed = {row.id for key, row in there.items() if key not in wanted or wanted[key].state is AlertState.CLEAR}
    return Changes(_of(connection, started), _of(connection, sorted(closed)))


def take_untold(connection: Connection, now: datetime) -> Changes:
    """Starts and ends that nobody was told of, and mark them as told.

    Not yet: one that started again within QUIET after its end was told. Never: one that ended before it was told of.
    """
    one_at_a_time(connection)
    earlier = alerts.alias()
    just_ended = exists().where(
        earlier.c.name == alerts.c.name,
        earlier.c.subject == alerts.c.subject,
        earlier.c.end_told_at > now - QUIET,
    )
    starts = _take(
        connection,
        "start_told_at",
        now,
        [alerts.c.start_told_at.is_(None), alerts.c.ended_at.is_(None), ~just_ended],
    )
    ends = _take(
        connection,
        "end_told_at",
        now,
        [alerts.c.ended_at.is_not(None), alerts.c.start_told_at.is_not(None), alerts.c.end_told_at.is_(None)],
    )
    return Changes(starts, ends)


def one_at_a_time(connection: Connection) -> None:
    """Wait for others who change alerts or messages; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def forget(connection: Connection, before: datetime) -> int:
    """Delete alerts that ended before an instant; how many."""
    return connection.execute(delete(alerts).where(alerts.c.ended_at < before)).rowcount


def _take(connection: Connection, column: str, now: datetime, where: list[ColumnElement[bool]]) -> tuple[AlertRow, ...]:
    ids = connection.execute(select(alerts.c.id).where(*where)).scalars().all()
    if ids:
        connection.execute(update(alerts).where(alerts.c.id.in_(ids)).values({column: now}))
    return _of(connection, ids)


def _of(connection: Connection, ids: Sequence[str]) -> tuple[AlertRow, ...]:
    return tuple(_rows(connection, alerts.c.id.in_(ids))) if ids else ()


def _rows(connection: Connection, *where: ColumnElement[bool]) -> list[AlertRow]:
    chosen = select(alerts).where(*where).order_by(alerts.c.started_at, alerts.c.name, alerts.c.subject)
    return [AlertRow(**row) for row in connection.execute(chosen).mappings()]
