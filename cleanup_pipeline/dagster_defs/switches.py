"""Pausing targets without touching settings or processes: a note in Dagster's own storage, where every worker sees it.

Does not belong here: `enabled` of the settings, which takes a reload.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import dagster as dg

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


def watching(instance: dg.DagsterInstance, target: str) -> Callable[[], Pause | None]:
    """`paused` for whoever asks before each batch: it looks at most once in LOOK_SECONDS."""
    next_look, found = 0.0, None

    def ask() -> Pause | None:
        nonlocal next_look, found
        if monotonic() >= next_look:
            found = paused(instance, target)
            next_look = monotonic() + LOOK_SECONDS
        return found

    return ask


def _read(target: str, note: str) -> Pause:
    raw = json.loads(note)
    until = datetime.fromisoformat(raw["until"]) if raw["until"] else None
    return Pause(target, datetime.fromisoformat(raw["since"]), until, raw["by"])
