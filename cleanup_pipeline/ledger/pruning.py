"""Retention: old passes become one row a day, pass, target, store and kind, so that totals never change."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection, delete, or_, select, text

from cleanup_pipeline.ledger.rows import Pruned
from cleanup_pipeline.ledger.tables import days, passes, shards, targets
from cleanup_pipeline.ledger.words import FAILED_SHARD, GREEN, UNDONE
from cleanup_pipeline.ledger.writing import insert
from cleanup_pipeline.model.words import PassStatus

CHUNK = 100
"""Passes that one transaction folds."""
_LOCK = 7_215_604_332
"""Advisory lock of PostgreSQL: two that prune would add to the same day."""

Day = tuple[date, str, str, str, str]
"""Day, pass, target, store, kind: the key of `cleanup_days`."""
_KEYS = ("day", "pass_name", "target", "store", "kind")
_SUMS = (
    *("passes", "failed", "shards", "shards_failed", "deleted", "scanned", "live", "repaired", "children"),
    *("batches", "retries", "parked", "paused_seconds", "waited_seconds", "seconds"),
)
_FROM_SHARD = (
    *("deleted", "at_most", "scanned", "live", "repaired", "children", "bytes_freed", "batches", "largest_batch"),
    *("retries", "parked", "paused_seconds", "waited_seconds", "seconds", "latency_ms"),
)


def prune_chunk(connection: Connection, before: datetime) -> Pruned:
    """Fold and delete the oldest passes that began before an instant and are over, at most CHUNK of them.

    One that never said that it ended is over when it was not heard of since then.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    over = or_(passes.c.ended_at.is_not(None), passes.c.heartbeat_at < before)
    # Whoever still writes about one of them locks its row first, and so comes before or after.
    old = select(passes).where(passes.c.started_at < before, over).order_by(passes.c.started_at).limit(CHUNK)
    found = connection.execute(old.with_for_update()).mappings().all()
    if not found:
        return Pruned(0, 0)
    by_run = {row["run_id"]: row for row in found}
    folded: dict[Day, dict[str, Any]] = {}
    count = 0
    for key, part in _parts(connection, by_run):
        count += part["shards"]
        folded[key] = _sum(folded[key], part) if key in folded else part
    for key, part in folded.items():
        _add_to_day(connection, key, part)
    for table in (shards, targets, passes):
        connection.execute(delete(table).where(table.c.run_id.in_(by_run)))
    return Pruned(len(by_run), count)


def _parts(connection: Connection, by_run: Mapping[str, Mapping[Any, Any]]) -> Iterator[tuple[Day, dict[str, Any]]]:
    for row in by_run.values():
        if not _is_dry(row):
            yield (_day(row["started_at"]), row["pass_name"], "", "", ""), _of_pass(row)
    for row in connection.execute(select(targets).where(targets.c.run_id.in_(by_run))).mappings():
        of = by_run[row["run_id"]]
        if not (_is_dry(of) or row["dry_run"] or row["stop_reason"] in UNDONE):
            yield _key(_day(of["started_at"]), of, row), _of_target(row)
    for row in connection.execute(select(shards).where(shards.c.run_id.in_(by_run))).mappings():
        yield _key(_day(row["ended_at"] or row["started_at"]), by_run[row["run_id"]], row), _of_shard(row)


def _is_dry(row: Mapping[Any, Any]) -> bool:
    return bool(row["dry_run"]) or row["status"] == PassStatus.DRY_RUN


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


def _key(day: date, of: Mapping[Any, Any], row: Mapping[Any, Any]) -> Day:
    return day, of["pass_name"], row["target"], row["store"], row["kind"]


_NOTHING = dict.fromkeys(_SUMS, 0) | {
    "at_most": 0,
    "bytes_freed": None,
    "largest_batch": 0,
    "latency_ms": None,
    "last_success": None,
}


def _of_pass(row: Mapping[Any, Any]) -> dict[str, Any]:
    ended = row["ended_at"]
    return _NOTHING | {
        "passes": 1,
        "failed": int(row["status"] not in GREEN),
        "last_success": ended if row["status"] == PassStatus.SUCCEEDED else None,
        "seconds": (ended - row["started_at"]).total_seconds() if ended else 0.0,
    }


def _of_target(row: Mapping[Any, Any]) -> dict[str, Any]:
    green = row["reported_at"] is not None and row["error"] is None
    return _NOTHING | {"passes": 1, "failed": int(not green), "last_success": row["reported_at"] if green else None}


def _of_shard(row: Mapping[Any, Any]) -> dict[str, Any]:
    failed = row["stop_reason"] is None or row["stop_reason"] in FAILED_SHARD
    return _NOTHING | {name: row[name] for name in _FROM_SHARD} | {"shards": 1, "shards_failed": int(failed)}


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    unsure = one["at_most"] is None or other["at_most"] is None
    return {
        **{name: one[name] + other[name] for name in _SUMS},
        "at_most": None if unsure else one["at_most"] + other["at_most"],
        "bytes_freed": _known(sum, one["bytes_freed"], other["bytes_freed"]),
        "largest_batch": max(one["largest_batch"], other["largest_batch"]),
        "latency_ms": _known(_buckets, one["latency_ms"], other["latency_ms"]),
        "last_success": _known(max, one["last_success"], other["last_success"]),
    }


def _known(fold: Any, *values: Any) -> Any:
    known = [value for value in values if value is not None]
    return fold(known) if known else None


def _buckets(histograms: Sequence[Sequence[int]]) -> list[int]:
    longest = max(len(each) for each in histograms)
    return [sum(each[i] for each in histograms if i < len(each)) for i in range(longest)]


def _add_to_day(connection: Connection, key: Day, part: dict[str, Any]) -> None:
    named = dict(zip(_KEYS, key, strict=True))
    there = connection.execute(select(days).where(*(days.c[k] == v for k, v in named.items()))).mappings().one_or_none()
    values = part if there is None else _sum({name: there[name] for name in part}, part)
    connection.execute(
        insert(connection.dialect.name, days)
        .values({**named, **values})
        .on_conflict_do_update(index_elements=list(_KEYS), set_=values)
    )
