"""An installation as a scenario: its settings, and what the ledger knows of what they come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cleanup_pipeline.ledger.seen import SeenPass
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.simulation.coming import Coming, coming_of
from cleanup_pipeline.simulation.costs import SPEEDUPS, STEPS, Costs, costs_of, executor_of
from cleanup_pipeline.simulation.scenario import (
    Batching,
    Cost,
    Executor,
    Kind,
    PassModel,
    Scenario,
    StoreModel,
    TargetModel,
    Way,
)
from cleanup_pipeline.stores.postgres.strategy import BLOCKS_PER_SHARD

BLOCK = 8192
HEAP = 0.7
"""Of what a table takes up with its indexes."""

SHARED_BUFFERS = 128 * 2**20
"""Bytes that PostgreSQL keeps in memory of its own where nobody said otherwise."""
BLOCK_READ = 20e-6
"""Seconds of one block that the server has to read, out of the memory of its system, and of the one that it writes to
make room for it: 0.9 ms more for a batch in 47 blocks (docs/scale.md). Blocks in the order of the walk: a record of a
scattered table that is walked by its index costs up to one block each."""

POOL = 16
"""Delete steps that go on in one store at once, by the limit of pools in the shipped dagster.yaml."""


class UnknownError(ValueError):
    """Something that a scenario cannot do without is on no record, and nobody said it. One line, with a remedy."""


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said about a target, which counts more than what is on record. None: nothing."""

    rate: float | None = None
    backlog: float | None = None
    oldest: float | None = None
    records: float | None = None
    batch_seconds: float | None = None
    """Of a batch of `batch_size` records."""
    memory: float | None = None
    """Bytes of tables that its server keeps in memory of its own (PostgreSQL: shared_buffers)."""


def scenario_of(
    settings: Settings,
    seen: Sequence[SeenPass],
    now: datetime,
    *,
    days: float = 7.0,
    said: Mapping[str, Said] | None = None,
) -> Scenario:
    """The installation as it is. Targets that are only looked at are left out. `said`: by the name of a target.

    Raises UnknownError when there is no target to delete from, or nobody knows what a batch costs.
    """
    targets = [
        each for each in settings.targets if each.mode is Mode.DELETE and settings.passes[each.pass_name].enabled
    ]
    if not targets:
        raise UnknownError("no target has mode: delete, so that there is nothing to simulate")
    assumed: list[str] = []
    models: list[TargetModel] = []
    looks: dict[str, tuple[float, float]] = {}
    by_target = {each.name: [one for one in seen if one.target == each.name] for each in targets}
    for each in targets:
        of = by_target[each.name]
        costs = costs_of(each, of)
        looks[each.name] = costs.look_fixed, costs.look_per_record
        models.append(_model(each, costs, coming_of(of, now), of, (said or {}).get(each.name, Said()), assumed))
    kind = Kind(settings.execution.executor)
    executor = executor_of(kind, settings.parallel, seen, looks)
    stores = [StoreModel(each, SPEEDUPS[settings.stores[each].type], POOL) for each in {t.store: None for t in targets}]
    assumed += _of_stores(stores, settings, executor)
    if not STEPS[kind][1]:
        assumed.append(f"a step of {kind} takes {executor.step_seconds:g} s before it does anything")
    if executor.shared:
        assumed.append(f"celery has {executor.workers} at work; --workers")
    return Scenario(
        start=now,
        stores=stores,
        targets=models,
        passes=[
            PassModel(each.name, each.every.total_seconds(), each.retries, each.retry_after.total_seconds())
            for each in settings.passes.values()
            if any(target.pass_name == each.name for target in targets)
        ],
        executor=executor,
        days=days,
        assumed=tuple(assumed),
    )


