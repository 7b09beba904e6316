"""What a plan shows of a target for people to judge it by. Free of identifiers: a record is named by a keyed hash."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class State(StrEnum):
    """What a record is at a cutoff."""

    EXPIRED = "expired"
    LIVE = "live"
    WITHOUT_EXPIRY = "without_expiry"
    UNPARSABLE = "unparsable"


class Why(StrEnum):
    """Why a record is in a sample."""

    OLDEST = "goes, the oldest"
    YOUNGEST = "goes, the youngest"
    NEXT = "stays, the next to die"
    WITHOUT_EXPIRY = "stays, without expiry"
    UNPARSABLE = "stays, unreadable"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record as its store names it, which never leaves the process that looks."""

    id: str = field(repr=False)
    state: State
    dies: datetime | None = None
    """None: it has no such instant, or none that can be told."""
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A record near the line."""

    id: str
    """Keyed hash, 16 hexadecimal digits."""
    why: Why
    dies: datetime | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """Expired records by how long they have been due: past `over` before the cutoff, up to and with `upto`."""

    over: timedelta
    upto: timedelta | None
    """None: all that is older."""
    count: int | None
    """None: unknown."""


@dataclass(frozen=True, slots=True)
class ClientCount:
    """Expired records of one client of the application."""

    client: str
    count: int


@dataclass(frozen=True, slots=True)
class Clients:
    """Expired records by client, the largest first."""

    top: tuple[ClientCount, ...]
    others: int
    """Records of all further clients."""
    none: int
    """Records that name none."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A target near the line between what goes and what stays."""

    bands: tuple[Band, ...] = ()
    """Empty: not counted."""
    clients: Clients | None = None
    """None: unknown, or the target has no such thing."""
    sample: tuple[Sampled, ...] = ()
    notes: tuple[str, ...] = ()
    """What is missing here, and why. One line each."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What removing it may take. None is unknown."""

    batches: int | None
    seconds: float | None
    per_second: float | None
    """Records, pauses included."""
    busy_share: float | None
    """Of that time, how much the store is at it rather than at rest, 0 to 1."""
    largest_batch: int
    passes: int
    """Passes on record that it is measured from; 0: it goes by the settings alone."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of what a plan covers, as a look before the deleting found it. None is unknown."""

    planned: int | None
    there: int | None
    """Still there, and still expired: what is left to remove."""
    gone: int | None
    """Removed by somebody else since."""
    revived: int | None
    """There, and no longer expired by the plan's cutoff."""
    arrived: int | None
    """Came since with an expiry before the plan's cutoff: not covered, and left."""
    new: int | None
    """Expired by now, and not covered: what died since, and what arrived."""
    estimated: bool = False
    """`there`, `gone`, `revived` and `arrived` are scaled up from a sample."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approval:
    """That somebody asked for exactly this plan to be carried out, once."""

    plan: str
    until: datetime
    """The plan is void from then on."""
    drift: Drift | None = None
