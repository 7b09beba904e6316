"""What keeps a target from being cleaned for now, seen by passes that are running: pauses, and the settings file.

A pause is a note in Dagster's own storage, where every worker sees it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import dagster as dg

from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings import SettingsError, load_settings

ALL = "*"
_PREFIX = "cleanup-pipeline/paused/"
LOOK_SECONDS = 1.0
"""How often a pass that is deleting looks whether its target was paused."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One target, or all of them (`ALL`), switched off by hand."""

    target: str
    since: datetime
    until: datetime | None
    """None: until it is resumed."""
    by: str
    """User and host that asked for it."""

    def __str__(self) -> str:
        until = f"until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "until it is resumed"
        return f"paused by {self.by} at {self.since:%Y-%m-%d %H:%M} UTC, {until}"


def pause(instance: dg.DagsterInstance, order: Pause) -> None:
    """Put the order on record; it replaces an earlier one for the same target."""
    note = {"since": order.since.isoformat(), "until": order.until and order.until.isoformat(), "by": order.by}
    instance.daemon_cursor_storage.set_cursor_values({_PREFIX + order.target: json.dumps(note)})


def resume(instance: dg.DagsterInstance, target: str) -> bool:
    """Take the order for a target back; False when there was none that was still in force."""
    was = standing(instance, [target])
    # A value cannot be removed, only emptied.
    instance.daemon_cursor_storage.set_cursor_values({_PREFIX + target: ""})
    return bool(was)


def standing(instance: dg.DagsterInstance, targets: Sequence[str]) -> list[Pause]:
    """The orders in force now among those for `targets` (ALL is one by name)."""
    notes = instance.daemon_cursor_storage.get_cursor_values({_PREFIX + target for target in targets})
    orders = [_read(key.removeprefix(_PREFIX), note) for key, note in sorted(notes.items()) if note]
    now = datetime.now(UTC)
    return [order for order in orders if order.until is None or order.until > now]


def paused(instance: dg.DagsterInstance, target: str) -> Pause | None:
    """The order that keeps this target from being cleaned now, if there is one."""
    return next(iter(standing(instance, [ALL, target])), None)


def off(instance: dg.DagsterInstance, target: Target, source: str | None) -> str | None:
    """Why this target is not to be cleaned now: a pause, or what the settings file says by now. None: it is.

    A file that cannot be read, or is wrong, gives no order. `source` None: there is no file.
    """
    order = paused(instance, target.name)
    if order is not None:
        return str(order)
    if source is None or not Path(source).is_file():
        return None
    try:
        settings = load_settings(Path(source))
    except SettingsError:
        return None
    of_pass = settings.passes.get(target.pass_name)
    forbidden = [Mode.DRY_RUN] if target.mode is Mode.DELETE else []
    still = any(each.name == target.name and each.mode not in forbidden for each in settings.targets)
    return None if settings.enabled and of_pass and of_pass.enabled and still else f"switched off in {source}"


def watching(instance: dg.DagsterInstance, target: Target, source: str | None) -> Callable[[], bool]:
    """Whether it is `off`, for whoever asks before each batch: it looks at most once in LOOK_SECONDS."""
    next_look, found = 0.0, False

    def ask() -> bool:
        nonlocal next_look, found
        if monotonic() >= next_look:
            found = off(instance, target, source) is not None
            next_look = monotonic() + LOOK_SECONDS
        return found

    return ask


def _read(target: str, note: str) -> Pause:
    raw = json.loads(note)
    until = datetime.fromisoformat(raw["until"]) if raw["until"] else None
    return Pause(target, datetime.fromisoformat(raw["since"]), until, raw["by"])
