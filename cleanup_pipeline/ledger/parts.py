"""What passes, targets and shards add to the figures of a day, and how such parts are added up.

Does not belong here: which rows (pruning.py, daily.py).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from cleanup_pipeline.ledger.words import FAILED_SHARD, GREEN, LOST, UNDONE, UNTRIED
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


def part_of_shards(row: Row) -> Part:
    """Of several shards that the database added up, which are alike in how they ended, in `latency_ms` and `slowed`.

    `bounded` of them have an `at_most`; the two that are alike come as JSON texts, `latency_ms_text` and `slowed_text`.
    """
    reason, count = row["stop_reason"], row["shards"]
    latency, slowed = _parsed(row["latency_ms_text"]), _parsed(row["slowed_text"])
    return _NOTHING | {
        **{name: row[name] for name in _FROM_SHARD if name not in {"latency_ms", "slowed"}},
        "at_most": row["at_most"] if row["bounded"] == count else None,
        "latency_ms": None if latency is None else [batches * count for batches in latency],
        "slowed": None if slowed is None else {name: times * count for name, times in slowed.items()},
        "shards": count,
        "shards_failed": count * (reason in FAILED_SHARD),
        "outcomes": {reason: count} if reason else None,
    }


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def added_up(parts: Iterable[tuple[Day, Part]]) -> dict[Day, Part]:
    """All parts of a key together."""
    total: dict[Day, Part] = {}
    own: set[Day] = set()
    for key, part in parts:
        if key not in total:
            total[key] = part
            continue
        if key not in own:
            total[key] = _copy(total[key])
            own.add(key)
        _add_to(total[key], part)
    return total


def add(one: Part, other: Part) -> Part:
    """Both together."""
    total = _copy(one)
    _add_to(total, other)
    return total


def _copy(part: Part) -> Part:
    """The same, with dicts and lists of its own."""
    return {name: _own(value) for name, value in part.items()}


def _add_to(total: Part, part: Part) -> None:
    # In place: one day of a busy ledger is thousands of parts.
    for name in _SUMS:
        total[name] += part[name]
    known = total["at_most"] is not None and part["at_most"] is not None
    total["at_most"] = total["at_most"] + part["at_most"] if known else None
    total["largest_batch"] = max(total["largest_batch"], part["largest_batch"])
    for name, fold in _KNOWN:
        value = part[name]
        if value is not None:
            before = total[name]
            total[name] = fold(before, value) if before is not None else _own(value)
    if (part["reported_at"] or _NEVER) > (total["reported_at"] or _NEVER):
        total["survivors"], total["reported_at"] = part["survivors"], part["reported_at"]


def _own(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, list) else value


def _count_in(total: dict[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count
    return total


def _bucket_in(total: list[int], buckets: Sequence[int]) -> list[int]:
    total += [0] * (len(buckets) - len(total))
    for place, count in enumerate(buckets):
        total[place] += count
    return total


_KNOWN: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("bytes_freed", lambda one, other: one + other),
    ("latency_ms", _bucket_in),
    ("last_success", max),
    ("expired_found", lambda one, other: one + other),
    ("durations", _count_in),
    ("outcomes", _count_in),
    ("slowed", _count_in),
    ("cpu_seconds", lambda one, other: one + other),
)
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
    if row["stop_reason"] in UNTRIED:
        # What a brake held is no operation, neither good nor bad; what was found is known all the same.
        return _NOTHING | {name: row[name] for name in ("expired_found", "survivors", "reported_at")}
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
