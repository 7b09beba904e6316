"""The enumerated words of the product; their values are what settings, JSON and metrics show."""

from collections.abc import Iterable
from enum import StrEnum


class StoreType(StrEnum):
    """What a store is, and so which strategies can clean it."""

    REDIS = "redis"
    POSTGRES = "postgres"
    MONGO = "mongo"


class Mode(StrEnum):
    """What a pass may do to a target."""

    DELETE = "delete"
    DRY_RUN = "dry_run"


class StopReason(StrEnum):
    """Why a shard (or, folded, a target) ended."""

    EXHAUSTED = "exhausted"
    DEADLINE = "deadline"
    ROW_LIMIT = "row_limit"
    GOVERNOR = "governor"
    LEASE_LOST = "lease_lost"
    TERMINATED = "terminated"
    PAUSED = "paused"
    ERROR = "error"
    DRY_RUN = "dry_run"
    SKIPPED = "skipped"
    BRAKED = "braked"
    CANARY = "canary"
    """A record that was planted to be watched, and must never go, went."""


class PassStatus(StrEnum):
    """How a pass ended; `partial` and `failed` are red and exit with 1."""

    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    DRY_RUN = "dry_run"
    SKIPPED = "skipped"


class Severity(StrEnum):
    """How much a finding matters; an `error` keeps the target from being cleaned."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


FIRST_PLAUSIBLE_SECONDS = 1_000_000_000
"""2001-09-09 01:46:40 UTC. What claims to have died earlier was not written by a login: it is a lifetime that was taken
for an instant, or seconds that were taken for milliseconds, and then every live record looks long dead."""

LAST_PLAUSIBLE_SECONDS = 4_102_444_800
"""2100-01-01 00:00 UTC. Where all that is not zero lies later, milliseconds were taken for seconds."""


AFTER_2100 = "after_2100"
"""The detail of a census with how many live records have an expiry later than that."""


TOO_LARGE = "too_large"
"""The detail of a census with how many values were left because they are too long to be read."""


class EpochUnit(StrEnum):
    """The unit of a numeric expiry."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    NANOSECONDS = "ns"

    @property
    def per_second(self) -> int:
        return {"s": 1, "ms": 1_000, "ns": 1_000_000_000}[self.value]


def plausible_unit(numbers: Iterable[float]) -> EpochUnit | None:
    """The one unit in which all of these, zeros and less aside, are instants from 2001 to 2100; None: there is none."""
    given = [number for number in numbers if number > 0]
    for unit in EpochUnit:
        first, last = (each * unit.per_second for each in (FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS))
        if given and all(first <= number < last for number in given):
            return unit
    return None
