"""Retention: old passes become one row a day, pass, target, store and kind, so that totals never change."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, text

from cleanup_pipeline.ledger.parts import KEYS, Day, Part, Row, add, parts_of_passes, parts_of_shards, parts_of_targets
from cleanup_pipeline.ledger.rows import Pruned
from cleanup_pipeline.ledger.tables import days, passes, seals, shards, targets
from cleanup_pipeline.ledger.words import LOST
from cleanup_pipeline.ledger.writing import insert

CHUNK = 100
"""Passes that one transaction folds."""
_LOCK = 7_215_604_332
"""Advisory lock of PostgreSQL: two that prune would add to the same day."""


def prune_chunk(connection: Connection, before: datetime) -> Pruned:
    """Fold and delete the oldest passes that began before an instant and are over, at most CHUNK of them.

    One that never said that it ended is over when it was not heard of since then.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    # Whoever still writes about one of them locks its row first, and so comes before or after.
    old = select(passes).where(_is_old(before)).order_by(passes.c.started_at).limit(CHUNK)
    found = connection.execute(old.with_for_update()).mappings().all()
    if not found:
        return Pruned(0, 0)
    by_run = {row["run_id"]: row for row in found}
    folded: dict[Day, Part] = {}
    count = 0
    for key, part in _parts(connection, by_run):
        count += part["shards"]
        folded[key] = add(folded[key], part) if key in folded else part
    for key, part in folded.items():
        _add_to_day(connection, key, part)
    # What was added up of these days counts the rows that go.
    connection.execute(delete(seals).where(seals.c.day.in_({key[0] for key in folded})))
    for table in (shards, targets, passes):
        connection.execute(delete(table).where(table.c.run_id.in_(by_run)))
    return Pruned(len(by_run), count)


def count_old(connection: Connection, before: datetime) -> Pruned:
    """What there is to fold, and delete."""
    old = select(passes.c.run_id).where(_is_old(before))
    count = connection.execute(select(func.count()).select_from(old.subquery())).scalar_one()
    of_shards = select(func.count()).select_from(shards).where(shards.c.run_id.in_(old))
    return Pruned(count, connection.execute(of_shards).scalar_one())


def _is_old(before: datetime) -> ColumnElement[bool]:
    return and_(passes.c.started_at < before, or_(passes.c.ended_at.is_not(None), passes.c.heartbeat_at < before))


def _parts(connection: Connection, by_run: Mapping[str, Row]) -> Iterator[tuple[Day, Part]]:
    yield from parts_of_passes(by_run.values())
    of_targets = connection.execute(select(targets).where(targets.c.run_id.in_(by_run))).mappings()
    yield from parts_of_targets(of_targets, by_run)
    of_shards = connection.execute(select(shards).where(shards.c.run_id.in_(by_run))).mappings()
    # One that never said how it ended never will.
    ended = ({**row, "stop_reason": row["stop_reason"] or LOST} for row in of_shards)
    yield from parts_of_shards(ended, by_run)


def _add_to_day(connection: Connection, key: Day, part: Part) -> None:
    named = dict(zip(KEYS, key, strict=True))
    there = connection.execute(select(days).where(*(days.c[k] == v for k, v in named.items()))).mappings().one_or_none()
    values = part if there is None else add({name: there[name] for name in part}, part)
    connection.execute(
        insert(connection.dialect.name, days)
        .values({**named, **values})
        .on_conflict_do_update(index_elements=list(KEYS), set_=values)
    )
