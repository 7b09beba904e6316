"""Shards added up by the database: of thousands a day only what differs comes here."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Date,
    Double,
    Text,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
)

from cleanup_pipeline.ledger.parts import Day, Part, part_of_shards
from cleanup_pipeline.ledger.tables import passes, shards

_KEYS = ("day", "pass_name", "target", "store", "kind")
_ALIKE = ("stop_reason", "latency_ms", "slowed")
"""JSON cannot be added up, and PostgreSQL cannot compare it: grouped by its text, of which there are few."""
_COUNTS = (
    *("deleted", "at_most", "scanned", "live", "repaired", "children", "bytes_freed", "batches", "retries", "parked"),
)
_TIMES = ("paused_seconds", "waited_seconds", "seconds", "cpu_seconds")
_NAMED = {"latency_ms", "slowed"}


def summed_shards(connection: Connection, where: ColumnElement[bool]) -> Iterator[tuple[Day, Part]]:
    """The parts of all shards that meet a condition, those that are alike in one."""
    columns = ("target", "store", "kind", "stop_reason", "largest_batch", *_COUNTS, *_TIMES)
    of = (
        select(
            _day(connection).label("day"),
            passes.c.pass_name,
            *(shards.c[name] for name in columns),
            *(cast(shards.c[name], Text).label(f"{name}_text") for name in sorted(_NAMED)),
        )
        .join(passes, passes.c.run_id == shards.c.run_id)
        .where(where)
        .subquery("chosen")
    )
    alike = [of.c[f"{name}_text" if name in _NAMED else name] for name in (*_KEYS, *_ALIKE)]
    sums = [
        func.count().label("shards"),
        func.count(of.c.at_most).label("bounded"),
        func.max(of.c.largest_batch).label("largest_batch"),
        *(cast(func.sum(of.c[name]), BigInteger).label(name) for name in _COUNTS),
        *(cast(func.sum(of.c[name]), Double).label(name) for name in _TIMES),
    ]
    for row in connection.execute(select(*alike, *sums).group_by(*alike)).mappings():
        yield _key(row), part_of_shards(row)


def _day(connection: Connection) -> ColumnElement[date]:
    at = func.coalesce(shards.c.ended_at, shards.c.started_at)
    utc = at if connection.dialect.name == "sqlite" else func.timezone(literal_column("'UTC'"), at)
    return type_coerce(func.date(utc), Date)


def _key(row: Mapping[Any, Any]) -> Day:
    return row["day"], row["pass_name"], row["target"], row["store"], row["kind"]
