"""Records that a pass plants to be watched by: of each it is known beforehand what has to become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from secrets import choice
from string import ascii_lowercase, digits

from cleanup_pipeline.model.rules import Scalar

CANARY_PREFIX = "cleanup-canary-"
"""What the mark of every canary begins with."""
SHORTEST_MARK = len(CANARY_PREFIX) + 16
"""Characters: 82 random bits behind the prefix. The longest mark has 165."""
UNGUESSABLE = 25
"""Random letters and digits that have 128 bits or more."""
_LETTERS = ascii_lowercase + digits


class CanaryKind(StrEnum):
    """What a canary is. Only the first may go."""

    EXPIRED = "expired"
    LIVE = "live"
    GRACE = "grace"
    """Dead, and within the grace of its target."""
    WITHOUT_EXPIRY = "without_expiry"
    UNPARSABLE = "unparsable"


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """How a target's canaries are made."""

    kinds: frozenset[CanaryKind] = frozenset(CanaryKind)
    """Those that are planted, as far as the target's rule has them."""
    values: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """By column or field: what stands there in every canary."""
    allow_triggers: bool = False
    """PostgreSQL: triggers that an INSERT or a DELETE fires may fire for canaries, too."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One planted record. Its mark and identity are random, and nobody's."""

    mark: str
    kind: CanaryKind
    dies_at: datetime | None
    """None: it has no expiry that can be read."""
    identity: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """By which it is found again: columns and their values, `_id`, or the key. Empty until a store has made it."""


def new_mark() -> str:
    """A mark that nobody can guess: 165 random bits behind the prefix."""
    return CANARY_PREFIX + random_text(32)


def random_text(length: int) -> str:
    """Random letters and digits: 5.17 bits each."""
    return "".join(choice(_LETTERS) for _ in range(length))


def due(canary: Canary, cutoff: datetime, since: datetime | None) -> bool:
    """Whether a pass takes a canary for dead: it died before `cutoff` and not before `since`."""
    at = canary.dies_at
    return at is not None and at < cutoff and (since is None or at >= since)
