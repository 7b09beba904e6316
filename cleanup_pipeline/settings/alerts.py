"""`alerts:` -> AlertSettings: what is watched, and from when on it is too much."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from cleanup_pipeline.layouts.field_types import Flag, Section, duration, number
from cleanup_pipeline.settings.faults import Fault
from cleanup_pipeline.settings.pace import Off, or_off
from cleanup_pipeline.settings.translate import check_section

SECTION = "alerts"


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Thresholds; None or False: that alert is off."""

    enabled: bool = True
    late_after: float | None = 2.0
    """Intervals of a pass, and five minutes, in which it has to end once."""
    error_share: float | None = 0.05
    """Of the operations of a day; more than this failed."""
    slow_after: timedelta | None = timedelta(minutes=1)
    survivors_too_old: bool = True
    backlog_growing: bool = True
    held_back: bool = True


class AlertsSection(Section):
    """`alerts: {...}`."""

    enabled: Flag = True
    late_after: Annotated[float | Off, or_off(number(1, 1000))] = 2.0
    error_share: Annotated[float | Off, or_off(number(0, 1))] = 0.05
    slow_after: Annotated[timedelta | Off, or_off(duration(timedelta(milliseconds=1), timedelta(days=1)))] = timedelta(
        minutes=1
    )
    survivors_too_old: Flag = True
    backlog_growing: Flag = True
    held_back: Flag = True


def read_alerts(raw: Any, faults: list[Fault]) -> AlertSettings:
    """The settings; what is wrong is added to `faults`."""
    section, _ = check_section(AlertsSection, {} if raw is None else raw, (SECTION,), faults)
    values: dict[str, Any] = {} if section is None else dict(section)
    given: dict[str, Any] = {name: None if value is Off.OFF else value for name, value in values.items()}
    return AlertSettings(**given)
