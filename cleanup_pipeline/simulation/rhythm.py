"""The batches of one shard in a row, as the engine's own governor would size and space them.

Sizes and rests come from `engine.governor` and `engine.loop`: nothing of them is written down here again. While nothing
around a shard changes, its batches come round to a size that was there before, and from then on everything repeats. So
any number of batches is added up by multiplying.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from math import ceil

from cleanup_pipeline.engine.governor import Size, adapted, rest_after
from cleanup_pipeline.engine.loop import at_once
from cleanup_pipeline.simulation.scenario import Batching, Way
from cleanup_pipeline.stores.redis.rules import SLICE
from cleanup_pipeline.stores.redis.store import GENTLE

PAGE = 0.82
"""Of the keys that a batch of Redis may read, what it does read: a page asks for four fifths, and gets a few more."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, and the rest behind it."""

    removed: float
    looked: float
    latency: float
    rest: float

    @property
    def cycle(self) -> float:
        """Seconds from its beginning to that of the next one."""
        return self.latency + self.rest


def asked(of: Batching, size: int, expired_share: float) -> tuple[float, float]:
    """Records that a batch removes, and that it reads, when the governor allows `size`."""
    take = float(at_once(size, pauses=of.pause > 0))
    if of.way is Way.WALK:
        return take, take
    most = of.looks
    if of.scripts:
        # A batch of Redis is of keys read. With pauses it is a single script.
        most = PAGE * (min(take, float(GENTLE)) if of.pause > 0 else take)
    if expired_share <= 0:
        return 0.0, most
    looked = min(most, take / expired_share)
    return looked * expired_share, looked


def batch(of: Batching, size: int, removed: float, looked: float, stretch: float) -> tuple[Batch, float]:
    """A batch of so many records, and for how long at once it keeps the store busy."""
    latency = of.cost.seconds(removed, looked) * stretch
    take = at_once(size, pauses=of.pause > 0)
    part, busy = take / size, latency
    if of.scripts:
        part = min(1.0, looked / size)
        busy = latency / max(1, ceil(looked / (GENTLE if of.pause > 0 else SLICE)))
    return Batch(removed, looked, latency, of.own + rest_after(of.pause, of.pace, part, busy)), busy


@dataclass(frozen=True, slots=True)
class Part:
    """So many whole batches, one after another, and what they came to."""

    batches: int
    units: float
    """Of what the shard has left: records to remove (walk), records to read (sweep)."""
    removed: float
    seconds: float
    """From the beginning of the first to the end of the last one's rest, or of the last one where it was the very
    last."""
    busy: float
    """Of these, in batches."""
    size: Size
    """For the next one."""
    finished: bool = False
    slowest: float = 0.0
    """The longest batch."""


class Rhythm:
    """All batches that a shard would do from one size on, with nothing changing around it."""

    def __init__(self, of: Batching, size: Size, expired_share: float, stretch: float) -> None:
        self._of, self._stretch, self._share = of, stretch, expired_share
        seen: dict[Size, int] = {}
        self._sizes: list[Size] = []
        self._batches: list[Batch] = []
        while size not in seen:
            seen[size] = len(self._sizes)
            removed, looked = asked(of, size.records, expired_share)
            one, busy = batch(of, size.records, removed, looked, stretch)
            self._sizes.append(size)
            self._batches.append(one)
            size = adapted(size, busy, of.batch_size, of.pace)
        self._lead = seen[size]
        """Batches before everything repeats."""
        self._round = len(self._batches) - self._lead
        self._times = [0.0, *accumulate(each.cycle for each in self._batches)]
        self._units = [0.0, *accumulate(self._unit(each) for each in self._batches)]
        self._removed = [0.0, *accumulate(each.removed for each in self._batches)]
        self._busy = [0.0, *accumulate(each.latency for each in self._batches)]
        self._slowest = list(accumulate((each.latency for each in self._batches), max))

    def _unit(self, one: Batch) -> float:
        return one.removed if self._of.way is Way.WALK else one.looked

    def _after(self, sums: list[float], count: int) -> float:
        """The sum over the first `count` batches."""
        if count <= len(self._batches):
            return sums[count]
        rounds, rest = divmod(count - self._lead, self._round)
        return sums[self._lead + rest] + rounds * (sums[-1] - sums[self._lead])

    def _first(self, sums: list[float], amount: float) -> int:
        """The least number of batches whose sum is at least `amount`."""
        if amount <= sums[-1]:
            return bisect_left(sums, amount)
        whole = sums[-1] - sums[self._lead]
        rounds = int((amount - sums[self._lead]) // whole)
        found = self._lead + rounds * self._round
        while self._after(sums, found) < amount:
            found += 1
        return found

    def size_after(self, count: int) -> Size:
        """The governor's size after so many batches."""
        if count < len(self._sizes):
            return self._sizes[count]
        return self._sizes[self._lead + (count - self._lead) % self._round]

    def batches_until(self, seconds: float) -> int:
        """Batches that have begun before `seconds`, the last of which may go on."""
        return self._first(self._times, seconds)

    def time_of(self, count: int) -> float:
        """Seconds until so many batches and their rests are over."""
        return self._after(self._times, count)

    def part(self, count: int) -> Part:
        """The first `count` batches with their rests."""
        return Part(
            batches=count,
            units=self._after(self._units, count),
            removed=self._after(self._removed, count),
            seconds=self._after(self._times, count),
            busy=self._after(self._busy, count),
            size=self.size_after(count),
            slowest=self._slowest[min(count, len(self._batches)) - 1] if count else 0.0,
        )

    def until_end(self, left: float, seconds: float) -> Part:
        """Batches until nothing of `left` units is left, or `seconds` are over: no batch begins then.

        The last one is as small as what is left for it. A rest ends at the deadline; a batch does not.
        """
        last = max(0, self._first(self._units, left) - 1) if left > 0 else 0
        if self.time_of(last) < seconds:
            return self._finishing(last, left)
        count = self.batches_until(seconds)
        before = self.part(count)
        latest = self._batch(count - 1)
        ended = self.time_of(count - 1) + latest.latency
        return Part(
            before.batches, before.units, before.removed, max(seconds, ended), before.busy, before.size,
            slowest=before.slowest,
        )  # fmt: skip

    def _finishing(self, last: int, left: float) -> Part:
        before = self.part(last)
        units = max(0.0, left - before.units)
        removed = units if self._of.way is Way.WALK else units * self._share
        size = self.size_after(last)
        one, busy = batch(self._of, size.records, removed, units, self._stretch)
        return Part(
            batches=last + 1,
            units=left,
            removed=before.removed + removed,
            seconds=before.seconds + one.latency,
            busy=before.busy + one.latency,
            size=adapted(size, busy, self._of.batch_size, self._of.pace),
            finished=True,
            slowest=max(before.slowest, one.latency),
        )

    def _batch(self, index: int) -> Batch:
        if index < len(self._batches):
            return self._batches[index]
        return self._batches[self._lead + (index - self._lead) % self._round]
