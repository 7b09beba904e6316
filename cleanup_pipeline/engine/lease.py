"""Holding on to a lease while a shard is cleaned: asked for at the start, renewed on the way, given back at the end.

What keeps a late batch from deleting is the store itself, which looks at the lease in the batch. This only sees to it
that there is one, and that a shard ends in time when it is gone.
"""

import logging
from dataclasses import replace
from datetime import timedelta
from time import monotonic

from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.store_config import LEASE
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import LeaseLostError, Leases, Store, StoreError

log = logging.getLogger(__name__)

RENEWALS = 3
"""How often a lease is renewed in the time that it lasts: two renewals may fail."""


class Keeper:
    """The lease of one shard, or of none where a store has no leases."""

    def __init__(self, store: Store, target: Target, lease: Lease | None) -> None:
        has_leases = isinstance(store, Leases) and store.config.lease is not None
        self._store = store if isinstance(store, Leases) and has_leases and lease is not None else None
        self._wanted = lease
        self._every = (store.config.lease or LEASE) / RENEWALS if has_leases else timedelta(days=1)
        self._renew_at = 0.0
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

    def release(self) -> None:
        """Give it back. It ends by itself where that fails."""
        lease = self.target.lease
        if self._store is None or lease is None:
            return
        try:
            self._store.release(self.target, lease)
        except StoreError as fault:
            log.warning("%s: its lease ends by itself: %s", self.target.name, fault)

    def _held(self, lease: Lease, asked: float) -> None:
        self.target = replace(self.target, lease=lease)
        self._renew_at = asked + self._every.total_seconds()
