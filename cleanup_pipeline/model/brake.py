"""What holds a target back before anything is deleted: the brake, its thresholds, and the word that lets it go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class BrakeName(StrEnum):
    """The brakes."""

    UNUSUAL = "unusual"
    """Far more is expired than passes of this target ever found."""
    CLOCKS = "clocks"
    """The stores of one pass tell different times."""
    RESTORED = "restored"
    """The newest records are older than those that passes saw before."""
    CHANGED = "changed"
    """The expiry has another type, or can be read less often, than last time."""
    UNREADABLE = "unreadable"
    """Most records have an expiry that cannot be read."""
    UNRELEASED = "unreleased"
    """It was braked last time, and the ledger that knows whether it was let go is away."""


@dataclass(frozen=True, slots=True)
class BrakeSettings:
    """From when on a look at a target is out of the ordinary. None or False: that brake is off."""

    unusual_count: float | None = 10.0
    """Times as many expired records as the busiest passes of the history found in the same time."""
    unusual_share: float | None = 0.8
    """Of the records with an expiry that can be read."""
    unusual_from: int = 1000
    """Expired records; fewer never brake as unusual, nor do tables with fewer records as restored."""
    clocks: timedelta | None = timedelta(minutes=1)
    restored: timedelta | None = timedelta(hours=12)
    changed: bool = True
    """Another type of the expiry."""
    unreadable_rise: float | None = 0.1
    """By how much the share of unreadable expiries may grow from one pass to the next."""
    unreadable: bool = True


@dataclass(frozen=True, slots=True)
class Brake:
    """One reason to delete nothing from a target until somebody has looked."""

    name: BrakeName
    what: str
    """One line: what was seen. Figures and names of settings only."""
    remedy: str = ""
    about: str = ""
    """What a release has to be about to the letter, such as two types."""
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """What a release covers up to a margin; more is worse."""


@dataclass(frozen=True, slots=True)
class Release:
    """Somebody's word that what a brake saw is right."""

    seen: Brake
    by: str
    """user@host, as the operating system names them."""
    until: datetime
    once: bool
    """For the next pass that deletes, and no other."""
