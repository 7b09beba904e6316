"""What an alert can say: that something is so, is not so, or that nobody knows."""

from dataclasses import dataclass
from enum import StrEnum


class AlertName(StrEnum):
    """The alerts, under the names that the Prometheus rules have, too."""

    NOT_RUNNING = "CleanupNotRunning"
    HIGH_ERROR_RATE = "CleanupHighErrorRate"
    SLOW = "CleanupSlow"
    SURVIVORS_TOO_OLD = "CleanupSurvivorsTooOld"
    BACKLOG_GROWING = "CleanupBacklogGrowing"
    HELD_BACK = "CleanupHeldBack"


class AlertSeverity(StrEnum):
    """How soon somebody has to look."""

    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """What a look at the figures came to."""

    FIRING = "firing"
    CLEAR = "clear"
    UNKNOWN = "unknown"
    """Neither starts an alert nor ends one."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One alert about one subject, looked at once."""

    name: str
    subject: str
    """A pass or a target."""
    state: AlertState
    severity: str = AlertSeverity.WARNING
    value: float | None = None
    """The figure that was judged, in the alert's unit; None: unknown."""
    summary: str = ""
    """One line: what is so. Names of settings and figures only."""
