"""Holding on to a lease while a shard is cleaned: asked for at the start, renewed on the way, given back at the end.

What keeps a late batch from deleting is the store itself, which looks at the lease in the batch. This only sees to it
that there is one, and that a shard ends in time when it is gone.
"""

import logging
from dataclasses import replace
from datetime import timedelta
from time import monotonic

from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.model.lease import BETWEEN, Holder, Lease
from cleanup_pipeline.model.plan import Shard, Work
from cleanup_pipeline.model.store_config import LEASE
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import LeaseLostError, Leases, Store, StoreError

log = logging.getLogger(__name__)

RENEWALS = 3
"""How often a lease is renewed in the time that it lasts: two renewals may fail."""


class Keeper:
    """The lease of one shard, or of none where a store has no leases.

    From one shard to the next the run keeps another one: who came in between would make this run give way, which made
    that one give way before, and a shard would be left by both.
    """

    def __init__(self, store: Store, target: Target, lease: Lease | None, work: Work, shard: Shard) -> None:
        has_leases = isinstance(store, Leases) and store.config.lease is not None
        self._store = store if isinstance(store, Leases) and has_leases and lease is not None else None
        self._wanted = lease
        self._every = (store.config.lease or LEASE) / RENEWALS if has_leases else timedelta(days=1)
        self._renew_at = 0.0
        self._first = all(each.index >= shard.index for each in work.shards)
        self._last = all(each.index <= shard.index for each in work.shards)
        self.target = target
        """What batches are given: the target, with the lease as it is held."""

    def acquire(self) -> Holder | None:
        """Get the lease, or say who has it. Faults that may pass are tried again; raises StoreError for others."""
        if self._store is None or self._wanted is None:
            return None
        asked = monotonic()
        answer = retrying()(self._store.acquire, self.target, self._wanted)
        if isinstance(answer, Holder):
            return answer
        self._held(answer, asked)
        if not self._first:
            self._give_back(_between(answer))
        return None

    def keep(self) -> LeaseLostError | None:
        """Renew the lease when it is time; the fault when it is lost.

        That a store cannot be asked is no such fault: the lease lasts for a while yet.
        """
        lease = self.target.lease
        if self._store is None or lease is None or monotonic() < self._renew_at:
            return None
        asked = monotonic()
        try:
            self._held(self._store.renew(self.target, lease), asked)
        except LeaseLostError as fault:
            return fault
        except StoreError as fault:
            log.warning("%s: its lease could not be renewed yet: %s", self.target.name, fault)
            self._renew_at = monotonic() + self._every.total_seconds() / RENEWALS
        return None

    def release(self, *, goes_on: bool) -> None:
        """Give it back; it ends by itself where that fails. `goes_on`: the run goes on to the shards that follow."""
        lease = self.target.lease
        if self._store is None or lease is None:
            return
        if goes_on and not self._last:
            try:
                self._store.acquire(self.target, _between(lease))
            except StoreError as fault:
                log.warning("%s: somebody else may take it before the next shard: %s", self.target.name, fault)
        self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        if self._store is not None:
            _release(self._store, self.target, lease)

    def _held(self, lease: Lease, asked: float) -> None:
        self.target = replace(self.target, lease=lease)
        self._renew_at = asked + self._every.total_seconds()


def let_go(store: Store, target: Target, run: str) -> None:
    """Give back what a run keeps between its shards, when none of them follows."""
    if isinstance(store, Leases) and store.config.lease is not None:
        _release(store, target, Lease(run, BETWEEN, ""))


def _between(lease: Lease) -> Lease:
    return replace(lease, shard=BETWEEN, until=None)


def _release(store: Leases, target: Target, lease: Lease) -> None:
    try:
        store.release(target, lease)
    except StoreError as fault:
        log.warning("%s: its lease ends by itself: %s", target.name, fault)
