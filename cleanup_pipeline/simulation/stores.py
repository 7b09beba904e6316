"""A store while the simulation runs: which shards are at work in it, and how they get in each other's way."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import simpy

from cleanup_pipeline.simulation.contention import Demand, stretch_of
from cleanup_pipeline.simulation.scenario import StoreModel


@dataclass(slots=True)
class StoreState:
    """What goes on in one store."""

    model: StoreModel
    changed: simpy.Event
    """Happens when `stretch` becomes another one; then there is a new event."""
    stretch: float = 1.0
    """How many times as long as alone a batch takes now."""
    shards: int = 0
    most: int = 0
    """Shards that were at work at once."""
    slots: int = 0
    """Delete steps that were let into it, or wait for a worker."""
    waiting: deque[Callable[[], None]] = field(default_factory=deque[Callable[[], None]])
    """Hands a step to its workers, when there is a slot."""
    _demands: Counter[Demand] = field(default_factory=Counter[Demand])
    _due: bool = False

    def claim(self, hand_on: Callable[[], None]) -> None:
        """Hand a delete step on, now or when one of those before it is over."""
        if self.model.steps is None or self.slots < self.model.steps:
            self.slots += 1
            hand_on()
        else:
            self.waiting.append(hand_on)

    def free(self) -> None:
        """A delete step is over."""
        self.slots -= 1
        if self.waiting:
            self.slots += 1
            self.waiting.popleft()()

    def join(self, env: simpy.Environment, demand: Demand) -> None:
        """One more shard is at work."""
        self._demands[demand] += 1
        self.shards += 1
        self.most = max(self.most, self.shards)
        self._settle()

    def leave(self, env: simpy.Environment, demand: Demand) -> None:
        """One shard less."""
        self._demands[demand] -= 1
        self.shards -= 1
        if not self._demands[demand]:
            del self._demands[demand]
        self._settle()

    def _settle(self) -> None:
        stretch = _stretch(self.model.speedup, frozenset(self._demands.items()))
        if stretch != self.stretch:
            self.stretch = stretch
            before, self.changed = self.changed, simpy.Event(self.changed.env)
            before.succeed()


@lru_cache(maxsize=50_000)
def _stretch(curve: tuple[tuple[float, float], ...], demands: frozenset[tuple[Demand, int]]) -> float:
    return stretch_of(curve, dict(demands))
