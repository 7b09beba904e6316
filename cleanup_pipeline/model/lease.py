"""The exclusive right to clean a target: who asks for it, and who has it."""

from dataclasses import dataclass
from datetime import datetime

BETWEEN = -1
"""In place of a shard: what a run holds from the end of one shard to the beginning of the next."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What one shard of a run claims, or, with `until`, holds."""

    run: str
    """Shards of one run share a target."""
    shard: int
    host: str
    window: str = ""
    """Two runs share a target when both have a window and not the same one. Empty is a whole target."""
    until: datetime | None = None
    """When it runs out, by the store's own clock. A store whose leases live as long as a session leaves it None."""

    @property
    def token(self) -> str:
        """Tells this holder from every other."""
        return f"{self.run}:{self.shard}"


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody else who has the right at present."""

    host: str
    """Where it runs; empty when the store does not show it."""
    since: datetime | None
    run: str = ""
    window: str = ""

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"held by {self.host or 'another session'}{since}"


def window_label(since: datetime | None, cutoff: datetime) -> str:
    """The `window` of a lease, for a run that keeps to records that died from `since` up to `cutoff`; None is open."""
    return f"{since.isoformat() if since else ''}/{cutoff.isoformat()}"
