"""What scripts saw and did."""

from collections import Counter
from dataclasses import dataclass, field
from heapq import nlargest

RANK = 10
"""As many of the latest ends are kept as `lua/loop.lua` keeps."""


@dataclass(slots=True)
class Counts:
    """What scripts saw and did. A running sum; `scanned` leaves out what was gone or of another type on re-check."""

    scanned: int = 0
    expired: int = 0
    deleted: int = 0
    live: int = 0
    without_expiry: int = 0
    unparsable: int = 0
    repaired: int = 0
    oldest_ms: int | None = None
    newest_ms: list[int] = field(default_factory=list[int])
    """The latest ends that were seen, at most RANK of them, the latest first."""
    details: Counter[str] = field(default_factory=Counter[str])
    largest: int = 0
    slowest: float = 0.0
    """Seconds of the longest script, the way there and back included."""

    def add(self, other: "Counts") -> None:
        """Take in one more slice or page."""
        self.scanned += other.scanned
        self.expired += other.expired
        self.live += other.live
        self.without_expiry += other.without_expiry
        self.unparsable += other.unparsable
        self.details.update(other.details)
        if other.oldest_ms is not None:
            self.oldest_ms = other.oldest_ms if self.oldest_ms is None else min(self.oldest_ms, other.oldest_ms)
        if other.newest_ms:
            self.newest_ms = nlargest(RANK, [*self.newest_ms, *other.newest_ms])
        self.add_changes(other)

    def add_changes(self, other: "Counts") -> None:
        """Take in only what a page that will be read again has changed for good."""
        self.deleted += other.deleted
        self.repaired += other.repaired
        self.largest = max(self.largest, other.largest)
        self.slowest = max(self.slowest, other.slowest)
