"""What deleting did: one batch, one shard, one target, one pass. Numbers only, never an identifier of a record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from cleanup_pipeline.model.members import MemberTotals
from cleanup_pipeline.model.plan import Bound, Finding, Storage
from cleanup_pipeline.model.words import PassStatus, StopReason, StoreType

Cursor = Mapping[str, Bound]
"""Where the next batch of a shard goes on. Opaque to the engine."""


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What one find-and-delete round did."""

    scanned: int
    deleted: int
    cursor: Cursor | None
    """None: the shard has nothing more."""
    live: int = 0
    without_expiry: int = 0
    unparsable: int = 0
    repaired: int = 0
    bytes_freed: int | None = None
    children: int = 0
    """Rows of other tables that went with the records, before them."""
    largest: int = 0
    """Most records that one transaction, script or command of the round removed."""
    slowest_seconds: float | None = None
    """The slowest transaction, script or command of the round; None: the round was one."""
    uncertain: int = 0
    """Most records that were removed besides by a part of the round whose answer was lost."""
    share: float = 1.0
    """How much of a batch this was, above 0: the pause after it is that much of the whole one."""


LATENCY_BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000)


@dataclass(frozen=True, slots=True)
class Tally:
    """The running sum over the batches of a shard, or over the shards of a target."""

    scanned: int = 0
    deleted: int = 0
    live: int = 0
    without_expiry: int = 0
    unparsable: int = 0
    repaired: int = 0
    children: int = 0
    bytes_freed: int | None = None
    batches: int = 0
    largest_batch: int = 0
    retries: int = 0
    halvings: int = 0
    parked: int = 0
    """Records that could not be removed even alone, and were stepped over."""
    uncertain: int = 0
    """Most records that batches may have removed whose answers were lost; `deleted` does not count them."""
    paused_seconds: float = 0.0
    """Between batches, as the settings ask for it."""
    waited_seconds: float = 0.0
    """Until the governor let the next batch go."""
    slowed: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often the governor shrank (`latency`) or held back batches, by reason."""
    latency_ms: tuple[int, ...] = (0,) * (len(LATENCY_BUCKETS_MS) + 1)
    """Batches per latency bucket of LATENCY_BUCKETS_MS (upper bounds, in ms), the last one open above."""

    def with_batch(self, batch: BatchOutcome, seconds: float) -> "Tally":
        """This tally and one more batch that took `seconds`."""
        milliseconds = seconds * 1000
        slot = next((i for i, top in enumerate(LATENCY_BUCKETS_MS) if milliseconds <= top), len(LATENCY_BUCKETS_MS))
        latency = tuple(n + (i == slot) for i, n in enumerate(self.latency_ms))
        return replace(
            self,
            scanned=self.scanned + batch.scanned,
            deleted=self.deleted + batch.deleted,
            live=self.live + batch.live,
            without_expiry=self.without_expiry + batch.without_expiry,
            unparsable=self.unparsable + batch.unparsable,
            repaired=self.repaired + batch.repaired,
            uncertain=self.uncertain + batch.uncertain,
            children=self.children + batch.children,
            bytes_freed=_add_known(self.bytes_freed, batch.bytes_freed),
            batches=self.batches + 1,
            largest_batch=max(self.largest_batch, batch.largest),
            latency_ms=latency,
        )

    def slowed_by(self, reason: str, seconds: float = 0.0) -> "Tally":
        """This tally and one more slow-down, which cost `seconds` of waiting."""
        slowed = {**self.slowed, reason: self.slowed.get(reason, 0) + 1}
        return replace(self, slowed=slowed, waited_seconds=self.waited_seconds + seconds)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            scanned=self.scanned + other.scanned,
            deleted=self.deleted + other.deleted,
            live=self.live + other.live,
            without_expiry=self.without_expiry + other.without_expiry,
            unparsable=self.unparsable + other.unparsable,
            repaired=self.repaired + other.repaired,
            children=self.children + other.children,
            bytes_freed=_add_known(self.bytes_freed, other.bytes_freed),
            batches=self.batches + other.batches,
            largest_batch=max(self.largest_batch, other.largest_batch),
            retries=self.retries + other.retries,
            halvings=self.halvings + other.halvings,
            parked=self.parked + other.parked,
            uncertain=self.uncertain + other.uncertain,
            paused_seconds=self.paused_seconds + other.paused_seconds,
            waited_seconds=self.waited_seconds + other.waited_seconds,
            slowed={r: self.slowed.get(r, 0) + other.slowed.get(r, 0) for r in {**self.slowed, **other.slowed}},
            latency_ms=tuple(a + b for a, b in zip(self.latency_ms, other.latency_ms, strict=True)),
        )


def _add_known(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else a + b


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """How one delete step ended, whatever the reason."""

    target: str
    shard: int
    tally: Tally
    stop_reason: StopReason
    seconds: float
    error: str | None = None
    note: str | None = None
    """One line about a stop that is no error: what held it back, and until when."""
    cpu_seconds: float | None = None
    """Of the cleaner's own thread, not of the store."""
    peak_rss: int | None = None
    """Bytes; the most memory that the cleaner's process was seen to hold during the shard."""
    members: MemberTotals | None = None
    """Of a target that stands for many; then `note` may be no more than these in words."""


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """How the shards of one delete step ended."""

    outcomes: tuple[ShardOutcome, ...]


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What a pass did to one target. None means unknown (or, for figures of deleting, that it never came to that)."""

    target: str
    store: str
    store_type: StoreType
    kind: str
    strategy: str | None
    stop_reason: StopReason
    cutoff: datetime | None = None
    scanned: int | None = None
    """Records that were looked at."""
    expired_found: int | None = None
    """Records past the cutoff when the pass began."""
    deleted: int = 0
    kept_live: int | None = None
    without_expiry: int | None = None
    unparsable: int | None = None
    survivors: int | None = None
    """Expired records that are still there, recounted by a query of its own; on a dry run, all of them."""
    repaired: int = 0
    children: int = 0
    """Rows of other tables that went with the records."""
    bytes_freed: int | None = None
    batches: int = 0
    largest_batch: int = 0
    retries: int = 0
    parked: int = 0
    """Expired records that could not be removed even alone, and were stepped over."""
    slowed: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often the governor shrank or held back batches, by reason."""
    paused_seconds: float = 0.0
    waited_seconds: float = 0.0
    """Held back by the governor, beside the pauses."""
    cpu_seconds: float | None = None
    """Of the cleaner itself."""
    peak_rss: int | None = None
    """Bytes; the most memory of the cleaner's process."""
    seconds: float = 0.0
    rate: float | None = None
    """Records removed per second of deleting, pauses included."""
    error: str | None = None
    why: str = ""
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, int] = field(default_factory=dict[str, int])
    storage_before: Storage | None = None
    storage_after: Storage | None = None
    vacuum_seconds: float | None = None
    """How long the VACUUM after the pass took; None: there was none."""
    members: MemberTotals | None = None
    """Of a target that stands for many: what went, member by member."""

    @property
    def red(self) -> bool:
        """True when the target was not cleaned as it should have been."""
        return self.error is not None


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a pass did, target by target."""

    pass_name: str
    status: PassStatus
    cutoff: datetime | None
    """The earliest cutoff of its targets: each store has its own clock and each target its own grace."""
    seconds: float
    targets: tuple[TargetReport, ...]
    run_id: str | None = None
    reason: str | None = None
    """Why a pass was skipped, or stopped everything."""

    @property
    def only_braked(self) -> bool:
        """True when it is red, and for brakes alone: a person has to look, and nothing is broken."""
        red = [target for target in self.targets if target.red]
        return bool(red) and all(target.stop_reason is StopReason.BRAKED for target in red)


@dataclass(frozen=True, slots=True)
class Remains:
    """What lies past a cutoff, as a query that looks for nothing else found it."""

    count: int | None
    """None: unknown."""
    oldest: datetime | None
    """The expiry of the oldest such record; None: there is none, or `known` is False, or its like has no instant."""
    known: bool
    """Whether it is known which one is the oldest, or that there is none."""
