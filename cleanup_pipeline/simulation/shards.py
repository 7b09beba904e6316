"""One delete step: batches in slices, from one change around it to the next."""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import simpy

from cleanup_pipeline.engine.governor import Size, closed_now
from cleanup_pipeline.model.run_window import RunWindow
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.simulation.contention import Demand
from cleanup_pipeline.simulation.rhythm import Part, Rhythm, asked, batch
from cleanup_pipeline.simulation.scenario import Batching, TargetModel, Way
from cleanup_pipeline.simulation.stores import StoreState

Steps = Generator[simpy.Event, object, None]


@dataclass(slots=True)
class ShardRun:
    """A shard while it is being deleted, and what came of it."""

    target: TargetModel
    records: float
    """To remove."""
    looks: float
    """To read; the same in a walk."""
    removed: float = 0.0
    batches: int = 0
    busy: float = 0.0
    """Seconds in batches."""
    work: float = 0.0
    """The same, had it been alone in its store."""
    seconds: float = 0.0
    slowest: float = 0.0
    reason: StopReason = StopReason.EXHAUSTED
    _began: float = 0.0
    _under_way: Rhythm | None = field(default=None, repr=False)
    _part: Part | None = field(default=None, repr=False)

    @property
    def share(self) -> float:
        """Of what it reads, what is expired."""
        return self.records / self.looks if self.looks else 0.0

    def removed_by(self, now: float) -> float:
        """Also of the slice that is under way, without the batch that is."""
        if self._under_way is None or self._part is None or now <= self._began:
            return self.removed
        count = max(0, self._under_way.batches_until(now - self._began) - 1)
        return self.removed + min(self._part.removed, self._under_way.part(count).removed)

    def demand(self) -> Demand:
        """What it wants of its store at full size."""
        return _demand(self.target.batching, self.share)

    def run(self, env: simpy.Environment, store: StoreState, start: datetime, *, one_by_one: bool) -> Steps:
        """The step, in a process of SimPy. `one_by_one`: an event a batch, from which the same comes."""
        began, ends = env.now, env.now + self.target.timeout
        size = Size(self.target.batching.batch_size)
        quota = self.target.row_limit
        left = self._left(quota)
        store.join(env, self.demand())
        try:
            while True:
                if env.now >= ends:
                    self.reason = StopReason.DEADLINE
                    return
                until = ends
                window = self.target.batching.pace.run_window
                if window is not None:
                    now = start + timedelta(seconds=env.now)
                    if closed_now(self.target.batching.pace, now) is not None:
                        opens = (window.opens_at(now) - now).total_seconds()
                        if opens >= ends - env.now:
                            self.reason = StopReason.GOVERNOR
                            return
                        yield env.timeout(opens)
                        continue
                    until = min(ends, env.now + _open_for(window, now))
                rhythm = _rhythm(self.target.batching, size, self.share, store.stretch)
                part = rhythm.until_end(left, until - env.now)
                if one_by_one and part.batches > 1:
                    part = rhythm.part(1)
                    part = replace(part, seconds=min(part.seconds, max(until - env.now, part.busy)))
                part = yield from self._slice(env, store, rhythm, part)
                left -= part.units
                size = part.size
                if part.finished:
                    return
        finally:
            self.seconds = env.now - began
            store.leave(env, self.demand())

    def _left(self, quota: int | None) -> float:
        left = self.records if self.target.batching.way is Way.WALK else self.looks
        if quota is None or self.records <= quota / self.target.shards:
            return left
        self.reason = StopReason.ROW_LIMIT
        return left * (quota / self.target.shards) / self.records

    def _slice(
        self, env: simpy.Environment, store: StoreState, rhythm: Rhythm, part: Part
    ) -> Generator[simpy.Event, object, Part]:
        """Wait until the slice is over, or until the batch is during which the store changed."""
        self._began, self._under_way, self._part = env.now, rhythm, part
        stretch = store.stretch
        while (rest := self._began + part.seconds - env.now) > 0:
            if part.batches == 1:
                # What is under way ends as it began.
                yield env.timeout(rest)
                break
            changed = store.changed
            ended = env.timeout(rest)
            yield ended | changed
            if not changed.triggered or store.stretch == stretch:
                continue
            count = rhythm.batches_until(env.now - self._began)
            if count >= part.batches:
                # The last batch of the slice is under way.
                yield env.timeout(max(0.0, self._began + part.seconds - env.now))
                break
            part = rhythm.part(max(1, count))
            self._part = part
            yield env.timeout(max(0.0, self._began + part.seconds - env.now))
            break
        self._under_way = self._part = None
        self.removed += part.removed
        self.batches += part.batches
        self.busy += part.busy
        self.work += part.busy / stretch
        self.slowest = max(self.slowest, part.slowest)
        if part.finished and self.reason is StopReason.EXHAUSTED:
            self.removed = self.records
        return part


def _open_for(window: RunWindow, now: datetime) -> float:
    """Seconds until an open window closes: until the hours outside it begin."""
    outside = RunWindow(window.end, window.start, window.zone)
    return (outside.opens_at(now.astimezone(UTC)) - now).total_seconds()


@lru_cache(maxsize=20_000)
def _rhythm(of: Batching, size: Size, share: float, stretch: float) -> Rhythm:
    return Rhythm(of, size, share, stretch)


@lru_cache(maxsize=20_000)
def _demand(of: Batching, share: float) -> Demand:
    removed, looked = asked(of, of.batch_size, share)
    one, busy = batch(of, of.batch_size, removed, looked, 1.0)
    rests = of.pace.pause_share * (busy / one.latency if one.latency > 0 else 0.0)
    return Demand(one.latency, max(0.0, one.rest - rests * one.latency), rests)
