"""Cheap looks beside the census: the newest expiry, the type of the expiry, the clocks.

None of them is a reason to fail: unknown is None.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from cleanup_pipeline.engine.brakes import Look
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import ShowsShape, Store, StoreError

log = logging.getLogger(__name__)

RANK = 10
"""The newest record may be an odd one, and log out; the tenth stands for the newest ones."""
PATIENCE = timedelta(seconds=2)


def _host_clock() -> datetime:
    return datetime.now(UTC)


def newest_of(store: Store, target: Target) -> datetime | None:
    """The expiry of one of the newest records."""
    if target.brakes.restored is None or not isinstance(store, ShowsShape):
        return None
    try:
        return store.newest(target, RANK, min(PATIENCE, target.census_timeout))
    except StoreError as fault:
        log.warning("%s: its newest expiry is unknown: %s", target.name, fault)
        return None


def shape_of(store: Store, target: Target) -> str | None:
    """The type of the expiry."""
    if not target.brakes.changed or not isinstance(store, ShowsShape):
        return None
    try:
        return store.shape(target)
    except StoreError as fault:
        log.warning("%s: the type of its expiry is unknown: %s", target.name, fault)
        return None


def skew_of(store: Store, host_clock: Callable[[], datetime] = _host_clock) -> float | None:
    """Seconds by which a store's clock goes before the host's, half the way to it and back taken off."""
    before = host_clock()
    try:
        now = store.clock()
    except StoreError:
        return None
    after = host_clock()
    return (now - (before + (after - before) / 2)).total_seconds()


def look_of(plan: Plan, skews: Mapping[str, float]) -> Look:
    """What a plan says, for the brakes to judge. `skews`: of the stores of the pass whose clock is known."""
    census = plan.census
    return Look(
        cutoff=plan.cutoff,
        expired=census.expired,
        live=census.live,
        without_expiry=census.without_expiry,
        unparsable=census.unparsable,
        newest=plan.newest,
        shape=plan.shape,
        windowed=plan.since is not None,
        skews=skews,
        store=plan.store,
    )
