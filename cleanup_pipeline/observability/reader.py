"""Reading the ledger for metrics again and again: opened when it is there, cheap the second time, never going down."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from cleanup_pipeline.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.ledger.sums import Sums
from cleanup_pipeline.observability.snapshot import PassFigures, Snapshot, TargetFigures, read_snapshot
from cleanup_pipeline.settings import Settings

K = TypeVar("K")
_COUNTERS = (
    *("operations", "failed", "deleted", "expired_found", "repaired", "children", "bytes_freed", "batches"),
    *("retries", "parked", "paused_seconds", "waited_seconds", "seconds"),
)


class Reader:
    """Snapshots of the ledger at a URL. Several threads may ask."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url, self._settings = url, settings
        self._lock = Lock()
        self._ledger: Ledger | None = None
        self._file: tuple[int, int] | None = None
        self._path = Path()
        self._kept = Sums()
        self._last: Snapshot | None = None

    def read(self) -> Snapshot:
        """As of now, no counter less than the last time. Raises LedgerError; the next call tries again."""
        with self._lock:
            try:
                ledger = self._open()
                found = read_snapshot(ledger, self._settings, datetime.now(UTC), self._kept)
            except LedgerError:
                self._shut()
                raise
            self._last = found if self._last is None else not_less(found, self._last)
            return self._last

    def seal(self) -> None:
        """Have the ledger add up the days that are over, for good. Raises LedgerError."""
        ledger = open_ledger(self._url)
        try:
            ledger.seal()
        finally:
            ledger.close()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._shut()

    def _open(self) -> Ledger:
        if self._ledger is not None:
            if self._file is None or _identity(self._ledger) == self._file:
                return self._ledger
            # Another file, or none, under the same name: what is held open is not what others write to.
            self._shut()
        if self._file is not None and not self._path.exists():
            # The next one may be any other, even under the same number.
            self._kept, self._last = Sums(), None
            raise LedgerError(f"the ledger's file {self._path.name} is gone")
        self._ledger = open_ledger(self._url)
        found = _identity(self._ledger)
        if found != self._file:
            self._kept, self._last = Sums(), None
        if found is not None:
            self._file, self._path = found, Path(str(self._ledger.place.engine.url.database))
        return self._ledger

    def _shut(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


def _identity(ledger: Ledger) -> tuple[int, int] | None:
    """Which file it is; None where it is no file, or none is there."""
    url = ledger.place.engine.url
    if not url.drivername.startswith("sqlite") or not url.database:
        return None
    try:
        status = Path(url.database).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def not_less(found: Snapshot, before: Snapshot) -> Snapshot:
    """`found` with each counter at least what it was `before`.

    The ledger may correct itself: a pass that was taken for lost may have ended well after all. Who watches a counter
    would take that for a new beginning and count all of it again.
    """
    targets = {target.key: target for target in before.targets}
    passes = {of_pass.name: of_pass for of_pass in before.passes}
    return replace(
        found,
        targets=tuple(_target(each, targets[each.key]) if each.key in targets else each for each in found.targets),
        passes=tuple(_pass(each, passes[each.name]) if each.name in passes else each for each in found.passes),
    )


def _target(found: TargetFigures, before: TargetFigures) -> TargetFigures:
    counters: dict[str, Any] = {name: _most(getattr(found, name), getattr(before, name)) for name in _COUNTERS}
    # What succeeded is the difference of two counters, and one itself.
    succeeded = max(found.operations - found.failed, before.operations - before.failed)
    counters["operations"] = succeeded + counters["failed"]
    latency = found.latency_ms or before.latency_ms
    if found.latency_ms is not None and before.latency_ms is not None:
        latency = tuple(map(max, found.latency_ms, before.latency_ms))
    return replace(
        found,
        **counters,
        durations=_each(found.durations, before.durations),
        latency_ms=latency,
        slowed=_each(found.slowed, before.slowed),
        stops=_each(found.stops, before.stops),
    )


def _pass(found: PassFigures, before: PassFigures) -> PassFigures:
    return replace(found, runs=_each(found.runs, before.runs))


def _most(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _each(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}
