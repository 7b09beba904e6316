"""What cleaning a target costs: by the passes that the ledger knows, else by figures measured on one machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from cleanup_pipeline.engine.loop import at_once
from cleanup_pipeline.ledger.seen import SeenPass
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.simulation.fitting import fitted
from cleanup_pipeline.simulation.scenario import Cost, Executor, Kind, Way
from cleanup_pipeline.stores.redis.rules import SLICE

WAYS = {"index_walk": Way.WALK, "array_pull": Way.WALK}
"""Strategies that read nothing but what is expired; all others go through everything."""
FEWEST = 1000
"""Records that passes have to have removed before what they took says what batches cost."""
OF_STORE = 0.8
"""Of the time in batches, what is taken to be the store's own where pauses do not tell."""

MEASURED: Mapping[tuple[StoreType, Way], Cost] = {
    (StoreType.POSTGRES, Way.WALK): Cost(0.0008, 0.85e-6),
    (StoreType.POSTGRES, Way.SWEEP): Cost(0.0008, 0.65e-6, 0.1e-6),
    (StoreType.REDIS, Way.SWEEP): Cost(0.0003, 9.0e-6, 5.0e-6),
}
"""Out of the rates in docs/benchmarks.md with and without pauses: 2 cores, everything in memory, PostgreSQL 18.4 and
Valkey 9.1. There is none of MongoDB: no mongod was at hand to be measured."""
LOOKS: Mapping[StoreType, tuple[float, float]] = {
    StoreType.POSTGRES: (0.03, 3.5e-7),
    StoreType.REDIS: (0.03, 5.0e-6),
    StoreType.MONGO: (0.03, 1.0e-6),
}
"""Seconds of one count, and of it for each record: PostgreSQL's sequential scan of 10M rows, Redis' scripts; of MongoDB
it only says that it is not nothing."""
OWN = 0.0004
SHARD = 0.02
"""Seconds of the cleaner itself, for each batch and for each shard."""
SPEEDUPS: Mapping[StoreType, tuple[tuple[float, float], ...]] = {
    StoreType.POSTGRES: ((1.0, 1.0), (2.0, 1.6)),
    StoreType.REDIS: ((1.0, 1.0),),
    StoreType.MONGO: ((1.0, 1.0),),
}
"""PostgreSQL: docs/benchmarks.md, two connections against one, the least of what was seen. Redis does one thing at a
time."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What cleaning a target takes; seconds."""

    way: Way
    batch: Cost | None
    """None: nobody measured anything like it."""
    own: float
    shard: float
    look_fixed: float
    look_per_record: float
    passes: int
    """From which this is; 0: from figures measured elsewhere."""


def costs_of(target: Target, seen: Sequence[SeenPass]) -> Costs:
    """What the passes of one target took, on the whole."""
    done = [each for each in seen if not each.failed and each.batches]
    strategy = done[-1].strategy if done else None
    way = WAYS.get(strategy or "", Way.SWEEP) if strategy else _usual(target.store_type)
    alike = [each for each in done if each.strategy == strategy]
    prior = MEASURED.get((target.store_type, way))
    fixed, per_record = _looks(target, seen)
    if sum(each.deleted for each in alike) < FEWEST:
        return Costs(way, prior, OWN, SHARD, fixed, per_record, 0)
    rows, stores, rests = list[tuple[float, ...]](), list[float](), list[float]()
    for each in alike:
        of_store = _of_store(target, each)
        looked = looked_at(target, each)
        rows.append((each.batches, each.deleted, max(0.0, looked - each.deleted)))
        stores.append(of_store)
        rests.append(max(0.0, each.deleting - each.paused - each.waited - of_store))
    leaning = prior or Cost(0.001, 2e-6, 1e-6 if way is Way.SWEEP else 0.0)
    cost = Cost(*fitted(rows, stores, (leaning.fixed, leaning.per_record, leaning.per_look)))
    own, shard = fitted([(each.batches, each.shards) for each in alike], rests, (OWN, SHARD))
    return Costs(way, cost, own, shard, fixed, per_record, len(alike))


def looked_at(target: Target, seen: SeenPass) -> float:
    """Records that a pass read, as far as anybody knows."""
    if WAYS.get(seen.strategy or "") is Way.WALK:
        return seen.deleted
    if target.store_type is StoreType.POSTGRES:
        return max(seen.deleted, seen.records_before or 0)
    return max(seen.deleted, seen.scanned)


def _usual(store: StoreType) -> Way:
    return Way.SWEEP if store is StoreType.REDIS else Way.WALK


def _of_store(target: Target, seen: SeenPass) -> float:
    """Seconds that the store took for batches: what pauses that go by their latency tell of it."""
    busy = max(0.0, seen.deleting - seen.paused - seen.waited)
    rests = max(0, seen.batches - seen.shards)
    share = target.pace.pause_share
    if share <= 0 or rests == 0:
        return busy * OF_STORE
    size = target.batch_size
    part = at_once(size, pauses=bool(target.pause)) / size
    scripts = 1
    if target.store_type is StoreType.REDIS:
        looked = seen.scanned / seen.batches
        part = min(1.0, looked / size)
        scripts = 1 if target.pause else max(1, ceil(looked / SLICE))
    told = (seen.paused - target.pause.total_seconds() * part * rests) / share * scripts * seen.batches / rests
    return told if busy * 0.2 <= told <= busy else busy * OF_STORE


def _looks(target: Target, seen: Sequence[SeenPass]) -> tuple[float, float]:
    rows, took = list[tuple[float, ...]](), list[float]()
    for each in seen:
        records = looked_at(target, each) if each.records_before is None else each.records_before
        rows.append((1.0, float(max(records, each.expired_found or 0))))
        took.append(max(0.0, each.seconds - each.deleting))
    fixed, per_record = fitted(rows, took, LOOKS[target.store_type])
    return fixed, per_record


STEPS: Mapping[Kind, tuple[float, bool]] = {
    Kind.IN_PROCESS: (0.05, True),
    Kind.MULTIPROCESS: (2.2, True),
    Kind.CELERY: (1.0, False),
    Kind.K8S: (8.0, False),
}
"""Seconds of a step before it does anything, and whether that was measured here: 24.4 s for 11 steps, each a process,
two at a time (docs/benchmarks.md)."""


def executor_of(
    kind: Kind, workers: int, seen: Sequence[SeenPass], looks: Mapping[str, tuple[float, float]]
) -> Executor:
    """Who works by the settings, and what runs took besides looking and deleting. `looks`: of each target one count."""
    if kind is not Kind.IN_PROCESS:
        return Executor(kind, workers, step_seconds=STEPS[kind][0])
    usual = Executor()
    runs: dict[str, list[SeenPass]] = {}
    for each in seen:
        runs.setdefault(each.run_id, []).append(each)
    rows, took = list[tuple[float, ...]](), list[float]()
    for several in runs.values():
        first = several[0]
        if first.pass_ended is None or any(each.target not in looks for each in several):
            continue
        counts = sum(looks[each.target][0] + looks[each.target][1] * _remaining(each) for each in several)
        known = sum(each.seconds for each in several) + counts
        steps = sum(3 + each.shards for each in several) + 1
        rows.append((1.0, float(steps)))
        took.append(max(0.0, (first.pass_ended - first.pass_started).total_seconds() - known))
    run, step = fitted(rows, took, (usual.run_seconds, usual.step_seconds))
    return Executor(run_seconds=run, step_seconds=step)


def _remaining(seen: SeenPass) -> float:
    return float(max(0, (seen.records_before or seen.scanned) - seen.deleted))
