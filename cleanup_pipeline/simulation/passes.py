"""Passes and who works: runs begin on schedule, their steps wait for a worker, one after another.

As the jobs of dagster_defs/jobs.py have it: scan, batch, delete x shards, report for each target, then `summarize`. A
schedule passes over a tick while a run of its pass is unfinished, so that a target is never cleaned twice at once.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import simpy

from cleanup_pipeline.engine.governor import closed_for
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.simulation.arrivals import NOTHING, Backlog
from cleanup_pipeline.simulation.scenario import PassModel, Scenario, TargetModel, Way
from cleanup_pipeline.simulation.shards import ShardRun
from cleanup_pipeline.simulation.stores import StoreState

RETRY_GROWS = 4
"""By how much the wait before each further retry is longer (dagster_defs/missed.py)."""

Steps = Generator[simpy.Event, object, None]
Step = Callable[[], Steps]


@dataclass(slots=True)
class TargetState:
    """One target while the simulation runs."""

    model: TargetModel
    backlog: Backlog
    active: list[ShardRun] = field(default_factory=list[ShardRun])
    removed: float = 0.0
    batches: int = 0
    deleting: float = 0.0
    """Seconds of its shards, pauses included."""
    work: float = 0.0
    """Seconds of its batches, each alone in the store."""
    busy: float = 0.0
    slowest: float = 0.0
    cleaned_at: list[float] = field(default_factory=list[float])
    """When a pass left nothing of what it was to remove."""
    red_at: list[float] = field(default_factory=list[float])
    left_at: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When a pass reported, and what it left of what it was to remove."""
    ages: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When a pass had done what it could, and how old the oldest expired record was just before: at its worst."""
    reasons: dict[StopReason, int] = field(default_factory=dict[StopReason, int])


@dataclass(slots=True)
class Workers:
    """Those who carry out steps, first come, first served."""

    count: int
    steps: deque[Step] = field(default_factory=deque[Step])
    idle: list[simpy.Event] = field(default_factory=list[simpy.Event])
    busy: float = 0.0
    """Seconds of steps, all workers together."""
    closed: bool = False

    def put(self, step: Step) -> None:
        """One more step."""
        self.steps.append(step)
        if self.idle:
            self.idle.pop().succeed()

    def close(self) -> None:
        """No step will come any more."""
        self.closed = True
        for each in self.idle:
            each.succeed()
        self.idle.clear()

    def work(self, env: simpy.Environment) -> Steps:
        """One of them, as a process of SimPy."""
        while True:
            while not self.steps:
                if self.closed:
                    return
                nothing = env.event()
                self.idle.append(nothing)
                yield nothing
            step = self.steps.popleft()
            began = env.now
            yield from step()
            self.busy += env.now - began


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a pass."""

    of_pass: str
    began: float
    ended: float
    red: int
    """Targets of which something was left."""


