"""What a simulation found. Seconds since its beginning, records, shares from 0 to 1; None is never, or unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """Of a target, and of all of them: the worst, in this order."""

    KEEPS_UP = "keeps up"
    CATCHING_UP = "catching up"
    """Something was left at the end, and less than a day before."""
    FALLS_BEHIND = "falls behind"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at everything."""

    at: float
    left: float
    """Expired records that are there, those that fell due since the last pass among them."""
    oldest: float
    """Seconds since the oldest of them fell due."""


@dataclass(frozen=True, slots=True)
class TargetOutcome:
    """What became of one target."""

    name: str
    store: str
    verdict: Verdict
    gone: float | None
    """When the first pass left nothing; past the end where it goes by the trend."""
    left: float
    removed: float
    batches: int
    slowest: float
    """The longest batch."""
    oldest: float
    """Seconds; the oldest that an expired record was in the last period (a day, or four passes)."""
    passes: int
    red: int
    """Of these, those that left something."""
    reasons: Mapping[str, int]
    """Shards by stop reason."""


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of one store."""

    name: str
    targets: int
    verdict: Verdict
    removed: float
    left: float
    oldest: float
    used: float
    """Of all that it can do in batches, over the whole time."""
    shards: int
    """Most that were at work in it at once."""
    gone: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation found."""

    start: datetime
    end: float
    """Where it ended: sooner than asked for when nothing new could come of it."""
    verdict: Verdict
    gone: float | None
    """When the backlog of every target is gone; past the end where it goes by the trend."""
    left: float
    oldest: float
    """As of targets, the worst."""
    removed: float
    due: float
    """Records that fell due in the time."""
    workers: int
    """Steps at once: over all runs together, or of each run."""
    used: float
    """Of the workers' time, over the whole time, or as long as runs lasted."""
    runs: int
    red: int
    skipped: int
    """Runs that did not begin because the one before was not done."""
    longest_run: float
    targets: Sequence[TargetOutcome]
    stores: Sequence[StoreOutcome]
    samples: Sequence[Sample]
    assumed: Sequence[str] = ()

    @property
    def keeps_up(self) -> bool:
        """Whether nothing grows."""
        return self.verdict is not Verdict.FALLS_BEHIND
