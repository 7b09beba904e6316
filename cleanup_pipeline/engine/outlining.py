"""A target near the line between what goes and what stays, for a plan to show. Reads only, and in bounded time."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import nlargest, nsmallest
from time import monotonic

from cleanup_pipeline.engine.cover import Collector, Cover, hash_of, shown
from cleanup_pipeline.model.outline import (
    Band,
    ClientCount,
    Clients,
    Outline,
    Sampled,
    Sighting,
    State,
    Why,
)
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.rules import AgeGuard
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import BatchTimeoutError, NamesRecords, ShowsTheLine, Store, StoreError
from cleanup_pipeline.stores.open import store_for

log = logging.getLogger(__name__)

EDGES = (timedelta(0), timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""Where bands of age begin; the last one is open."""
BANDS: tuple[tuple[timedelta, timedelta | None], ...] = tuple(zip(EDGES, (*EDGES[1:], None), strict=True))
MOST_READ = 1_000_000
"""Records that a plan names one by one; of a target with more it goes by counts and by what an index finds."""
TOP_CLIENTS = 10
_MOST_CLIENTS = 1000
"""Clients that are counted one by one; those that come later count as others."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a look may take."""

    timeout: timedelta
    sample: int
    """Records of each sort to show; 0: none, and in a pass nothing else is looked at."""
    everything: bool
    """Every record is named once, for what the plan covers. Else only a few, where a store has no order."""

    @property
    def most(self) -> int:
        """Records to name."""
        return MOST_READ if self.everything else 2000


PASS = timedelta(seconds=1)
"""What a look may take in a pass, where nobody waits for it."""


def outline_of(store: Store, target: Target, plan: Plan, key: bytes, budget: Budget) -> tuple[Outline, Cover | None]:
    """The outline of a planned target, and what the plan covers (None: unknown). Never raises for a fault of a store:
    what is not known is missing, and a note says why."""
    if plan.skipped is not None or (budget.sample == 0 and not budget.everything):
        return Outline(), None
    target = replace(target, since=plan.since)
    seen = _Seen(plan.cutoff, key, budget.sample)
    store = store_for(store, target)
    by_line = isinstance(store, ShowsTheLine)
    notes: list[str] = []
    complete = False
    if isinstance(store, NamesRecords) and (budget.everything or not by_line):
        complete = _read(store, target, plan, budget, seen, notes)
    if complete or not isinstance(store, ShowsTheLine):
        return seen.outline(notes, complete=complete), seen.collector.cover() if complete else None
    # A table that is too large to be read through is asked by index, for as long again.
    return _by_line(store, store, target, plan, key, budget, notes), None


@dataclass(slots=True)
class _Seen:
    """A running outline, in bounded memory."""

    cutoff: datetime
    key: bytes
    sample: int
    collector: Collector = field(default_factory=Collector)
    records: int = 0
    bands: Counter[int] = field(default_factory=Counter[int])
    clients: Counter[str] = field(default_factory=Counter[str])
    others: int = 0
    none: int = 0
    undated: int = 0
    near: dict[Why, list[Sighting]] = field(default_factory=dict[Why, list[Sighting]])

    def add(self, each: Sighting) -> None:
        """One more record."""
        self.records += 1
        if each.state is State.EXPIRED:
            self.collector.add(hash_of(self.key, each.id))
            self._count(each)
            self._keep(Why.OLDEST, each)
            self._keep(Why.YOUNGEST, each)
        elif each.state is State.LIVE:
            self._keep(Why.NEXT, each)
        else:
            self._keep(Why(f"stays, {_ODD[each.state]}"), each)

    def _count(self, each: Sighting) -> None:
        if each.dies is None:
            self.undated += 1
        else:
            self.bands[band_of(self.cutoff - each.dies)] += 1
        if each.client is None:
            self.none += 1
        elif each.client in self.clients or len(self.clients) < _MOST_CLIENTS:
            self.clients[each.client] += 1
        else:
            self.others += 1

    def _keep(self, why: Why, each: Sighting) -> None:
        kept = self.near.setdefault(why, [])
        kept.append(each)
        if len(kept) > 100 * max(1, self.sample):
            self.near[why] = _chosen(why, kept, self.sample)

    def outline(self, notes: list[str], *, complete: bool) -> Outline:
        """What it comes to. Not `complete`: no counts, and the nearest of what was read."""
        sample = sampled(self.near, self.sample, self.key)
        if not complete:
            if self.records:
                notes.append(f"the sample is the nearest of {self.records:,} records that were read")
            return Outline(sample=sample, notes=tuple(notes))
        if self.undated:
            notes.append(f"{self.undated:,} of the expired have no instant at which they died")
        bands = tuple(Band(over, upto, self.bands[number]) for number, (over, upto) in enumerate(BANDS))
        clients = None
        if self.clients:
            top = tuple(ClientCount(name, count) for name, count in self.clients.most_common(TOP_CLIENTS))
            rest = sum(self.clients.values()) - sum(each.count for each in top) + self.others
            clients = Clients(top, rest, self.none)
        return Outline(bands, clients, sample, tuple(notes))