@dataclass(slots=True)
class World:
    """Everything that is there while the simulation runs."""

    env: simpy.Environment
    scenario: Scenario
    stores: dict[str, StoreState]
    targets: dict[str, TargetState]
    shared: Workers | None
    one_by_one: bool = False
    runs: list[RunRecord] = field(default_factory=list[RunRecord])
    skipped: int = 0
    """Ticks that were passed over because the run before was not done."""
    worker_seconds: float = 0.0
    """Of workers that a run had to itself, and that were there."""
    busy_seconds: float = 0.0
    running: set[str] = field(default_factory=set[str])

    def schedule(self, of_pass: PassModel, first: float) -> Steps:
        """A pass on schedule, as a process."""
        env = self.env
        yield env.timeout(first)
        while True:
            if of_pass.name in self.running:
                self.skipped += 1
            else:
                env.process(self.run(of_pass, env.now))
            yield env.timeout(of_pass.every)

    def run(self, of_pass: PassModel, cutoff: float) -> Steps:
        """A run, and those that repeat what it left."""
        targets = [each for each in self.targets.values() if each.model.of_pass == of_pass.name]
        self.running.add(of_pass.name)
        red = yield from self._once(of_pass, targets, cutoff, scan=True)
        self.running.discard(of_pass.name)
        wait = of_pass.retry_after
        for _ in range(of_pass.retries):
            if not red:
                return
            yield self.env.timeout(wait)
            wait *= RETRY_GROWS
            if of_pass.name in self.running:
                # The next pass has begun, and takes what was left with it.
                return
            self.running.add(of_pass.name)
            red = yield from self._once(of_pass, red, cutoff, scan=False)
            self.running.discard(of_pass.name)

    def run_once(self, of_pass: PassModel) -> Steps:
        """One run, now, that nobody repeats."""
        targets = [each for each in self.targets.values() if each.model.of_pass == of_pass.name]
        yield from self._once(of_pass, targets, self.env.now, scan=True)

    def _once(
        self, of_pass: PassModel, targets: Sequence[TargetState], cutoff: float, *, scan: bool
    ) -> Generator[simpy.Event, object, list[TargetState]]:
        env, executor = self.env, self.scenario.executor
        began = env.now
        yield env.timeout(executor.start_seconds + executor.run_seconds)
        own = self.shared or Workers(executor.workers)
        if self.shared is None:
            for _ in range(own.count):
                env.process(own.work(env))
        done = env.event()
        left, red = len(targets), list[TargetState]()

        def over(state: TargetState, *, clean: bool) -> None:
            nonlocal left
            left -= 1
            if not clean:
                red.append(state)
            if left == 0:
                done.succeed()

        for state in targets:
            own.put(self._scan(own, state, cutoff, over, scan=scan))
        if targets:
            yield done
        yield env.timeout(executor.step_seconds)
        if self.shared is None:
            own.close()
            self.worker_seconds += (env.now - began) * own.count
            self.busy_seconds += own.busy
        self.runs.append(RunRecord(of_pass.name, began, env.now, len(red)))
        return red

    def _scan(self, own: Workers, state: TargetState, cutoff: float, over: Callable[..., None], *, scan: bool) -> Step:
        env, executor, model = self.env, self.scenario.executor, state.model

        def step() -> Steps:
            # The step `batch` does nothing but be a step.
            yield env.timeout(2 * executor.step_seconds if scan else 0.0)
            now = self.scenario.start + timedelta(seconds=env.now)
            if closed_for(model.batching.pace, now, timedelta(seconds=model.timeout)) is not None:
                over(state, clean=True)
                return
            if scan:
                yield env.timeout(min(model.counting, model.census_timeout))
            due = state.backlog.due(cutoff)
            runs = [self._shard(model, due) for _ in range(max(1, model.shards))]
            left = len(runs)

            def ended() -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    own.put(self._report(state, cutoff, over))

            store = self.stores[model.store]
            for each in runs:
                store.claim(partial(own.put, self._delete(state, each, ended)))

        return step

    def _shard(self, model: TargetModel, due: float) -> ShardRun:
        part = due / max(1, model.shards)
        reads = part + (model.records / max(1, model.shards) if model.batching.way is Way.SWEEP else 0.0)
        return ShardRun(model, part, reads)

    def _delete(self, state: TargetState, shard: ShardRun, ended: Callable[[], None]) -> Step:
        env, store = self.env, self.stores[state.model.store]

        def work() -> Steps:
            yield env.timeout(self.scenario.executor.step_seconds + state.model.shard_seconds)
            state.active.append(shard)
            yield from shard.run(env, store, self.scenario.start, one_by_one=self.one_by_one)
            state.active.remove(shard)
            state.ages.append((env.now, state.backlog.age(env.now)))
            state.backlog.take(shard.removed)
            state.removed += shard.removed
            state.batches += shard.batches
            state.deleting += shard.seconds
            state.work += shard.work
            state.busy += shard.busy
            state.slowest = max(state.slowest, shard.slowest)
            state.reasons[shard.reason] = state.reasons.get(shard.reason, 0) + 1
            store.free()
            ended()

        return work

    def _report(self, state: TargetState, cutoff: float, over: Callable[..., None]) -> Step:
        env, model = self.env, state.model

        def step() -> Steps:
            yield env.timeout(self.scenario.executor.step_seconds + min(model.counting, self._patience(model)))
            remains = state.backlog.due(cutoff)
            clean = remains <= NOTHING * max(1.0, state.removed)
            state.left_at.append((env.now, 0.0 if clean else remains))
            if clean:
                state.backlog.cleaned(cutoff)
                state.cleaned_at.append(env.now)
            else:
                state.red_at.append(env.now)
            over(state, clean=clean)

        return step

    @staticmethod
    def _patience(model: TargetModel) -> float:
        """Of the recount (dagster_defs/ops.py)."""
        return max(model.census_timeout, model.timeout / 5)

    def due(self, state: TargetState, now: float) -> float:
        """Expired records that are there now, also while shards are at work."""
        going = sum(each.removed_by(now) for each in state.active)
        return max(0.0, state.backlog.due(now) - going)

    def states(self) -> Iterator[TargetState]:
        """All targets."""
        yield from self.targets.values()
