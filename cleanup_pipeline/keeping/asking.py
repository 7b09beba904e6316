"""Asking the removal ledger, erasing from it, and keeping it within its bounds."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cleanup_pipeline.keeping import bounds, hashing
from cleanup_pipeline.keeping.markers import MARKER, about_marker, is_under_way
from cleanup_pipeline.keeping.places import Folder, GoneError, PlaceError
from cleanup_pipeline.keeping.segments import Entry, Segment, open_segment, without
from cleanup_pipeline.model.secret_keys import SecretKey

_ATTEMPTS = 5
_Found = TypeVar("_Found")
_ID, _OWNER = "id", "owner"
_DIGEST = rf"[^=,]+=[0-9a-f]{{{2 * hashing.LENGTH}}}"
_HASH = re.compile(rf"({_ID}:(?P<target>\w+)|{_OWNER}):(?P<digests>{_DIGEST}(,{_DIGEST})*)")


@dataclass(frozen=True, slots=True)
class CutOff:
    """A shard that did not say that all it removed is written down."""

    run: str
    began: datetime
    name: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the removal ledger knows."""

    entries: tuple[Entry, ...]
    """The latest first."""
    since: datetime | None
    """Nothing that was removed before is in it. None: nothing is in it at all."""
    cut_off: tuple[CutOff, ...] = ()
    lost_keys: tuple[str, ...] = ()
    """Ids of keys that segments were written with and that are not set: those could not be searched."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, and the proof of it."""

    records: int
    digest: str
    """SHA-256 over the entries that went, in hexadecimal; of nothing, for none."""
    lost_keys: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    """Runs that are under way: what they have in memory is not erased."""
    faults: tuple[str, ...] = ()
    """Files that could not be searched, each with why."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A removal ledger and the keys that there are. Methods raise PlaceError."""

    folder: Folder
    keys: Sequence[SecretKey] = field(default=(), repr=False)

    def by_id(self, target: str, identifier: str) -> Answer:
        """Where a record of a target has gone."""
        return self._ask(target, self._of_id(target, identifier), by_owner=False)

    def by_owner(self, target: str, owner: str) -> Answer:
        """Where an owner's records in a target have gone."""
        return self._ask(target, self._of_owner(owner), by_owner=True)

    def hash_of_id(self, target: str, identifier: str) -> str:
        """What `by_hash` takes for a record of a target: no secret, but still only for who may know of the record."""
        return _hash(f"{_ID}:{target}", self._of_id(target, identifier))

    def hash_of_owner(self, owner: str) -> str:
        """The same for an owner, alike for all targets."""
        return _hash(_OWNER, self._of_owner(owner))

    def by_hash(self, target: str, text: str) -> Answer:
        """Where the record or the owner's records have gone that a hash is of. Raises ValueError: it is none."""
        match = _HASH.fullmatch("".join(text.split()))
        if match is None:
            raise ValueError("not a hash that `cleanup-pipeline why --hash` printed")
        if match["target"] not in {None, target}:
            raise ValueError(f"it is the hash of a record of {match['target']}, not of {target}")
        pairs = [each.partition("=") for each in match["digests"].split(",")]
        digests = {key: bytes.fromhex(digest) for key, _, digest in pairs}
        return self._ask(target, digests, by_owner=match["target"] is None)

    def _of_id(self, target: str, identifier: str) -> dict[str, bytes]:
        return {key.id: hashing.of_records(key, target)(identifier.encode()) for key in self.keys}

    def _of_owner(self, owner: str) -> dict[str, bytes]:
        return {key.id: hashing.of_owners(key)(owner.encode()) for key in self.keys}

    def _ask(self, target: str, digests: dict[str, bytes], *, by_owner: bool) -> Answer:
        return until_whole(lambda: self._look(target, digests, by_owner=by_owner))

    def _look(self, target: str, digests: dict[str, bytes], *, by_owner: bool) -> Answer:
        entries: list[Entry] = []
        lost: dict[str, None] = {}
        first: int | None = None
        for segment in bounds.segments(self.folder, target):
            first = segment.first if first is None else min(first, segment.first)
            digest = digests.get(segment.key)
            if digest is None:
                lost[segment.key] = None
                continue
            entries += segment.by_owner(digest) if by_owner else segment.by_id(digest)
        entries.sort(key=lambda entry: -entry.at)
        return Answer(tuple(entries), self.since(target, first), self.cut_off(target), tuple(lost))

    def since(self, target: str, first: int | None) -> datetime | None:
        """Before when nothing that was removed is known, if the first known removal was at `first` (epoch s)."""
        known = None if first is None else datetime.fromtimestamp(first, UTC)
        return max((each for each in (known, bounds.bound(self.folder, target)) if each), default=None)

    def cut_off(self, target: str) -> tuple[CutOff, ...]:
        """Shards of a target of which something may be missing, or that are at it now."""
        found = []
        for stored in self.folder.list(target):
            if stored.name.endswith(MARKER):
                # A marker goes with the end of its shard.
                with suppress(GoneError):
                    about = about_marker(self.folder, stored.name)
                    found.append(CutOff(about["run"], datetime.fromtimestamp(about["began"], UTC), stored.name))
        return tuple(found)

    def forget(self, owner: str) -> Erased:
        """Erase an owner's entries in all targets: each segment that has some is written anew without them."""
        with self.folder.alone():
            return self._forget(owner)

    def _forget(self, owner: str) -> Erased:
        # Looked at first: what a shard enters that begins or ends meanwhile went after this was asked for.
        busy, faults = self._busy()
        erased: list[bytes] = []
        lost: dict[str, None] = {}
        for target in bounds.targets(self.folder):
            bounds.tidy(self.folder, target)
            for name in bounds.names(self.folder, target):
                try:
                    segment = open_segment(self.folder, name)
                    key = next((each for each in self.keys if each.id == segment.key), None)
                    if key is None:
                        lost[segment.key] = None
                    else:
                        erased += self._erase(segment, hashing.of_owners(key)(owner.encode()))
                except PlaceError as fault:
                    faults.append(f"{name}: {fault}")
        digest = hashlib.sha256(b"".join(sorted(erased))).hexdigest()
        return Erased(len(erased), digest, tuple(lost), tuple(busy), tuple(faults))

    def _busy(self) -> tuple[dict[str, None], list[str]]:
        busy, faults = dict[str, None](), list[str]()
        for stored in list(self.folder.list()):
            if stored.name.endswith(MARKER):
                try:
                    if is_under_way(self.folder, stored.name):
                        busy[about_marker(self.folder, stored.name)["run"]] = None
                except GoneError:
                    continue
                except PlaceError as fault:
                    faults.append(f"{stored.name}: {fault}")
        return busy, faults

    def _erase(self, segment: Segment, digest: bytes) -> list[bytes]:
        places = segment.places(digest)
        if not places:
            return []
        table = segment.table()
        bounds.replace(self.folder, [segment], without(table, places))
        return [table.ids[place].tobytes() + digest for place in places]

    def prune(self, keep: timedelta, at_most: int, now: datetime) -> tuple[int, int]:
        """Remove entries that are older than `keep`, then the oldest until the rest takes `at_most` bytes, and merge
        small segments; how many records and how many bytes went."""
        with self.folder.alone():
            return bounds.prune(self.folder, keep, at_most, now)


def until_whole(look: Callable[[], _Found]) -> _Found:
    """A look at all segments: those that are merged meanwhile are in another one then, which was not looked at."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(GoneError):
            return look()
    return look()


def _hash(kind: str, digests: Mapping[str, bytes]) -> str:
    return f"{kind}:" + ",".join(f"{key}={digest.hex()}" for key, digest in digests.items())
