"""A scenario in, an outcome out: discrete events on SimPy (https://simpy.readthedocs.io), no clock, no chance."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC

import simpy

from cleanup_pipeline.simulation.arrivals import Backlog, Curve
from cleanup_pipeline.simulation.outcome import Outcome, Sample, StoreOutcome, TargetOutcome, Verdict
from cleanup_pipeline.simulation.passes import Steps, TargetState, Workers, World
from cleanup_pipeline.simulation.scenario import DAY, FLAT, HOUR, Scenario
from cleanup_pipeline.simulation.stores import StoreState

SAMPLES = 168
"""About as many looks as this are made, at least an hour apart."""
PASSES = 4
"""Of a kind, after which the next one is like them."""
_WORST_FIRST = (Verdict.FALLS_BEHIND, Verdict.CATCHING_UP, Verdict.KEEPS_UP)


@dataclass(frozen=True, slots=True)
class Single:
    """What one run takes."""

    seconds: float
    """From its start to its end, the start of its process included."""
    deleting: float
    """Of its shards, one after another."""
    removed: float
    batches: int
    left: float


def simulate(scenario: Scenario, *, one_by_one: bool = False) -> Outcome:
    """Let passes run on schedule for `scenario.days`, or until another day would be like the last one.

    `one_by_one` makes an event of each batch: the same result, slowly.
    """
    world = _world(scenario, one_by_one=one_by_one)
    env = world.env
    for of_pass in scenario.passes:
        # Ticks are multiples of the interval since the epoch (dagster_defs/schedules.py).
        first = -scenario.start.timestamp() % of_pass.every
        env.process(world.schedule(of_pass, first))
    samples: list[Sample] = []
    env.process(_sampling(world, samples, max(HOUR, scenario.days * DAY / SAMPLES)))
    end = scenario.days * DAY
    period = period_of(scenario)
    while env.now < end:
        env.run(until=min(end, env.now + period))
        if _settled(world, period):
            break
    return _outcome(world, samples, period)


def period_of(scenario: Scenario) -> float:
    """Seconds after which a simulation in balance repeats itself: a day, or a few passes where all hours are alike."""
    longest = max((each.every for each in scenario.passes), default=HOUR)
    of_day = any(each.curve != FLAT or each.batching.pace.run_window is not None for each in scenario.targets)
    return max(DAY if of_day else 0.0, PASSES * longest)


def simulate_once(scenario: Scenario, pass_name: str, *, one_by_one: bool = False) -> Single:
    """One run of one pass, at the beginning, without repeating it."""
    world = _world(scenario, one_by_one=one_by_one)
    of_pass = next(each for each in scenario.passes if each.name == pass_name)
    targets = [each for each in world.states() if each.model.of_pass == pass_name]
    world.env.run(until=world.env.process(world.run_once(of_pass)))
    run = world.runs[0]
    return Single(
        seconds=run.ended - run.began,
        deleting=sum(each.deleting for each in targets),
        removed=sum(each.removed for each in targets),
        batches=sum(each.batches for each in targets),
        left=sum(each.backlog.due(0.0) for each in targets),
    )


def _world(scenario: Scenario, *, one_by_one: bool) -> World:
    env = simpy.Environment()
    midnight = scenario.start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    into_day = (scenario.start - midnight).total_seconds()
    curves: dict[tuple[float, ...], Curve] = {}
    targets: dict[str, TargetState] = {}
    for model in scenario.targets:
        if model.curve not in curves:
            curves[model.curve] = Curve(model.curve, into_day)
        targets[model.name] = TargetState(model, Backlog(model, curves[model.curve]))
    shared = None
    if scenario.executor.shared:
        shared = Workers(scenario.executor.workers)
        for _ in range(shared.count):
            env.process(shared.work(env))
    stores = {each.name: StoreState(each, env.event()) for each in scenario.stores}
    return World(env, scenario, stores, targets, shared, one_by_one=one_by_one)


def _sampling(world: World, samples: list[Sample], every: float) -> Steps:
    while True:
        now = world.env.now
        left = sum(world.due(each, now) for each in world.states())
        samples.append(Sample(now, left, max((each.backlog.age(now) for each in world.states()), default=0.0)))
        yield world.env.timeout(every)


def _settled(world: World, period: float) -> bool:
    """Whether nothing was left by any pass of the last period, and nothing old was there when it began."""
    now = world.env.now
    since = now - period
    for state in world.states():
        if not state.cleaned_at or state.cleaned_at[0] > since or state.cleaned_at[-1] <= since:
            return False
        if state.red_at and state.red_at[-1] > since:
            return False
    return True


def _outcome(world: World, samples: list[Sample], period: float) -> Outcome:
    scenario, now = world.scenario, world.env.now
    targets = [_target(world, each, period) for each in world.states()]
    shared = world.shared
    used = shared.busy / (shared.count * now) if shared else _share(world.busy_seconds, world.worker_seconds)
    return Outcome(
        start=scenario.start,
        end=now,
        verdict=_worst(targets),
        gone=_last(targets),
        left=sum(each.left for each in targets),
        oldest=max((each.oldest for each in targets), default=0.0),
        removed=sum(each.removed for each in targets),
        due=sum(state.backlog.fallen_due(now) for state in world.states()),
        workers=scenario.executor.workers,
        used=used,
        runs=len(world.runs),
        red=sum(1 for each in world.runs if each.red),
        skipped=world.skipped,
        longest_run=max((each.ended - each.began for each in world.runs), default=0.0),
        targets=targets,
        stores=list(_stores(world, targets)),
        samples=samples,
        assumed=scenario.assumed,
    )


def _target(world: World, state: TargetState, period: float) -> TargetOutcome:
    now = world.env.now
    lately = now - period
    verdict, gone = _judged(state, now, lately)
    ages = [age for at, age in state.ages if at > lately]
    return TargetOutcome(
        name=state.model.name,
        store=state.model.store,
        verdict=verdict,
        gone=gone,
        left=world.due(state, now),
        removed=state.removed + sum(each.removed_by(now) for each in state.active),
        batches=state.batches,
        slowest=state.slowest,
        oldest=max([*ages, state.backlog.age(now)]),
        passes=len(state.left_at),
        red=len(state.red_at),
        reasons={str(reason): count for reason, count in state.reasons.items()},
    )


def _judged(state: TargetState, now: float, lately: float) -> tuple[Verdict, float | None]:
    first = state.cleaned_at[0] if state.cleaned_at else None
    if state.cleaned_at and state.cleaned_at[-1] > lately:
        return Verdict.KEEPS_UP, first
    window = now - lately
    latest = min((left for at, left in state.left_at if at > lately), default=None)
    before = min((left for at, left in state.left_at if lately - window < at <= lately), default=state.model.backlog)
    if latest is None or latest >= before:
        return Verdict.FALLS_BEHIND, None
    return Verdict.CATCHING_UP, now + latest / ((before - latest) / window)


def _stores(world: World, targets: Sequence[TargetOutcome]) -> Iterator[StoreOutcome]:
    of_store: defaultdict[str, list[TargetOutcome]] = defaultdict(list)
    for each in targets:
        of_store[each.store].append(each)
    for name, state in world.stores.items():
        several = of_store[name]
        work = sum(world.targets[each.name].work for each in several)
        most = max(times for _, times in state.model.speedup)
        yield StoreOutcome(
            name=name,
            targets=len(several),
            verdict=_worst(several),
            removed=sum(each.removed for each in several),
            left=sum(each.left for each in several),
            oldest=max((each.oldest for each in several), default=0.0),
            used=work / (most * world.env.now),
            shards=state.most,
            gone=_last(several),
        )


def _worst(targets: Sequence[TargetOutcome]) -> Verdict:
    found = {each.verdict for each in targets}
    return next((verdict for verdict in _WORST_FIRST if verdict in found), Verdict.KEEPS_UP)


def _last(targets: Sequence[TargetOutcome]) -> float | None:
    """When the last of them is gone; None where one never is."""
    gone = [each.gone for each in targets]
    return None if None in gone else max((at for at in gone if at is not None), default=0.0)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
