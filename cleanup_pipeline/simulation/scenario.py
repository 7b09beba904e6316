"""What is simulated: stores, targets, passes and who works. Seconds and records throughout, as plain frozen data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cleanup_pipeline.model.pace import Pace

DAY = 86_400.0
HOUR = 3_600.0
FLAT = (1.0,) * 24


class Way(StrEnum):
    """How a target is gone through."""

    WALK = "walk"
    """Only what is expired is read, the oldest first: by an index."""
    SWEEP = "sweep"
    """Everything is read, in no order: blocks of a table, keys of a server."""


class Kind(StrEnum):
    """Who carries out the steps of a run."""

    IN_PROCESS = "in_process"
    MULTIPROCESS = "multiprocess"
    CELERY = "celery"
    K8S = "k8s"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one batch takes while nothing else goes on in its store, in seconds."""

    fixed: float
    """Whatever its size: the way there and back, the commit."""
    per_record: float
    """For each record that is removed."""
    per_look: float = 0.0
    """For each record that is read and stays."""

    def seconds(self, removed: float, looked: float) -> float:
        """Of a batch that reads `looked` records and removes some of them."""
        return self.fixed + self.per_record * removed + self.per_look * max(0.0, looked - removed)


@dataclass(frozen=True, slots=True)
class Batching:
    """How the batches of a target are sized and spaced, and what they take."""

    cost: Cost
    way: Way = Way.WALK
    batch_size: int = 1000
    pause: float = 0.03
    pace: Pace = field(default_factory=Pace)
    looks: float = 60_000.0
    """Records that a sweep's batch reads at most, however few of them are expired."""
    own: float = 0.0
    """Seconds of the cleaner itself for each batch, in which the store waits for it: the ledger, and waking up late."""
    scripts: bool = False
    """Redis: a batch is of keys read, by several scripts of which each holds the store up by itself."""


@dataclass(frozen=True, slots=True)
class StoreModel:
    """One store, and how much more it does when several batches are at work in it at once."""

    name: str
    speedup: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    """(batches at once, times the work of one), ascending from (1, 1). Between them a line; beyond the last no more."""
    steps: int | None = None
    """Most delete steps that are let into it at once (a pool in Dagster); None: any number."""


@dataclass(frozen=True, slots=True)
class TargetModel:
    """One target: what is in it, what comes, and how it is cleaned."""

    name: str
    store: str
    of_pass: str
    batching: Batching
    records: float = 0.0
    """That are there and not expired; taken for constant."""
    backlog: float = 0.0
    """Expired when the simulation begins."""
    oldest: float = 0.0
    """How many seconds ago the oldest of them was due; the others are spread evenly from then to the beginning."""
    rate: float = 0.0
    """Records that fall due each second, over a day."""
    curve: tuple[float, ...] = FLAT
    """For each hour of the UTC day, the rate in it as a multiple of `rate`; 24 numbers with a mean of 1."""
    timeout: float = 300.0
    """Of a shard (`operation_timeout`)."""
    row_limit: int | None = None
    shards: int = 1
    shard_seconds: float = 0.0
    """Of a shard, before its first batch: a connection, a lease."""
    look_fixed: float = 0.0
    look_per_record: float = 0.0
    """What one count takes: before a pass (at most `census_timeout`) and after it."""
    census_timeout: float = 10.0

    @property
    def counting(self) -> float:
        """Seconds of one count of everything that is there, without a limit."""
        return self.look_fixed + self.look_per_record * (self.records + self.backlog)


@dataclass(frozen=True, slots=True)
class PassModel:
    """When targets are cleaned."""

    name: str
    every: float = HOUR
    retries: int = 2
    retry_after: float = 60.0


@dataclass(frozen=True, slots=True)
class Executor:
    """Who works, and what the work costs besides deleting."""

    kind: Kind = Kind.IN_PROCESS
    workers: int = 1
    """Steps at once: of each run (in_process: 1), or over all runs together (celery)."""
    start_seconds: float = 3.1
    """Of a run, before its first step: its process imports Dagster."""
    run_seconds: float = 0.3
    """Of a run, in Dagster's bookkeeping."""
    step_seconds: float = 0.05
    """Of a step, before it does anything."""

    @property
    def shared(self) -> bool:
        """Whether all runs share its workers."""
        return self.kind is Kind.CELERY


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a simulation needs."""

    start: datetime
    """Time-zone aware: passes begin at multiples of their interval since the epoch."""
    stores: Sequence[StoreModel]
    targets: Sequence[TargetModel]
    passes: Sequence[PassModel]
    executor: Executor = field(default_factory=Executor)
    days: float = 7.0
    """How long at most; a simulation ends when nothing new can come of it."""
    assumed: tuple[str, ...] = ()
    """What nobody measured and was taken for granted, a line each."""
