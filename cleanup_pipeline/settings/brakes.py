"""`brakes:` of `cleanup` and of a target -> BrakeSettings, key by key."""

from datetime import timedelta
from typing import Annotated, Any

from cleanup_pipeline.layouts.field_types import Flag, Section, duration, number, whole_number
from cleanup_pipeline.model.brake import BrakeSettings
from cleanup_pipeline.settings.faults import Fault, Path
from cleanup_pipeline.settings.pace import Off, or_off
from cleanup_pipeline.settings.translate import check_section

_SECOND = timedelta(seconds=1)


class BrakesSection(Section):
    """`brakes: {...}`."""

    unusual_count: Annotated[float | Off, or_off(number(1, 1_000_000))] | None = None
    unusual_share: Annotated[float | Off, or_off(number(0, 1))] | None = None
    unusual_from: Annotated[int, whole_number(1, None)] | None = None
    clocks: Annotated[timedelta | Off, or_off(duration(_SECOND, timedelta(minutes=2)))] | None = None
    restored: Annotated[timedelta | Off, or_off(duration(timedelta(minutes=1)))] | None = None
    changed: Flag | None = None
    unreadable_rise: Annotated[float | Off, or_off(number(0, 1))] | None = None
    unreadable: Flag | None = None


def read_brakes(raw: Any, path: Path, faults: list[Fault]) -> dict[str, Any]:
    """What is set, under the names that BrakeSettings has for it. `path` is that of the section around it."""
    if raw is None:
        return {}
    section, _ = check_section(BrakesSection, raw, (*path, "brakes"), faults)
    values = {name: getattr(section, name, None) for name in BrakesSection.model_fields}
    return {name: None if value is Off.OFF else value for name, value in values.items() if value is not None}


def brakes_of(*layers: dict[str, Any]) -> BrakeSettings:
    """The settings that these layers make, the later ones over the earlier."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return BrakeSettings(**merged)
