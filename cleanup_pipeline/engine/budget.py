"""A budget of records a second that several shards share: how long the next batch has to wait, and how large it may be.

How the budget is divided is not known here: `allowance` says what falls to whoever asks at present.
"""

from collections.abc import Callable
from time import monotonic

AHEAD_SECONDS = 1.0
"""What one batch may take of the budget at once: a whole batch out of a small share would mean a long rest."""

Allowance = Callable[[], float | None]
"""Records a second; None: as many as can be."""


class Budget:
    """What one process may remove, by one budget. Shards that follow each other share it."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float] = monotonic) -> None:
        self._allowance, self._clock = allowance, clock
        self._paid_until = 0.0

    def most(self, size: int) -> int:
        """How many records of `size` the next batch may ask for; at least one."""
        rate = self._allowance()
        return size if rate is None else max(1, min(size, int(rate * AHEAD_SECONDS)))

    def due_in(self) -> float:
        """Seconds until the next batch may go."""
        return max(0.0, self._paid_until - self._clock())

    def spend(self, records: int) -> None:
        """A batch removed so many."""
        rate = self._allowance()
        if rate is not None and records:
            self._paid_until = max(self._paid_until, self._clock()) + records / rate
