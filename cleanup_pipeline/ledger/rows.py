"""What the ledger hands out. Sizes are in records unless the name says bytes; None is unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from cleanup_pipeline.model.histogram import Histogram


@dataclass(frozen=True, slots=True)
class PassRow:
    """A pass as the ledger has it."""

    run_id: str
    pass_name: str
    window: str | None
    """The partition key."""
    window_start: datetime | None
    window_end: datetime | None
    backfill: str | None
    parent_run_id: str | None
    root_run_id: str | None
    host: str
    pid: int | None
    dry_run: bool
    started_at: datetime
    heartbeat_at: datetime
    """When it was last heard of."""
    ended_at: datetime | None
    status: str | None
    """A PassStatus, `lost` or `terminated`; None while it runs."""
    reason: str | None
    deleted: int
    at_most: int | None
    """The most that it can have deleted; None: nobody knows."""
    survivors: int | None
    """None: of some target nobody knows."""
    only_braked: bool = False
    """True when it is red, and every red target was held by a brake."""


@dataclass(frozen=True, slots=True)
class TargetRow:
    """What a pass did to one target, but for what its shards say."""

    run_id: str
    target: str
    store: str
    store_type: str
    kind: str
    strategy: str | None
    cutoff: datetime | None
    since: datetime | None
    dry_run: bool
    expired_found: int | None
    oldest_expired: datetime | None
    without_expiry: int | None
    unparsable: int | None
    survivors: int | None
    survivors_known: bool
    stop_reason: str | None
    """None until it is reported."""
    skipped: str | None
    """Why there was nothing to do."""
    error: str | None
    seconds: float
    bytes_freed: int | None
    bytes_before: int | None
    records_before: int | None
    dead_records_before: int | None
    bytes_after: int | None
    records_after: int | None
    dead_records_after: int | None
    planned_at: datetime | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class ShardRow:
    """What one delete step did."""

    run_id: str
    target: str
    shard: int
    store: str
    kind: str
    started_at: datetime
    ended_at: datetime | None
    stop_reason: str | None
    """A StopReason, or `lost`; None while it runs."""
    deleted: int
    at_most: int | None
    scanned: int
    live: int
    repaired: int
    children: int
    bytes_freed: int | None
    batches: int
    largest_batch: int
    retries: int
    parked: int
    paused_seconds: float
    waited_seconds: float
    seconds: float
    cpu_seconds: float | None
    error: str | None
    note: str | None
    slowed: Mapping[str, int] | None
    latency_ms: tuple[int, ...] | None
    """Batches per bucket of `LATENCY_BUCKETS_MS` (model/outcome.py)."""


@dataclass(frozen=True, slots=True)
class PassDetail:
    """A pass with all that it did."""

    row: PassRow
    targets: tuple[TargetRow, ...]
    shards: tuple[ShardRow, ...]


@dataclass(frozen=True, slots=True)
class DayRow:
    """What a UTC day, pass, target, store and kind came to.

    `passes` to `outcomes` of a pass or target belong to the day on which the pass began, what shards did to the one on
    which they ended. Dry runs are in none of it, skipped targets only in `outcomes`.
    """

    day: date
    pass_name: str
    target: str
    """Empty: the pass as a whole, of which only `passes`, `failed`, `last_success`, `seconds`, `durations` and
    `outcomes` are given."""
    store: str
    kind: str
    passes: int
    """Passes that are over; of a target, those that it was cleaned in, or was to be."""
    failed: int
    """Of these, the red ones."""
    last_success: datetime | None
    shards: int
    shards_failed: int
    deleted: int
    at_most: int | None
    scanned: int
    live: int
    repaired: int
    children: int
    bytes_freed: int | None
    batches: int
    largest_batch: int
    retries: int
    parked: int
    paused_seconds: float
    waited_seconds: float
    seconds: float
    """Of a pass from its beginning to its end; else of its shards, one after another."""
    latency_ms: tuple[int, ...] | None
    """Batches per bucket of `LATENCY_BUCKETS_MS` (model/outcome.py)."""
    expired_found: int | None
    """Records past the cutoff when passes began; None: of no pass known."""
    survivors: int | None
    """Expired records that the last report of the day found left; None: unknown, or there was no report."""
    reported_at: datetime | None
    """When that report was made."""
    durations: Histogram
    """How long passes took, or what they did to the target, from looking to recounting."""
    outcomes: Mapping[str, int]
    """Passes by status, or shards by stop reason."""
    slowed: Mapping[str, int]
    """Slow-downs by reason."""
    cpu_seconds: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What shards removed, together."""

    deleted: int
    at_most: int | None
    """More than `deleted` by what killed shards may have done in their last batch. None: nobody knows."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention took away."""

    passes: int
    shards: int
    watched: int = 0
    """Judgements of witnesses, alerts that ended, messages that were delivered or given up."""


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """What a witness found of a target, by a look of its own."""

    target: str
    checked_at: datetime
    pass_name: str
    store: str
    kind: str
    run_id: str | None
    """The pass that it looked behind; None: somebody asked."""
    survivors: int | None
    """Expired records, past their grace; None: unknown."""
    oldest_survivor: datetime | None
    """Since when the oldest of them ought to be gone (expiry and grace); None: there is none, or none that is known."""
    known: bool
    """Whether it is known which is the oldest, or that there is none."""
    objective_seconds: float
    """How old it may be."""
    old_enough: bool | None
    """True: nothing is left that ought to have been gone for longer than the objective; False: something is. None:
    unknown, or not judged (`reason`)."""
    fresh: bool | None
    """Whether a pass of the target succeeded within two intervals, or it is too new to tell; None as above."""
    last_success: datetime | None
    reason: str | None
    """Why it was judged so, on one line; None: there is nothing to say."""