_ODD = {State.WITHOUT_EXPIRY: "without expiry", State.UNPARSABLE: "unreadable"}


def _read(store: NamesRecords, target: Target, plan: Plan, budget: Budget, seen: _Seen, notes: list[str]) -> bool:
    """Take in every record; whether it came to an end."""
    try:
        with closing(store.sightings(target, plan.cutoff, budget.timeout)) as sightings:
            for each in sightings:
                seen.add(each)
                if seen.records >= budget.most:
                    if budget.everything:
                        notes.append(f"more than {budget.most:,} records, too many to name each")
                    return False
    except BatchTimeoutError:
        notes.append(f"too many records to read each within {budget.timeout.total_seconds():g} s")
        return False
    except StoreError as fault:
        notes.append(fault.problem)
        return False
    return True


def _by_line(
    store: Store, line: ShowsTheLine, target: Target, plan: Plan, key: bytes, budget: Budget, notes: list[str]
) -> Outline:
    ends = monotonic() + budget.timeout.total_seconds()
    found: list[Sighting] = []

    def left() -> timedelta:
        return timedelta(seconds=max(0.001, ends - monotonic()))

    def look(what: str, ask: Callable[[], Iterable[Sighting]]) -> None:
        try:
            found.extend(ask())
        except BatchTimeoutError:
            notes.append(f"{what}: not found in time")
        except StoreError as fault:
            if fault.problem not in notes:
                notes.append(fault.problem)

    look("the nearest records", lambda: line.nearest(target, plan.cutoff, budget.sample, left()))
    census = plan.census
    if census.without_expiry != 0 or census.unparsable != 0:
        look("records without a readable expiry", lambda: line.odd(target, plan.cutoff, budget.sample, left()))
    near: dict[Why, list[Sighting]] = {}
    for each in found:
        reasons = {
            State.EXPIRED: (Why.OLDEST, Why.YOUNGEST),
            State.LIVE: (Why.NEXT,),
            State.WITHOUT_EXPIRY: (Why.WITHOUT_EXPIRY,),
            State.UNPARSABLE: (Why.UNPARSABLE,),
        }
        for why in reasons[each.state]:
            near.setdefault(why, []).append(each)
    clients = None
    if target.client is not None:
        try:
            clients = line.by_client(target, plan.cutoff, TOP_CLIENTS, left())
        except BatchTimeoutError:
            notes.append("by client: not counted in time")
        except StoreError as fault:
            notes.append(f"by client: {fault.problem}")
    bands = _bands(store, target, plan, left, notes)
    return Outline(bands, clients, sampled(near, budget.sample, key), tuple(notes))


def _bands(
    store: Store, target: Target, plan: Plan, left: Callable[[], timedelta], notes: list[str]
) -> tuple[Band, ...]:
    """By a count a band, each of which keeps to the records that died within it."""
    if any(isinstance(guard, AgeGuard) for guard in target.guards):
        # Its guard moves with the cutoff, and so would what is counted.
        return ()
    found: list[Band] = []
    for over, upto in BANDS:
        begin = None if upto is None else plan.cutoff - upto
        if target.since is not None:
            begin = target.since if begin is None else max(begin, target.since)
        end = plan.cutoff - over
        count: int | None = 0
        if begin is None or begin < end:
            try:
                count = store.survivors(replace(target, since=begin), end, left())
            except StoreError:
                count = None
        if count is None:
            notes.append("by age: not counted in time")
            return ()
        found.append(Band(over, upto, count))
    return tuple(found)


def band_of(age: timedelta) -> int:
    """The number of the band that an age at the cutoff falls into."""
    return max(number for number, edge in enumerate(EDGES) if number == 0 or age > edge)


def sampled(near: dict[Why, list[Sighting]], count: int, key: bytes) -> tuple[Sampled, ...]:
    """The nearest of each sort, each record once, in the order of `Why`."""
    found: list[Sampled] = []
    done: set[str] = set()
    for why in Why:
        for each in _chosen(why, near.get(why, []), count):
            if each.id not in done:
                done.add(each.id)
                found.append(Sampled(shown(hash_of(key, each.id)), why, each.dies, each.client))
    return tuple(found)


def _chosen(why: Why, several: list[Sighting], count: int) -> list[Sighting]:
    dated = [each for each in several if each.dies is not None]
    match why:
        case Why.OLDEST | Why.NEXT:
            best = nsmallest(count, dated, key=_death)
        case Why.YOUNGEST:
            best = nlargest(count, dated, key=_death)
        case _:
            return several[:count]
    undated = [each for each in several if each.dies is None]
    return best or undated[:count]


def _death(each: Sighting) -> tuple[float, str]:
    return (each.dies.timestamp() if each.dies else 0.0, each.id)
