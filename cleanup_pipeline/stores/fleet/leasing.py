"""Leases of a target that is in several places: one in each, held by the same run.

A member in another database of PostgreSQL has its batches on other connections than the one that holds the lease of its
place: that one is asked before each batch, so that what is left to chance is the time of one batch.
"""

import logging
from dataclasses import replace

from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import LeaseLostError, Leases, StoreError, lease_lost
from cleanup_pipeline.stores.fleet.places import Member, Places

log = logging.getLogger(__name__)


class PlaceLeases:
    """The leases that one process holds."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held: dict[tuple[str, str, int], Lease] = {}
        """By target, token and place, as each place gave it."""
        self._lost: set[tuple[str, str, int]] = set()
        """Those that were taken away. They are not asked for again: somebody wants this run to stop."""

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        """In every place that gives it, or in none where somebody holds one. Raises StoreError where none does."""
        taken: list[int] = []
        down: list[StoreError] = []
        for place in range(len(self._places)):
            self._lost.discard((target.lease_key, lease.token, place))
            try:
                answer = self._take(target, lease, place)
            except StoreError as fault:
                down.append(fault)
                continue
            if isinstance(answer, Holder):
                self._give_back(target, lease, taken)
                return answer
            taken.append(place)
        if not taken:
            raise down[0]
        return self._held[(target.lease_key, lease.token, taken[0])]

    def renew(self, target: Target, lease: Lease) -> Lease:
        """In every place that was not given up. Raises LeaseLostError where one is lost, from then on each time:
        somebody else may be cleaning there."""
        renewed: Lease | None = None
        fault: StoreError | None = None
        for place in range(len(self._places)):
            key = (target.lease_key, lease.token, place)
            try:
                held = self._renewed(target, key)
                renewed = renewed or held
            except LeaseLostError:
                raise
            except StoreError as away:
                fault = away
        if renewed is None and fault is not None:
            raise fault
        return renewed or lease

    def give_up(self, target: Target, place: int) -> None:
        """Nothing more is done in a place: what becomes of its lease keeps no other from being cleaned."""
        if target.lease is not None:
            self._held.pop((target.lease_key, target.lease.token, place), None)

    def release(self, target: Target, lease: Lease) -> None:
        """In every place; where one cannot be reached it ends by itself."""
        # What another process of the run holds is released as well, as by a plain store.
        self._give_back(target, lease, range(len(self._places)))

    def holders(self, target: Target) -> list[Holder]:
        """In any place that answers. Raises StoreError where none does."""
        found: list[Holder] = []
        down: list[StoreError] = []
        for place in range(len(self._places)):
            store = self._places.base(place)
            try:
                found += store.holders(_whole(target)) if isinstance(store, Leases) else []
            except StoreError as fault:
                down.append(fault)
        if len(down) == len(self._places):
            raise down[0]
        return found

    def free(self, target: Target) -> int:
        """In every place. Raises UnavailableError where one is away: its leases may stand."""
        stores = [self._places.base(place) for place in range(len(self._places))]
        return sum(store.free(_whole(target)) for store in stores if isinstance(store, Leases))

    def for_batch(self, target: Target, member: Member) -> Lease | None:
        """What the next batch of a member has to hold; None where there are no leases, or other connections hold it.

        Raises LeaseLostError, and as `acquire` does where a place was away when the shard began.
        """
        if target.lease is None:
            return None
        key = (target.lease_key, target.lease.token, member.place)
        if key in self._lost:
            raise lease_lost(target)
        if key not in self._held:
            answer = self._take(target, target.lease, member.place)
            if isinstance(answer, Holder):
                raise StoreError(
                    f"{self._places.where(member.place)} is {answer}",
                    setting=f"targets.{target.name}",
                    remedy="the next pass goes on",
                )
        if not self._places.is_elsewhere(member):
            return self._held[key]
        self._renewed(target, key)
        return None

    def _renewed(self, target: Target, key: tuple[str, str, int]) -> Lease | None:
        """The lease of a place for another while; None: there is none to renew. Raises LeaseLostError, StoreError."""
        if key in self._lost:
            raise lease_lost(target)
        store = self._places.base(key[2])
        if key not in self._held or not isinstance(store, Leases):
            return None
        try:
            self._held[key] = store.renew(_whole(target), self._held[key])
        except LeaseLostError:
            del self._held[key]
            # It ran out on a server that is away: nobody took it, and it is asked for again if the server is back.
            store.clock()
            self._lost.add(key)
            raise
        return self._held[key]

    def _take(self, target: Target, lease: Lease, place: int) -> Lease | Holder:
        store = self._places.base(place)
        if not isinstance(store, Leases):
            self._held[(target.lease_key, lease.token, place)] = lease
            return lease
        answer = store.acquire(_whole(target), replace(lease, until=None))
        if isinstance(answer, Lease):
            self._held[(target.lease_key, lease.token, place)] = answer
        return answer

    def _give_back(self, target: Target, lease: Lease, places: "range | list[int]") -> None:
        for place in places:
            self._held.pop((target.lease_key, lease.token, place), None)
            self._lost.discard((target.lease_key, lease.token, place))
            store = self._places.base(place)
            try:
                if isinstance(store, Leases):
                    store.release(_whole(target), lease)
            except StoreError as fault:
                log.warning("%s: its lease ends by itself: %s", target.name, fault)


def _whole(target: Target) -> Target:
    """The target as its leases know it, in every place alike."""
    return replace(target, members=None, template=target.lease_key)
