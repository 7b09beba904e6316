"""What scan finds out and batch cuts up: findings, census, plan, shards. Small and JSON-like, free of identifiers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cleanup_pipeline.model.brake import Brake
from cleanup_pipeline.model.outline import Approval, Estimate, Outline
from cleanup_pipeline.model.words import Severity, StoreType

Bound = int | str | float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that preflight saw, with what to do about it."""

    severity: Severity
    what: str
    remedy: str = ""
    evidence: str = ""
    """What it was seen by: figures, a setting."""
    code: str = ""
    """Which finding it is, such as `pg.bloat`: the same whatever the words."""


@dataclass(frozen=True, slots=True)
class Census:
    """How many records are in which state. None means unknown, which is not zero.

    `exact` is False when the time ran out; the numbers are then None, or lower bounds where a store counts as it goes.
    """

    live: int | None = None
    expired: int | None = None
    without_expiry: int | None = None
    unparsable: int | None = None
    oldest_expired: datetime | None = None
    exact: bool = False
    details: Mapping[str, int] = field(default_factory=dict[str, int])
    """Further counts that only some layouts have, such as `superseded` pointers or `without_ttl` keys."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A disjoint slice of a target. What `bounds` mean is the strategy's business."""

    index: int
    bounds: Mapping[str, Bound] = field(default_factory=dict[str, Bound])


@dataclass(frozen=True, slots=True)
class ShardGroup:
    """Shards that one delete step handles, one after another."""

    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """How a store proposes to clean a target: strategy, the reason for it, and the slices."""

    strategy: str
    why: str
    shards: tuple[Shard, ...]
    undated: bool = False
    """Its records die with others, at no instant of their own: what dies while a pass runs cannot be told from what the
    pass left."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What a table takes up, as its server knows without reading it."""

    size_bytes: int
    """With indexes."""
    records: int
    """As of the last ANALYZE."""
    dead_records: int
    """Deleted or replaced, and not yet vacuumed away; the server's statistics run up to a second behind."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass is going to do to one target."""

    target: str
    store: str
    store_type: StoreType
    kind: str
    cutoff: datetime
    """The store's own clock at the start of the pass, or the end of its window if that is earlier, less grace.
    Time-zone aware."""
    dry_run: bool
    census: Census
    work: Work
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    rule: str = ""
    """Fingerprint of what the target was when it was planned (`Target.fingerprint`)."""
    storage: Storage | None = None
    """What the table took up before; None where a store cannot tell."""
    skipped: str | None = None
    """Why there is nothing to do here at all, such as a table that need not exist."""
    since: datetime | None = None
    """What died before this instant is left, because the pass keeps to its window. None is open."""
    judged_by_others: bool = False
    """More of its records may come to be expired while the pass cleans other tables."""
    newest: datetime | None = None
    """The expiry of one of the newest records (`stores.base.ShowsShape`); None: unknown."""
    shape: str | None = None
    """The type that the expiry has; None: unknown, or there is none to speak of."""
    brakes: tuple[Brake, ...] = ()
    """What keeps the target from being deleted from; on a dry run, what would."""
    id: str = ""
    """Under which the ledger has it; empty: nowhere."""
    outline: Outline | None = None
    estimate: Estimate | None = None
    approval: Approval | None = None
    """Set on a pass that carries out an earlier plan; the cutoff is then that plan's."""

    @property
    def braked(self) -> bool:
        """Whether a pass that was to delete may not."""
        return bool(self.brakes) and not self.dry_run and self.skipped is None