def _model(
    target: Target, costs: Costs, coming: Coming, seen: Sequence[SeenPass], said: Said, assumed: list[str]
) -> TargetModel:
    cost = costs.batch
    if said.batch_seconds is not None:
        cost, elsewhere = _scaled(cost, said.batch_seconds, target.batch_size), False
    else:
        elsewhere = costs.passes == 0
    if cost is None:
        raise UnknownError(
            f"{target.name}: no pass is on record, and nobody measured what a batch of {target.store_type} costs;"
            f" run a pass, or say --batch-cost {target.name}=20ms"
        )
    rate = coming.rate if said.rate is None else said.rate
    backlog = coming.backlog if said.backlog is None else said.backlog
    records = coming.records if said.records is None else said.records
    if target.store_type is StoreType.POSTGRES and said.batch_seconds is None:
        cost = _read_anew(target, cost, (records or 0.0) + (backlog or 0.0), seen, said.memory, assumed)
    if elsewhere:
        assumed.append(f"{target.name}: a batch costs what it did on another machine (docs/scale.md); --batch-cost")
    for what, known, option in (
        ("what falls due is unknown, taken as nothing", rate, "--arrivals"),
        ("its backlog is unknown, taken as nothing", backlog, "--backlog"),
        ("how many live records it has is unknown, taken as none", records, "--records"),
    ):
        if known is None:
            assumed.append(f"{target.name}: {what}; {option}")
    model = TargetModel(
        name=target.name,
        store=target.store,
        of_pass=target.pass_name,
        batching=Batching(
            cost=cost,
            way=costs.way,
            batch_size=target.batch_size,
            pause=target.pause.total_seconds(),
            pace=target.pace,
            own=costs.own,
            scripts=target.store_type is StoreType.REDIS,
        ),
        records=records or 0.0,
        backlog=backlog or 0.0,
        oldest=coming.oldest if said.oldest is None else said.oldest,
        rate=rate or 0.0,
        curve=coming.curve,
        timeout=target.operation_timeout.total_seconds(),
        row_limit=target.row_limit,
        shard_seconds=costs.shard,
        look_fixed=costs.look_fixed,
        look_per_record=costs.look_per_record,
        census_timeout=target.census_timeout.total_seconds(),
    )
    return replace(model, shards=_shards(target, model, seen))


def _scaled(cost: Cost | None, seconds: float, size: int) -> Cost:
    """The cost whose batch of `size` removed records takes so long."""
    if cost is None:
        return Cost(seconds / 2, seconds / 2 / size, seconds / 4 / size)
    times = seconds / cost.seconds(size, size)
    return Cost(cost.fixed * times, cost.per_record * times, cost.per_look * times)


def _read_anew(
    target: Target, cost: Cost, records: float, seen: Sequence[SeenPass], memory: float | None, assumed: list[str]
) -> Cost:
    """The cost where the table has outgrown its server's memory since it was measured: each block is then read anew."""
    most = SHARED_BUFFERS if memory is None else memory
    now = records * _size(seen) * HEAP
    before = max((float(each.bytes_before or 0) for each in seen), default=0.0) * HEAP
    if now <= most or before > most:
        return cost
    if memory is None:
        known = f"{SHARED_BUFFERS // 2**20} MB in memory, as PostgreSQL does by default"
        assumed.append(f"{target.name}: its server keeps {known}, and the table is larger; --memory")
    more = BLOCK_READ * _size(seen) * HEAP / BLOCK
    return replace(cost, per_record=cost.per_record + more, per_look=cost.per_look + more)


def _size(seen: Sequence[SeenPass]) -> float:
    """Bytes of a record with its share of the indexes."""
    last = seen[-1] if seen else None
    return last.bytes_before / last.records_before if last and last.bytes_before and last.records_before else 350.0


def _shards(target: Target, model: TargetModel, seen: Sequence[SeenPass]) -> int:
    """As the last pass had it; a table that is larger now, as PostgreSQL would cut it."""
    last = seen[-1] if seen else None
    if target.store_type is not StoreType.POSTGRES or target.row_limit is not None:
        return last.shards if last else 1
    records = model.records + model.backlog
    share = 1.0 if model.batching.way is Way.SWEEP else model.backlog / records if records else 0.0
    blocks = int(records * _size(seen) * HEAP / BLOCK * share)
    return max(1, min(target.max_shards, blocks // BLOCKS_PER_SHARD))


def _of_stores(stores: Sequence[StoreModel], settings: Settings, executor: Executor) -> list[str]:
    """Where more may be at work in a store at once than anybody measured, and what holds a store back unseen."""
    runs = len(settings.passes) * executor.workers
    held_back: dict[str, int | None] = {each.name: settings.stores[each.name].budget for each in stores}
    held_back["all stores"] = next((target.pace.budget for target in settings.targets), None)
    return [
        *(
            f"{name}: the budget of {budget:,} records a second is not simulated: it may take longer"
            for name, budget in held_back.items()
            if budget is not None
        ),
        *(
            f"{each.name}: more than {each.speedup[-1][0]:g} batches at once are taken to do no more than that many"
            for each in stores
            if runs > each.speedup[-1][0] and settings.stores[each.name].type is not StoreType.REDIS
        ),
    ]
