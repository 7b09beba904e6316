"""What metrics show, read from the ledger at one moment. Does not belong here: names and formats of metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cleanup_pipeline.ledger import DayRow, Ledger
from cleanup_pipeline.ledger.daily import one_moment
from cleanup_pipeline.ledger.sums import Key, Sums
from cleanup_pipeline.ledger.watched import WatchedPass, WatchedTarget, first_day, watched_pass, watched_target
from cleanup_pipeline.model.histogram import Histogram
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Current:
    """What is so of a target now. None is unknown."""

    last_success: datetime | None = None
    backlog: int | None = None
    """Expired records that the last report found left."""
    backlog_at: datetime | None = None
    backlog_growth: int | None = None
    """By how much that is more than three intervals before."""
    slowest_seconds: float | None = None
    """The longest operation of the last two intervals."""
    delete_seconds: float = 0.0
    """That delete steps of the last two intervals took, pauses included."""
    wait_seconds: float = 0.0
    """Of these, those that the governor had them wait."""
    governor_stops: int = 0
    """Delete steps of the last two intervals that the governor ended."""
    checked_at: datetime | None = None
    """When the witness last looked."""
    survivors: int | None = None
    """Expired records that it found."""
    oldest_survivor_age: float | None = None
    """Seconds since the oldest of them ought to be gone, up to now; 0: there is none."""
    objective_seconds: float | None = None
    """How old that may become."""
    braked: bool = False
    """A brake holds it back, and nobody let it go."""


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """All that was ever done to a target, as counters that only grow, and how it is now."""

    pass_name: str
    target: str
    store: str
    kind: str
    operations: int = 0
    """Passes in which it was cleaned, or was to be."""
    failed: int = 0
    """Of these, those that ended red."""
    durations: Histogram = field(default_factory=dict[int, int])
    """How long operations took."""
    latency_ms: tuple[int, ...] | None = None
    """Batches per bucket of `LATENCY_BUCKETS_MS` (model/outcome.py); None: there was no batch."""
    deleted: int = 0
    expired_found: int | None = None
    repaired: int = 0
    children: int = 0
    bytes_freed: int | None = None
    batches: int = 0
    retries: int = 0
    parked: int = 0
    paused_seconds: float = 0.0
    waited_seconds: float = 0.0
    seconds: float = 0.0
    """Of all delete steps, one after another, pauses included."""
    slowed: Mapping[str, int] = field(default_factory=dict[str, int])
    """Slow-downs by reason."""
    stops: Mapping[str, int] = field(default_factory=dict[str, int])
    """Delete steps by stop reason."""
    current: Current | None = None
    """None: it is not in the settings any more."""

    @property
    def key(self) -> Key:
        """What makes it the same in another snapshot."""
        return self.pass_name, self.target, self.store, self.kind


@dataclass(frozen=True, slots=True)
class PassFigures:
    """All runs that a pass ever had, and how it is now."""

    name: str
    runs: Mapping[str, int] = field(default_factory=dict[str, int])
    """By status."""
    every: timedelta | None = None
    """None: it is not in the settings any more."""
    enabled: bool = False
    """It is to delete by itself: switched on, with a target in mode `delete`."""
    running: int = 0
    last_run: datetime | None = None
    """When a run of it last ended, however."""
    last_success: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger at one moment."""

    taken_at: datetime
    since: datetime | None
    """The beginning of the day of the first pass of all; None: there was none."""
    targets: tuple[TargetFigures, ...]
    passes: tuple[PassFigures, ...]


def read_snapshot(ledger: Ledger, settings: Settings, now: datetime, kept: Sums | None = None) -> Snapshot:
    """All figures as of `now`. Raises LedgerError.

    `kept` is from the last time, of the same ledger: with it, old rows are not read again.
    """
    sums = kept or Sums()
    with ledger.place.reading() as connection:
        one_moment(connection)
        totals = sums.read(connection, now)
        since = first_day(connection)
        of_passes = {name: watched_pass(connection, name) for name in settings.passes}
        of_targets = {
            target.name: watched_target(connection, target.name, settings.passes[target.pass_name].every, now)
            for target in settings.targets
        }
    known = {_key(target): target for target in settings.targets}
    targets = [
        _target(key, totals.get(key), of_targets[key[1]] if key in known else None, now)
        for key in sorted({*known, *(key for key in totals if key[1])})
    ]
    names = sorted({*settings.passes, *(key[0] for key in totals if not key[1])} - {""})
    passes = [_pass(name, totals.get((name, "", "", "")), settings, of_passes.get(name)) for name in names]
    return Snapshot(now, since, tuple(targets), tuple(passes))


def _key(target: Target) -> Key:
    return target.pass_name, target.name, target.store, target.kind


def _target(key: Key, row: DayRow | None, watched: WatchedTarget | None, now: datetime) -> TargetFigures:
    current = None if watched is None else _current(row, watched, now)
    if row is None:
        return TargetFigures(*key, current=current)
    return TargetFigures(
        *key,
        operations=row.passes,
        failed=row.failed,
        durations=row.durations,
        latency_ms=row.latency_ms,
        deleted=row.deleted,
        expired_found=row.expired_found,
        repaired=row.repaired,
        children=row.children,
        bytes_freed=row.bytes_freed,
        batches=row.batches,
        retries=row.retries,
        parked=row.parked,
        paused_seconds=row.paused_seconds,
        waited_seconds=row.waited_seconds,
        seconds=row.seconds,
        slowed=row.slowed,
        stops=row.outcomes,
        current=current,
    )


def _current(row: DayRow | None, watched: WatchedTarget, now: datetime) -> Current:
    # What retention has folded still says how much the last report of all found left.
    folded = row is not None and watched.backlog_at is None
    witness = watched.witness
    age = None
    if witness is not None and witness.known:
        oldest = witness.oldest_survivor
        age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    return Current(
        last_success=row.last_success if row else None,
        backlog=row.survivors if folded and row else watched.backlog,
        backlog_at=row.reported_at if folded and row else watched.backlog_at,
        backlog_growth=watched.backlog_growth,
        slowest_seconds=watched.slowest_seconds,
        delete_seconds=watched.delete_seconds,
        wait_seconds=watched.wait_seconds,
        governor_stops=watched.governor_stops,
        checked_at=witness.checked_at if witness else None,
        survivors=witness.survivors if witness and witness.known else None,
        oldest_survivor_age=age,
        objective_seconds=witness.objective_seconds if witness else None,
        braked=watched.braked,
    )


def _pass(name: str, row: DayRow | None, settings: Settings, watched: WatchedPass | None) -> PassFigures:
    runs: Mapping[str, int] = row.outcomes if row else {}
    if watched is None:
        return PassFigures(name, runs)
    of_pass = settings.passes[name]
    deletes = any(target.mode is Mode.DELETE for target in settings.targets_of(name))
    return PassFigures(
        name,
        runs,
        every=of_pass.every,
        enabled=settings.enabled and of_pass.enabled and deletes,
        running=watched.running,
        last_run=watched.last_end,
        last_success=row.last_success if row else None,
    )
