"""What watches over passes: judgements of witnesses, and what witnesses have to know of passes."""

from datetime import UTC, datetime, time

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, or_, select, tuple_

from cleanup_pipeline.ledger.plan_tables import planned, plans
from cleanup_pipeline.ledger.rows import WitnessRow
from cleanup_pipeline.ledger.tables import (
    alerts,
    brakes,
    days,
    looks,
    messages,
    passes,
    shards,
    targets,
    witnesses,
)
from cleanup_pipeline.ledger.writing import insert

CHUNK = 1000
"""Rows of a table that one transaction deletes."""


def add_witness(connection: Connection, row: WitnessRow) -> None:
    """Write down what a witness found."""
    values = {column.name: getattr(row, column.name) for column in witnesses.c}
    statement = insert(connection.dialect.name, witnesses).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["target", "checked_at"], set_=values))


def latest_witnesses(connection: Connection) -> list[WitnessRow]:
    """The latest judgement of each target, by target."""
    latest = select(witnesses.c.target, func.max(witnesses.c.checked_at).label("at")).group_by(witnesses.c.target)
    of = latest.subquery("latest")
    chosen = (
        select(witnesses)
        .join(of, and_(witnesses.c.target == of.c.target, witnesses.c.checked_at == of.c.at))
        .order_by(witnesses.c.target)
    )
    return [WitnessRow(**row) for row in connection.execute(chosen).mappings()]


def first_known(connection: Connection, target: str) -> datetime | None:
    """The earliest trace of a target."""
    found: list[datetime] = []
    for statement in (
        select(func.min(func.coalesce(targets.c.planned_at, targets.c.reported_at))).where(targets.c.target == target),
        select(func.min(witnesses.c.checked_at)).where(witnesses.c.target == target),
    ):
        at = connection.execute(statement).scalar()
        found += [] if at is None else [at]
    day = connection.execute(select(func.min(days.c.day)).where(days.c.target == target)).scalar()
    found += [] if day is None else [datetime.combine(day, time(), UTC)]
    return min(found, default=None)


def recently_removed(connection: Connection, target: str, limit: int) -> list[int]:
    """What the last passes removed, the newest first."""
    chosen = (
        select(func.sum(shards.c.deleted))
        .where(shards.c.target == target, shards.c.ended_at.is_not(None))
        .group_by(shards.c.run_id)
        .order_by(func.max(shards.c.ended_at).desc())
        .limit(limit)
    )
    return [int(deleted) for deleted in connection.execute(chosen).scalars()]


def windows(connection: Connection, pass_name: str, since: datetime) -> frozenset[str]:
    """The windows of the runs of a pass that began since then."""
    chosen = select(passes.c.window_key).where(
        passes.c.pass_name == pass_name, passes.c.started_at >= since, passes.c.window_key.is_not(None)
    )
    return frozenset(str(key) for key in connection.execute(chosen).scalars())


def prune_chunk(connection: Connection, before: datetime, plans_before: datetime) -> int:
    """Delete some of what is over and older than an instant; how many rows that were, 0 when none is left."""
    count = 0
    for table, old in _old(before, plans_before):
        rows = connection.execute(select(*table.primary_key.columns).where(old).limit(CHUNK)).all()
        if rows:
            key = tuple_(*table.primary_key.columns)
            count += connection.execute(delete(table).where(key.in_([tuple(row) for row in rows]))).rowcount
    return count


def count_old(connection: Connection, before: datetime, plans_before: datetime) -> int:
    """How many rows there are to delete."""
    counts = (select(func.count()).select_from(table).where(old) for table, old in _old(before, plans_before))
    return sum(connection.execute(each).scalar_one() for each in counts)


def _old(before: datetime, plans_before: datetime) -> list[tuple[Table, ColumnElement[bool]]]:
    done = or_(messages.c.delivered_at.is_not(None), messages.c.dead_at.is_not(None))
    return [
        (witnesses, witnesses.c.checked_at < before),
        (alerts, alerts.c.ended_at < before),
        (looks, looks.c.looked_at < before),
        (brakes, brakes.c.ended_at < before),
        (messages, and_(messages.c.created_at < before, done)),
        (planned, planned.c.made_at < plans_before),
        (plans, plans.c.made_at < plans_before),
    ]
