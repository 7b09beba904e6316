"""What passes, targets and shards add to the figures of a day, and how such parts are added up.

Does not belong here: which rows (pruning.py, daily.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from cleanup_pipeline.ledger.words import FAILED_SHARD, GREEN, LOST, UNDONE
from cleanup_pipeline.model.histogram import bucket
from cleanup_pipeline.model.words import PassStatus

Row = Mapping[Any, Any]
Day = tuple[date, str, str, str, str]
"""Day, pass, target, store, kind: the key of `cleanup_days`."""
Part = dict[str, Any]
"""The figures of a day: the other columns."""

KEYS = ("day", "pass_name", "target", "store", "kind")
_SUMS = (
    *("passes", "failed", "shards", "shards_failed", "deleted", "scanned", "live", "repaired", "children"),
    *("batches", "retries", "parked", "paused_seconds", "waited_seconds", "seconds"),
)
_FROM_SHARD = (
    *("deleted", "at_most", "scanned", "live", "repaired", "children", "bytes_freed", "batches", "largest_batch"),
    *("retries", "parked", "paused_seconds", "waited_seconds", "seconds", "latency_ms", "slowed", "cpu_seconds"),
)
NEEDED_OF_SHARD = ("run_id", "target", "store", "kind", "started_at", "ended_at", "stop_reason", *_FROM_SHARD)
NEEDED_OF_TARGET = (
    *("run_id", "target", "store", "kind", "dry_run", "stop_reason", "error", "seconds", "expired_found", "survivors"),
    "reported_at",
)
NEEDED_OF_PASS = ("run_id", "pass_name", "dry_run", "status", "started_at", "ended_at")

_NOTHING: Part = dict.fromkeys(_SUMS, 0) | {
    "at_most": 0,
    "bytes_freed": None,
    "largest_batch": 0,
    "latency_ms": None,
    "last_success": None,
    "expired_found": None,
    "survivors": None,
    "reported_at": None,
    "durations": None,
    "outcomes": None,
    "slowed": None,
    "cpu_seconds": None,
}


def parts_of_passes(rows: Iterable[Row]) -> Iterator[tuple[Day, Part]]:
    """Of passes that are over; dry runs add nothing."""
    for row in rows:
        if not _is_dry(row):
            yield (day_of(row["started_at"]), row["pass_name"], "", "", ""), _of_pass(row)


def parts_of_targets(rows: Iterable[Row], by_run: Mapping[str, Row]) -> Iterator[tuple[Day, Part]]:
    """Of targets of passes that are over; dry runs and targets that were skipped add nothing."""
    for row in rows:
        of = by_run[row["run_id"]]
        if not (_is_dry(of) or row["dry_run"] or row["stop_reason"] in UNDONE):
            yield _key(day_of(of["started_at"]), of, row), _of_target(row)


def parts_of_shards(rows: Iterable[Row], by_run: Mapping[str, Row]) -> Iterator[tuple[Day, Part]]:
    """Of shards; one that did not say how it ended belongs to the day on which it began."""
    for row in rows:
        yield _key(day_of(row["ended_at"] or row["started_at"]), by_run[row["run_id"]], row), _of_shard(row)


def added_up(parts: Iterable[tuple[Day, Part]]) -> dict[Day, Part]:
    """All parts of a key together."""
    total: dict[Day, Part] = {}
    for key, part in parts:
        total[key] = add(total[key], part) if key in total else part
    return total


def add(one: Part, other: Part) -> Part:
    """Both together."""
    unsure = one["at_most"] is None or other["at_most"] is None
    later = max((one, other), key=lambda part: part["reported_at"] or _NEVER)
    return {
        **{name: one[name] + other[name] for name in _SUMS},
        "at_most": None if unsure else one["at_most"] + other["at_most"],
        "bytes_freed": _known(sum, one["bytes_freed"], other["bytes_freed"]),
        "largest_batch": max(one["largest_batch"], other["largest_batch"]),
        "latency_ms": _known(_buckets, one["latency_ms"], other["latency_ms"]),
        "last_success": _known(max, one["last_success"], other["last_success"]),
        "expired_found": _known(sum, one["expired_found"], other["expired_found"]),
        "survivors": later["survivors"],
        "reported_at": later["reported_at"],
        "durations": _known(_counts, one["durations"], other["durations"]),
        "outcomes": _known(_counts, one["outcomes"], other["outcomes"]),
        "slowed": _known(_counts, one["slowed"], other["slowed"]),
        "cpu_seconds": _known(sum, one["cpu_seconds"], other["cpu_seconds"]),
    }


_NEVER = datetime.min.replace(tzinfo=UTC)


def day_of(at: datetime) -> date:
    """The UTC day of an instant."""
    return at.astimezone(UTC).date()


def _is_dry(row: Row) -> bool:
    return bool(row["dry_run"]) or row["status"] == PassStatus.DRY_RUN


def _key(day: date, of: Row, row: Row) -> Day:
    return day, of["pass_name"], row["target"], row["store"], row["kind"]


# Keys of JSON objects are texts.
def _duration(seconds: float) -> dict[str, int]:
    return {str(bucket(seconds)): 1}


def _of_pass(row: Row) -> Part:
    ended = row["ended_at"]
    seconds = (ended - row["started_at"]).total_seconds() if ended else 0.0
    return _NOTHING | {
        "passes": 1,
        "failed": int(row["status"] not in GREEN),
        "last_success": ended if row["status"] == PassStatus.SUCCEEDED else None,
        "seconds": seconds,
        "durations": _duration(seconds) if ended else None,
        "outcomes": {row["status"] or LOST: 1},
    }


def _of_target(row: Row) -> Part:
    reported = row["reported_at"]
    green = reported is not None and row["error"] is None
    return _NOTHING | {
        "passes": 1,
        "failed": int(not green),
        "last_success": reported if green else None,
        "expired_found": row["expired_found"],
        "survivors": row["survivors"],
        "reported_at": reported,
        "durations": None if reported is None else _duration(row["seconds"]),
    }


def _of_shard(row: Row) -> Part:
    # None while it runs: that is neither good nor bad.
    reason = row["stop_reason"]
    return (
        _NOTHING
        | {name: row[name] for name in _FROM_SHARD}
        | {"shards": 1, "shards_failed": int(reason in FAILED_SHARD), "outcomes": {reason: 1} if reason else None}
    )


def _known(fold: Callable[[Any], Any], *values: Any) -> Any:
    known = [value for value in values if value is not None]
    return fold(known) if known else None


def _buckets(histograms: Sequence[Sequence[int]]) -> list[int]:
    longest = max(len(each) for each in histograms)
    return [sum(each[i] for each in histograms if i < len(each)) for i in range(longest)]


def _counts(several: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in several:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total
