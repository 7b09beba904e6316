"""When records fall due: a rate with the shape of a day, added up, and the way back from a number to an instant."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from cleanup_pipeline.simulation.scenario import DAY, HOUR, TargetModel, Way

NOTHING = 1e-6
"""Records below which there are none: what is left of rounding."""


class Curve:
    """How much of a rate of 1 a second has come since the beginning, for one shape of the day."""

    def __init__(self, shape: Sequence[float], start: float) -> None:
        """`shape`: 24 multiples with a mean of 1; `start`: seconds of the UTC day at which the simulation begins."""
        self._shape = [each * 24 / sum(shape) for each in shape]
        self._sums = [0.0, *accumulate(each * HOUR for each in self._shape)]
        self._start = start
        self._before = self._since_midnight(start)

    def _since_midnight(self, seconds: float) -> float:
        days, rest = divmod(seconds, DAY)
        hour = int(rest // HOUR)
        return days * DAY + self._sums[hour] + (rest - hour * HOUR) * self._shape[hour]

    def sum(self, seconds: float) -> float:
        """From the beginning until `seconds` after it."""
        return self._since_midnight(self._start + seconds) - self._before

    def when(self, amount: float) -> float:
        """The seconds after which so much has come; the inverse of `sum`."""
        days, rest = divmod(amount + self._before, DAY)
        hour = max(0, min(23, bisect_right(self._sums, rest) - 1))
        shape = self._shape[hour]
        within = (rest - self._sums[hour]) / shape if shape > 0 else 0.0
        return days * DAY + hour * HOUR + within - self._start


class Backlog:
    """What is expired in one target, and how long the oldest of it has been.

    Records leave a walk in the order in which they fell due. A sweep in several passes, or a walk by several shards,
    leaves old ones among those that are left: the oldest is gone when all is.
    """

    def __init__(self, target: TargetModel, curve: Curve) -> None:
        self._target, self._curve = target, curve
        self._ordered = target.batching.way is Way.WALK and target.shards == 1
        self.removed = 0.0
        self._clean_to = -target.oldest
        """Everything that fell due before is gone."""

    def due(self, until: float) -> float:
        """Records that fell due before `until` and are there."""
        target = self._target
        left = target.backlog + target.rate * self._curve.sum(until if until > 0 else 0.0) - self.removed
        return left if left > NOTHING else 0.0

    def fallen_due(self, until: float) -> float:
        """Records that fell due from the beginning until then, the backlog not counted."""
        return self._target.rate * self._curve.sum(until)

    def age(self, now: float) -> float:
        """Seconds since the oldest record that is there fell due; 0 when there is none."""
        if not self.due(now):
            return 0.0
        if not self._ordered:
            return now - self._clean_to
        target = self._target
        if self.removed < target.backlog:
            return now + target.oldest * (1 - self.removed / target.backlog)
        return now - (self._curve.when((self.removed - target.backlog) / target.rate) if target.rate else now)

    def take(self, records: float) -> None:
        """They are gone."""
        self.removed += records

    def cleaned(self, cutoff: float) -> None:
        """Everything that fell due before is gone."""
        self._clean_to = max(self._clean_to, cutoff)
