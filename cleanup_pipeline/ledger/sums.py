"""The figures of all days together, for those who ask again and again: what has not changed is not read again.

Of days that are sealed or folded the sum is kept until a seal or the days change. Of the others it is kept by the hour
in which passes began, until one of its passes is written about: every write moves the heartbeat of its pass.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, func, not_, or_, select, type_coerce

from cleanup_pipeline.ledger.daily import day_row, open_spans, stored
from cleanup_pipeline.ledger.parts import (
    NEEDED_OF_PASS,
    NEEDED_OF_TARGET,
    Day,
    Part,
    added_up,
    parts_of_passes,
    parts_of_targets,
)
from cleanup_pipeline.ledger.rows import DayRow
from cleanup_pipeline.ledger.summing import summed_shards
from cleanup_pipeline.ledger.tables import days, passes, sealed_days, seals, shards, targets

WARM = timedelta(hours=1)
"""What was written about so lately is read again: the clock of who wrote may differ from that of who reads."""
AT_ONCE = 500
"""Runs that one statement names."""

Key = tuple[str, str, str, str]
"""Pass, target, store, kind."""
Span = tuple[datetime, datetime]
_Parts = list[tuple[Day, Part]]


@dataclass(slots=True)
class Sums:
    """What is kept between two readings of one ledger. Not for two threads at once."""

    _closed_mark: object = None
    _closed: dict[Day, Part] = field(default_factory=dict[Day, Part])
    _hours: dict[str, tuple[object, dict[Day, Part]]] = field(default_factory=dict[str, tuple[object, dict[Day, Part]]])
    _cold_mark: object = None
    _cold: dict[Day, Part] = field(default_factory=dict[Day, Part])
    _strays_mark: object = None
    _strays: frozenset[str] = frozenset()

    def read(self, connection: Connection, now: datetime) -> dict[Key, DayRow]:
        """The sum of all days (`Ledger.days`), by pass, target, store and kind; its `day` says nothing.

        The transaction has to be one moment (`one_moment`).
        """
        sealed = {row[0]: row[1] for row in connection.execute(select(seals.c.day, seals.c.sealed_at))}
        seal_mark = tuple(sorted(sealed.items()))
        self._read_closed(connection, sealed, seal_mark)
        spans = open_spans(connection, set(sealed), None, None)
        parts: _Parts = [*self._closed.items(), *self._read_hours(connection, spans, set(sealed), seal_mark, now)]
        parts += self._read_strays(connection, spans, seal_mark)
        together = added_up(((_ANY_DAY, *key[1:]), part) for key, part in parts)
        return {key[1:]: day_row(key, part) for key, part in together.items()}

    def _read_closed(self, connection: Connection, sealed: Mapping[date, datetime], seal_mark: object) -> None:
        # Folding only ever adds.
        amount = select(func.count(), func.sum(days.c.passes), func.sum(days.c.shards))
        mark = (seal_mark, tuple(connection.execute(amount).one()))
        if mark == self._closed_mark:
            return
        parts: _Parts = list(stored(connection, days, None, None))
        parts += [(key, part) for key, part in stored(connection, sealed_days, None, None) if key[0] in sealed]
        self._closed = _without_days(parts)
        self._closed_mark = mark

    def _read_hours(
        self, connection: Connection, spans: Sequence[Span], sealed: set[date], seal_mark: object, now: datetime
    ) -> _Parts:
        marks = dict[str, tuple[Any, ...]]()
        for span in spans:
            marks.update(_marks(connection, span))
        found: _Parts = []
        cold: list[str] = []
        for hour, mark in marks.items():
            if mark[-1] >= now - WARM:
                self._hours.pop(hour, None)
                found += _parts(connection, hour).items()
            else:
                if self._hours.get(hour, (None,))[0] != mark:
                    self._hours[hour] = (mark, _parts(connection, hour))
                cold.append(hour)
        self._hours = {hour: kept for hour, kept in self._hours.items() if hour in marks}
        cold_mark = (seal_mark, tuple((hour, marks[hour]) for hour in cold))
        if cold_mark != self._cold_mark:
            kept = (item for hour in cold for item in self._hours[hour][1].items())
            self._cold = _without_days(_unsealed(kept, sealed))
            self._cold_mark = cold_mark
        return [*self._cold.items(), *_unsealed(found, sealed)]

    def _read_strays(self, connection: Connection, spans: Sequence[Span], seal_mark: object) -> _Parts:
        """What shards did in these spans whose passes began in none of them."""
        began_inside = or_(*(_began(span) for span in spans)) if spans else None
        if began_inside is None:
            return []
        elsewhere = [not_(began_inside)]
        mark = (seal_mark, tuple(spans))
        if mark != self._strays_mark:
            heard = select(passes.c.run_id).where(passes.c.heartbeat_at >= spans[0][0], *elsewhere)
            self._strays = frozenset(connection.execute(heard).scalars())
            self._strays_mark = mark
        # Whoever says how something ended in a sealed day breaks the seal; before that its pass runs.
        running = connection.execute(select(passes.c.run_id).where(passes.c.ended_at.is_(None), *elsewhere)).scalars()
        runs = sorted(self._strays.union(running))
        parts: _Parts = []
        for start in range(0, len(runs), AT_ONCE):
            inside = or_(*(_ended(span) for span in spans))
            parts += summed_shards(connection, and_(shards.c.run_id.in_(runs[start : start + AT_ONCE]), inside))
        return parts


_ANY_DAY = date.min


def _without_days(parts: Iterable[tuple[Day, Part]]) -> dict[Day, Part]:
    return added_up(((_ANY_DAY, *key[1:]), part) for key, part in parts)


def _unsealed(parts: Iterable[tuple[Day, Part]], sealed: set[date]) -> _Parts:
    return [(key, part) for key, part in parts if key[0] not in sealed]


def _began(span: Span) -> ColumnElement[bool]:
    return and_(passes.c.started_at >= span[0], passes.c.started_at < span[1])


def _ended(span: Span) -> ColumnElement[bool]:
    """As the figures of a day see it."""
    return or_(
        and_(shards.c.ended_at >= span[0], shards.c.ended_at < span[1]),
        and_(shards.c.ended_at.is_(None), shards.c.started_at >= span[0], shards.c.started_at < span[1]),
    )


def _marks(connection: Connection, span: Span) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What changes whenever something is written about a pass of an hour, its newest heartbeat last."""
    hour: ColumnElement[str] = (
        func.to_char(func.timezone("UTC", passes.c.started_at), "YYYY-MM-DD HH24")
        if connection.dialect.name == "postgresql"
        else func.substr(type_coerce(passes.c.started_at, Text), 1, 13)
    )
    hour = hour.label("hour")
    marks = select(
        hour,
        func.count(),
        func.count(passes.c.ended_at),
        func.min(passes.c.started_at),
        func.max(passes.c.heartbeat_at),
    )
    for row in connection.execute(marks.where(_began(span)).group_by(hour).order_by(hour)):
        yield row[0], tuple(row[1:])


def _parts(connection: Connection, hour: str) -> dict[Day, Part]:
    """What passes that began in this hour came to, on whatever day."""
    day, _, of_day = hour.partition(" ")
    start = datetime.combine(date.fromisoformat(day), time(int(of_day)), UTC)
    began = _began((start, start + timedelta(hours=1)))
    chosen = select(*(passes.c[name] for name in NEEDED_OF_PASS)).where(began, passes.c.ended_at.is_not(None))
    over = {row["run_id"]: row for row in connection.execute(chosen).mappings()}
    of_targets = (
        select(*(targets.c[name] for name in NEEDED_OF_TARGET))
        .join(passes, passes.c.run_id == targets.c.run_id)
        .where(began, passes.c.ended_at.is_not(None))
    )
    parts: _Parts = list(parts_of_passes(over.values()))
    parts += parts_of_targets(connection.execute(of_targets).mappings(), over)
    parts += summed_shards(connection, began)
    return added_up(parts)
