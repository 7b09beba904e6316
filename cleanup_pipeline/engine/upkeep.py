"""After the deleting: what the table takes up now, and whether it is vacuumed."""

import logging
from dataclasses import dataclass
from time import monotonic

from cleanup_pipeline.model.plan import Plan, Storage
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import KeepsHouse, Store, StoreError

log = logging.getLogger(__name__)

BIG_SHARE = 0.1
"""Of a table's records: what a pass has to remove for a VACUUM to be worth its reads."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How a pass left the table."""

    storage: Storage | None = None
    """None: the store cannot tell."""
    vacuum_seconds: float | None = None
    """None: there was no VACUUM, or it did not end well, which the log tells. It is no fault of the pass."""


def storage_of(store: Store, target: Target) -> Storage | None:
    """What the target takes up; None where the store cannot tell."""
    if not isinstance(store, KeepsHouse):
        return None
    try:
        return store.storage(target)
    except StoreError as fault:
        log.warning("%s: its size is unknown: %s", target.name, fault)
        return None


def keep_up(store: Store, target: Target, plan: Plan, deleted: int) -> Upkeep:
    """Vacuum when the target asks for it and the pass was a big one, and look at the table again."""
    took = _vacuum(store, target) if target.vacuum and _big(plan, deleted) else None
    return Upkeep(storage_of(store, target), took)


def _big(plan: Plan, deleted: int) -> bool:
    records = plan.storage.records if plan.storage else 0
    return deleted > 0 and deleted >= BIG_SHARE * records


def _vacuum(store: Store, target: Target) -> float | None:
    if not isinstance(store, KeepsHouse):
        return None
    began = monotonic()
    try:
        store.vacuum(target, target.operation_timeout)
    except StoreError as fault:
        log.warning("%s: not vacuumed: %s", target.name, fault)
        return None
    return monotonic() - began
