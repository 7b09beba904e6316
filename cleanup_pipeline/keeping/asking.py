"""Asking the removal ledger, erasing from it, and keeping it within its bounds."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from cleanup_pipeline.keeping import hashing
from cleanup_pipeline.keeping.places import HALF, Folder, GoneError
from cleanup_pipeline.keeping.removals import MARKER, SEGMENT
from cleanup_pipeline.keeping.segments import Entry, Segment, Table, encode, merged, open_segment, without
from cleanup_pipeline.model.secret_keys import SecretKey

MOST_RECORDS = 2_000_000
"""Of one segment that was merged; about 100 MB in memory."""
_ATTEMPTS = 5
_BOUND = "bounds.json"
_MADE = re.compile(r"/(\d{13})[-~]")


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


@dataclass(frozen=True, slots=True)
class Asking:
    """A removal ledger and the keys that there are. Methods raise PlaceError."""

    folder: Folder
    keys: Sequence[SecretKey] = field(default=(), repr=False)

    def by_id(self, target: str, identifier: str) -> Answer:
        """Where a record of a target has gone."""
        digests = {key.id: hashing.of_records(key, target)(identifier.encode()) for key in self.keys}
        return self._ask(target, digests, by_owner=False)

    def by_owner(self, target: str, owner: str) -> Answer:
        """Where an owner's records in a target have gone."""
        digests = {key.id: hashing.of_owners(key)(owner.encode()) for key in self.keys}
        return self._ask(target, digests, by_owner=True)

    def _ask(self, target: str, digests: dict[str, bytes], *, by_owner: bool) -> Answer:
        # Segments may be merged meanwhile: what was in them is then in another one, which was not looked at.
        for _ in range(_ATTEMPTS - 1):
            with suppress(GoneError):
                return self._look(target, digests, by_owner=by_owner)
        return self._look(target, digests, by_owner=by_owner)

    def _look(self, target: str, digests: dict[str, bytes], *, by_owner: bool) -> Answer:
        entries: list[Entry] = []
        lost: dict[str, None] = {}
        first: int | None = None
        for segment in self._segments(target):
            begins = int(segment.header["from"])
            first = begins if first is None else min(first, begins)
            digest = digests.get(segment.key)
            if digest is None:
                lost[segment.key] = None
                continue
            entries += segment.by_owner(digest) if by_owner else segment.by_id(digest)
        entries.sort(key=lambda entry: -entry.at)
        bound = self._bound(target)
        since = None if first is None else datetime.fromtimestamp(first, UTC)
        return Answer(
            tuple(entries),
            max((each for each in (since, bound) if each), default=None),
            self.cut_off(target),
            tuple(lost),
        )

    def cut_off(self, target: str) -> tuple[CutOff, ...]:
        """Shards of a target of which something may be missing, or that are at it now."""
        found = []
        for stored in self.folder.list(target):
            if stored.name.endswith(MARKER):
                # A marker goes with the end of its shard.
                with suppress(GoneError):
                    about = json.loads(self.folder.read(stored.name))
                    found.append(CutOff(about["run"], datetime.fromtimestamp(about["began"], UTC), stored.name))
        return tuple(found)

    def forget(self, owner: str) -> Erased:
        """Erase an owner's entries in all targets: each segment that has some is written anew without them."""
        with self.folder.alone():
            return self._forget(owner)

    def _forget(self, owner: str) -> Erased:
        erased: list[bytes] = []
        lost: dict[str, None] = {}
        for target in self.targets():
            for segment in list(self._segments(target)):
                key = next((each for each in self.keys if each.id == segment.key), None)
                if key is None:
                    lost[segment.key] = None
                    continue
                erased += self._erase(segment, hashing.of_owners(key)(owner.encode()))
        return Erased(len(erased), hashlib.sha256(b"".join(sorted(erased))).hexdigest(), tuple(lost))

    def _erase(self, segment: Segment, digest: bytes) -> list[bytes]:
        places = segment.places(digest)
        if not places:
            return []
        table = segment.table()
        self._replace([segment], without(table, places))
        return [table.ids[place].tobytes() + digest for place in places]

    def targets(self) -> list[str]:
        """Those of which anything is there."""
        return sorted({stored.name.partition("/")[0] for stored in self.folder.list() if "/" in stored.name})

    def prune(self, keep: timedelta, at_most: int, now: datetime) -> tuple[int, int]:
        """Remove segments all of which is older than `keep`, then the oldest until the rest takes `at_most` bytes, and
        merge small ones; how many records and how many bytes went."""
        with self.folder.alone():
            return self._prune(keep, at_most, now)

    def _prune(self, keep: timedelta, at_most: int, now: datetime) -> tuple[int, int]:
        sizes = {stored.name: stored.size for stored in self.folder.list()}
        segments = sorted(
            (segment for target in self.targets() for segment in self._segments(target)),
            key=lambda segment: int(segment.header["to"]),
        )
        used = sum(sizes.values())
        limit = (now - keep).timestamp()
        records = freed = 0
        for segment in segments:
            if int(segment.header["to"]) >= limit and used <= at_most:
                break
            self._set_bound(str(segment.header["target"]), int(segment.header["to"]) + 1)
            self.folder.remove(segment.name)
            records += int(segment.header["records"])
            freed += sizes.get(segment.name, 0)
            used -= sizes.get(segment.name, 0)
        for name in (name for name in sizes if _is_left(name, now)):
            self.folder.remove(name)
        for name in (name for name in sizes if name.endswith(MARKER)):
            with suppress(GoneError):
                if json.loads(self.folder.read(name))["began"] < limit:
                    self.folder.remove(name)
        for target in self.targets():
            self._merge(target)
        return records, freed

    def _merge(self, target: str) -> None:
        """As one what was written with one key, up to MOST_RECORDS, so that a question opens few files."""
        groups: dict[str, list[Segment]] = defaultdict(list)
        for segment in sorted(self._segments(target), key=lambda each: int(each.header["from"])):
            groups[segment.key].append(segment)
        for several in groups.values():
            together: list[Segment] = []
            for segment in several:
                size = sum(int(each.header["records"]) for each in together) + int(segment.header["records"])
                origins = sum(len(each.header["origins"]) for each in (*together, segment))
                if together and (size > MOST_RECORDS or origins > np.iinfo(np.uint16).max):
                    self._merge_these(together)
                    together = []
                together.append(segment)
            self._merge_these(together)

    def _merge_these(self, several: Sequence[Segment]) -> None:
        if len(several) > 1:
            self._replace(several, merged([segment.table() for segment in several]))

    def _replace(self, several: Sequence[Segment], table: Table) -> None:
        """Write first, then remove: in between, a record is found twice, never not at all."""
        first = several[0]
        if table.size:
            stem = first.name.removesuffix(SEGMENT)
            data = encode(table, first.key, str(first.header["target"]))
            name = f"{stem.partition('~')[0]}~{hashlib.sha256(data).hexdigest()[:8]}{SEGMENT}"
            self.folder.write(name, data)
            several = [segment for segment in several if segment.name != name]
        for segment in several:
            self.folder.remove(segment.name)

    def _segments(self, target: str) -> Iterator[Segment]:
        for stored in list(self.folder.list(target)):
            if stored.name.endswith(SEGMENT):
                yield open_segment(self.folder, stored.name)

    def _bound(self, target: str) -> datetime | None:
        """Up to when entries of a target were removed by `prune`; None: never."""
        try:
            at = json.loads(self.folder.read(f"{target}/{_BOUND}"))["until"]
        except GoneError:
            return None
        return datetime.fromtimestamp(at, UTC)

    def _set_bound(self, target: str, until: int) -> None:
        self.folder.write(f"{target}/{_BOUND}", json.dumps({"until": until}).encode())


def _is_left(name: str, now: datetime) -> bool:
    """Whether a file is half of one, by somebody who was killed: its name begins with when it was made."""
    begun = _MADE.search(name)
    made = 0 if begun is None else int(begun[1]) / 1000
    return name.endswith(HALF) and made < (now - timedelta(days=1)).timestamp()
