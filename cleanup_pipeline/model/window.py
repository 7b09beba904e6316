"""The slice of time that a partition of a pass stands for, and what it makes of a target's grace."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Window:
    """The records that fall due from `start` up to, not including, `end`; both time-zone aware.

    A record falls due when it has been dead for its target's grace: a window that has ended can be cleaned whole, and
    windows side by side share no record.
    """

    start: datetime
    end: datetime
    open_below: bool = False
    """What fell due before `start` is taken too."""
    shares: bool = True
    """Others may be at other windows meanwhile: what fell due before `start` is in none of theirs."""

    def cutoff(self, now: datetime, grace: timedelta) -> datetime:
        """The instant before which a record must have died: the window's end, and never later than now, less grace."""
        return min(now, self.end) - grace

    def since(self, grace: timedelta) -> datetime | None:
        """The instant from which on a record must have died; None is open."""
        return None if self.open_below else self.start - grace
