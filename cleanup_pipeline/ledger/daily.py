"""The figures of each day: what retention has folded, what was added up before, and what has to be added up now.

A day that ended a while ago is *sealed*: its rows are added up once and the sums kept. The rows stay the truth: who
changes one of them, or deletes it, breaks the seals that it is behind (`unseal`; pruning.py).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, insert, or_, select, text

from cleanup_pipeline.ledger.parts import (
    KEYS,
    NEEDED_OF_PASS,
    NEEDED_OF_TARGET,
    Day,
    Part,
    Row,
    added_up,
    day_of,
    parts_of_passes,
    parts_of_targets,
)
from cleanup_pipeline.ledger.rows import DayRow
from cleanup_pipeline.ledger.summing import summed_shards
from cleanup_pipeline.ledger.tables import days, passes, sealed_days, seals, shards, targets

SETTLED = timedelta(days=1)
"""How long after its end a day is sealed: whoever still writes about it would only break the seal."""
MOST_AT_ONCE = timedelta(days=7)


def read_days(connection: Connection, since: date | None, until: date | None) -> list[DayRow]:
    """The days from `since` to `until`, both included, in order. Of passes that run only what their shards did."""
    one_moment(connection)
    return [day_row(key, part) for key, part in sorted(added_up(_parts(connection, since, until)).items())]


def one_moment(connection: Connection) -> None:
    """All that this transaction reads is as of one moment: retention moves figures from one table to another."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def _parts(connection: Connection, since: date | None, until: date | None) -> Iterator[tuple[Day, Part]]:
    yield from stored(connection, days, since, until)
    sealed = set(connection.execute(select(seals.c.day).where(*_between(seals.c.day, since, until))).scalars())
    if sealed:
        yield from ((key, part) for key, part in stored(connection, sealed_days, since, until) if key[0] in sealed)
    for start, end in open_spans(connection, sealed, since, until):
        yield from _live(connection, start, end)


def seal_next(connection: Connection, now: datetime) -> bool:
    """Add up the latest day that is over, settled and not sealed yet, for good; whether there was one."""
    if connection.dialect.name == "postgresql":
        # Whoever is changing a row and breaks its seal comes before, or after and finds the new one.
        connection.execute(text("LOCK TABLE cleanup_seals IN SHARE ROW EXCLUSIVE MODE"))
    last = day_of(now - SETTLED) - timedelta(days=1)
    first = _first_day(connection)
    if first is None:
        return False
    sealed = set(connection.execute(select(seals.c.day).where(seals.c.day <= last)).scalars())
    day = last
    while day in sealed:
        day -= timedelta(days=1)
    if day < first:
        return False
    start, end = _midnight(day), _midnight(day + timedelta(days=1))
    connection.execute(insert(seals).values(day=day, ends_at=end, sealed_at=datetime.now(UTC)))
    connection.execute(delete(sealed_days).where(sealed_days.c.day == day))
    total = added_up(_live(connection, start, end))
    if total:
        rows = [{**dict(zip(KEYS, key, strict=True)), **part} for key, part in total.items()]
        connection.execute(insert(sealed_days), rows)
    return True


def unseal(connection: Connection, run_id: str) -> None:
    """Break the seals of the days in which a pass may have done something."""
    began = select(passes.c.started_at).where(passes.c.run_id == run_id).scalar_subquery()
    connection.execute(delete(seals).where(seals.c.ends_at > began))


def stored(connection: Connection, table: Table, since: date | None, until: date | None) -> Iterator[tuple[Day, Part]]:
    """What `days` or `sealed_days` says of the days between."""
    for row in connection.execute(select(table).where(*_between(table.c.day, since, until))).mappings():
        yield (
            (row["day"], row["pass_name"], row["target"], row["store"], row["kind"]),
            {name: value for name, value in row.items() if name not in KEYS},
        )


def _between(column: ColumnElement[Any], since: date | None, until: date | None) -> list[ColumnElement[bool]]:
    return [*([column >= since] if since else []), *([column <= until] if until else [])]


def _live(connection: Connection, start: datetime, end: datetime) -> Iterator[tuple[Day, Part]]:
    """Of rows that are still there: passes that began between two instants, and shards that ended there."""
    began = and_(passes.c.started_at >= start, passes.c.started_at < end)
    over = passes.c.ended_at.is_not(None)
    by_run = _passes(connection, and_(began, over))
    yield from parts_of_passes(by_run.values())
    of_targets = (
        select(*(targets.c[name] for name in NEEDED_OF_TARGET))
        .join(passes, passes.c.run_id == targets.c.run_id)
        .where(began, over)
    )
    yield from parts_of_targets(connection.execute(of_targets).mappings(), by_run)
    inside = or_(
        and_(shards.c.ended_at >= start, shards.c.ended_at < end),
        and_(shards.c.ended_at.is_(None), shards.c.started_at >= start, shards.c.started_at < end),
    )
    yield from summed_shards(connection, inside)


def _passes(connection: Connection, where: ColumnElement[bool]) -> Mapping[str, Row]:
    found = connection.execute(select(*(passes.c[name] for name in NEEDED_OF_PASS)).where(where)).mappings()
    return {row["run_id"]: row for row in found}


def open_spans(
    connection: Connection, sealed: set[date], since: date | None, until: date | None
) -> list[tuple[datetime, datetime]]:
    """Stretches of time without a sealed day in them, each of a few days at most: its rows are held in memory."""
    first = _first_day(connection)
    if first is None:
        return []
    day, spans = max(first, since or first), list[tuple[datetime, datetime]]()
    last = until or _last_day(connection)
    while day <= last:
        if day not in sealed:
            start, end = _midnight(day), _midnight(day + timedelta(days=1))
            if spans and spans[-1][1] == start and end - spans[-1][0] <= MOST_AT_ONCE:
                start = spans.pop()[0]
            spans.append((start, end))
        day += timedelta(days=1)
    return spans


def _first_day(connection: Connection) -> date | None:
    first = connection.execute(select(func.min(passes.c.started_at))).scalar()
    return None if first is None else day_of(first)


def _last_day(connection: Connection) -> date:
    ends = [connection.execute(select(func.max(c))).scalar() for c in (passes.c.started_at, shards.c.ended_at)]
    # Clocks of other machines may be ahead.
    return max(day_of(at) for at in (*ends, datetime.now(UTC)) if at is not None)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def day_row(key: Day, part: Part) -> DayRow:
    """As it is handed out."""
    latency = part["latency_ms"]
    figures: dict[str, Any] = {
        **dict(zip(KEYS, key, strict=True)),
        **part,
        "latency_ms": None if latency is None else tuple(latency),
        "durations": {int(bound): count for bound, count in (part["durations"] or {}).items()},
        "outcomes": part["outcomes"] or {},
        "slowed": part["slowed"] or {},
    }
    return DayRow(**figures)
