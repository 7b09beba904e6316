"""Many stores behind the protocol of one: each member of a target is looked at, counted and cleaned by itself.

Nothing is deleted here: every batch is one of a plain store, for one member, with all that it checks. What one member
or one server meets is told and keeps no other from being cleaned. Records are not named one by one, nor planted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic

from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.members import MemberTotals
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, Remains
from cleanup_pipeline.model.plan import Census, Finding, Shard, Work
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import AFTER_2100, Severity
from cleanup_pipeline.stores.base import (
    ChecksUp,
    ShowsLoad,
    SourceMissingError,
    Store,
    StoreError,
)
from cleanup_pipeline.stores.fleet.cleaning import Cleaning, is_gone
from cleanup_pipeline.stores.fleet.leasing import PlaceLeases
from cleanup_pipeline.stores.fleet.places import MEMBERS, Member, Opener, Places, pack
from cleanup_pipeline.stores.fleet.seen import Seen

STRATEGY = "members"
LARGEST_SKEW = timedelta(minutes=1)
MOST_CHECKED = 20
"""Members that `check` looks at; what is wrong with one of a kind is wrong with all."""


class Fleet:
    """All members of a target as one store. Connects on first use; not for use by several threads at once."""

    def __init__(self, config: StoreConfig, opener: Opener, base: Store | None = None) -> None:
        """`base` is the store of the only URL, where it is open already; it stays its owner's to close."""
        self.config = config
        self._places = Places(config, opener, base)
        self._leases = PlaceLeases(self._places)
        self._seen: dict[str, Seen] = {}
        self._cleaning = Cleaning(self._places, self._leases)

    def clock(self) -> datetime:
        """The earliest of the clocks of all servers that answer, so that no record is past its end by none of them."""
        clocks: list[datetime] = []
        starts: list[datetime] = []
        down: list[StoreError] = []
        for place in range(len(self._places)):
            try:
                clocks.append(self._places.base(place).clock())
                # They are read one after another, and one that does not answer takes its time.
                starts.append(clocks[-1] - timedelta(seconds=monotonic()))
            except StoreError as fault:
                down.append(fault)
        if not clocks:
            raise down[0]
        first = min(clocks)
        apart = max(starts) - min(starts)
        if apart > LARGEST_SKEW:
            last = first + apart
            raise StoreError(
                f"the clocks of its servers say {first:%Y-%m-%d %H:%M:%S} and {last:%Y-%m-%d %H:%M:%S} UTC",
                setting=f"stores.{self.config.name}",
                remedy="set them by NTP; nothing is deleted while they disagree by more than a minute",
            )
        return first

    def preflight(self, target: Target) -> Sequence[Finding]:
        seen = self._look_for(target)
        self._seen[target.name] = seen
        found: dict[str, tuple[Finding, list[Member]]] = {}
        for member in list(seen.members):
            if self._places.is_a_place_of(target, member):
                continue
            try:
                store, own = self._in(target, member)
                findings = store.preflight(own)
            except SourceMissingError:
                seen.members.remove(member)
                seen.missing.append(member)
                continue
            except StoreError as fault:
                seen.troubled.setdefault(member, fault)
                continue
            wrong = next((each for each in findings if each.severity is Severity.ERROR), None)
            if wrong is not None:
                place = f"targets.{target.name}[{self._places.name(member)}]"
                seen.troubled[member] = StoreError(wrong.what, setting=place, remedy=wrong.remedy or "see `check`")
                continue
            for each in findings:
                found.setdefault(each.code or each.what, (each, []))[1].append(member)
        if not seen.members:
            raise seen.nothing(target)
        if len(seen.troubled) == len(seen.members):
            raise next(iter(seen.troubled.values()))
        return [*seen.of_members(), *(seen.shared(each, of) for each, of in found.values())]

    def census(self, target: Target, cutoff: datetime, timeout: timedelta) -> Census:
        """The sum over the members, and a lower bound where the time did not do for all of them."""
        seen, ends = self._known(target), monotonic() + timeout.total_seconds()
        for member in seen.in_no_order(cutoff):
            left = ends - monotonic()
            if left <= 0:
                break
            try:
                store, own = self._in(target, member)
                seen.counts[member] = store.census(own, cutoff, timedelta(seconds=left))
            except SourceMissingError:
                continue
            except StoreError as fault:
                seen.troubled.setdefault(member, fault)
        counts = list(seen.counts.values())
        whole = len(counts) == len(seen.members) and not seen.down and all(each.exact for each in counts)
        if not counts:
            return Census()
        oldest = [each.oldest_expired for each in counts if each.oldest_expired is not None]
        late = sum(each.details.get(AFTER_2100, 0) for each in counts)
        return Census(
            live=_sum(each.live for each in counts),
            expired=_sum(each.expired for each in counts),
            without_expiry=_sum(each.without_expiry for each in counts),
            unparsable=_sum(each.unparsable for each in counts),
            oldest_expired=min(oldest, default=None),
            exact=whole,
            details={AFTER_2100: late} if late else {},
        )

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        seen = self._known(target)
        ranked = sorted(seen.members, key=seen.rank)
        ranked = [replace(member, suspect=member in seen.troubled) for member in ranked]
        # A place of which nothing is known is tried once more when its turn comes.
        ranked += [Member(place, suspect=True) for place in seen.down]
        count = max(1, min(target.max_shards, len(ranked)))
        marks = {"pull": 1} if getattr(target.expiry, "pull", None) else {}
        shards = tuple(
            Shard(index, {MEMBERS: pack(ranked[index::count]), **marks})
            for index in range(count)
            if ranked[index::count]
        )
        return Work(STRATEGY, seen.why(), shards, undated=self._undated(target, seen, cutoff))

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        return self._cleaning.delete_batch(target, shard, cursor, size, cutoff)

    def step_over(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, cutoff: datetime
    ) -> Cursor | None:
        return self._cleaning.step_over(target, shard, cutoff)

    def totals(self, target: Target, shard: Shard) -> MemberTotals | None:
        """What came of the members of a shard that this process cleans; None: it does not."""
        return self._cleaning.totals(target, shard)

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        seen, ends, total = self._known(target), monotonic() + timeout.total_seconds(), 0
        if seen.down:
            return None
        for member in seen.members:
            left = ends - monotonic()
            if left <= 0 or self._places.is_a_place_of(target, member):
                return None
            try:
                store, own = self._in(target, member)
                count = store.survivors(own, cutoff, timedelta(seconds=left))
            except SourceMissingError:
                continue
            except StoreError:
                if is_gone(store, own):
                    continue
                # Of what cannot be cleaned nobody knows how much is left; why, its shard has told.
                return None
            if count is None:
                return None
            total += count
        return total

    def remains(self, target: Target, cutoff: datetime, timeout: timedelta) -> Remains:
        seen, ends = self._known(target), monotonic() + timeout.total_seconds()
        found: list[Remains] = []
        unseen: StoreError | None = None
        for member in seen.members:
            left = ends - monotonic()
            if self._places.is_a_place_of(target, member):
                found.append(Remains(None, None, known=False))
                continue
            try:
                store, own = self._in(target, member)
                one = store.remains(own, cutoff, timedelta(seconds=left)) if left > 0 else None
            except SourceMissingError:
                continue
            except StoreError as fault:
                one, unseen = None, unseen or fault
            found.append(one or Remains(None, None, known=False))
        if unseen is not None:
            raise unseen
        oldest = min((each.oldest for each in found if each.oldest is not None), default=None)
        whole = all(each.known for each in found) and not seen.down
        count = None if seen.down else _sum(each.count for each in found)
        return Remains(count, oldest if whole else None, known=whole)

    def load(self) -> Load:
        """Of the server that the last batch was of."""
        store = self._places.base(self._cleaning.last)
        return store.load() if isinstance(store, ShowsLoad) else Load()

    def check_server(self) -> Sequence[Finding]:
        found: list[Finding] = []
        for place in range(len(self._places)):
            store = self._places.base(place)
            if isinstance(store, ChecksUp):
                for each in store.check_server():
                    what = each.what if len(self._places) == 1 else f"{self._places.where(place)}: {each.what}"
                    found.append(replace(each, what=what))
        return found

    def check_source(self, target: Target) -> Sequence[Finding]:
        seen = self._known(target)
        found: dict[str, tuple[Finding, list[Member]]] = {}
        for member in seen.members[:MOST_CHECKED]:
            store = self._places.store_of(member)
            if member not in seen.troubled and isinstance(store, ChecksUp):
                for each in store.check_source(self._places.target_of(target, member)):
                    found.setdefault(each.code or each.what, (each, []))[1].append(member)
        return [seen.shared(each, of) for each, of in found.values()]

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        return self._leases.acquire(target, lease)

    def renew(self, target: Target, lease: Lease) -> Lease:
        return self._leases.renew(target, lease)

    def release(self, target: Target, lease: Lease) -> None:
        self._leases.release(target, lease)

    def holders(self, target: Target) -> Sequence[Holder]:
        return self._leases.holders(target)

    def free(self, target: Target) -> int:
        return self._leases.free(target)

    def members(self, target: Target) -> Sequence[str]:
        """The names of all members, as the catalogs have them now. Raises UnavailableError where a server is away."""
        seen = self._look_for(target)
        if seen.down:
            raise next(iter(seen.down.values()))
        return [self._places.name(member) for member in seen.members]

    def close(self) -> None:
        self._places.close()

    def _look_for(self, target: Target) -> Seen:
        seen = Seen(self._places)
        for place in range(len(self._places)):
            try:
                seen.members += self._places.find(target, place, seen.troubled)
            except StoreError as fault:
                seen.down[place] = fault
        if seen.down and not seen.members:
            raise next(iter(seen.down.values()))
        return seen

    def _known(self, target: Target) -> Seen:
        if target.name not in self._seen:
            self._seen[target.name] = self._look_for(target)
        return self._seen[target.name]

    def _in(self, target: Target, member: Member) -> tuple[Store, Target]:
        """The plain store of a member, and the target as it is there."""
        return self._places.store_of(member), self._places.target_of(target, member)

    def _undated(self, target: Target, seen: Seen, cutoff: datetime) -> bool:
        for member in seen.members:
            if member not in seen.troubled:
                try:
                    store, own = self._in(target, member)
                    return store.plan(own, cutoff, Census()).undated
                except StoreError:
                    continue
        return False


def _sum(several: Iterable[int | None]) -> int | None:
    """None where one is unknown."""
    total = 0
    for each in several:
        if each is None:
            return None
        total += each
    return total
