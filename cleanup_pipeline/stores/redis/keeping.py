"""Keys that somebody is told of as they go, or that are kept before they go, and writing them again.

A key that is kept is read whole (DUMP) in the script that judges it, written away, and removed by another script while
its value and its TTL are still the same.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from redis.crc import key_slot

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.removed import Fate, Handover, Lot, PutBack, Removed
from cleanup_pipeline.model.target import (
    ElementsExpiry,
    HashFieldExpiry,
    JsonExpiry,
    KeySource,
    MembersExpiry,
    NativeTtl,
    PointerExpiry,
    ScoreExpiry,
    Target,
)
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.redis.connection import Client, in_cluster
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.leases import fence_of
from cleanup_pipeline.stores.redis.scripts import Argument, Call, load_script, run_scripts

KEYS_A_SCRIPT = 100
BYTES_A_SCRIPT = 4 * 2**20
"""Of dumps that one script makes or restores, as many as lua/prologue.lua reads in one. A larger one has its own."""
BYTES_A_BATCH = 4 * BYTES_A_SCRIPT
"""Of dumps behind which a batch ends: they are in memory until they are written away."""
FORM = {"store": "redis"}
_TTL = struct.Struct("<q")
_NO_TTL = -1
"""A body is the instant at which the key ends by its TTL, the length of the key, the key, and its DUMP."""
_LENGTH = struct.Struct("<I")
_REFUSALS = {
    "version": "the server does not take a DUMP of another version",
    "memory": "the server is out of memory (maxmemory); raise it or free some, then run undo again",
    "other": "RESTORE failed for neither version nor memory: see whether the login may run it, and the server's log",
}
"""Why lua/put_back.lua did not put a key back."""
_SIZE, _INSTANT = struct.Struct(">I"), struct.Struct(">d")
"""As lua/loop.lua packs them."""


class _Waiting(NamedTuple):
    """A dead key that was read and is still there. A tuple: there are a million of them in a pass."""

    key: bytes
    died: int | None
    owner: bytes
    ends: bytes
    """As the script wrote it."""
    dump: bytes

    def __repr__(self) -> str:
        return f"_Waiting({len(self.dump)} bytes)"


@dataclass(slots=True)
class Kept:
    """What one batch hands over. Keys that wait count as removed until `take` knows better."""

    client: Client
    target: Target
    handover: Handover
    waiting: list[_Waiting] = field(default_factory=list[_Waiting])
    _bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether the batch is to end with what it has."""
        return self._bytes >= BYTES_A_BATCH

    @property
    def mode(self) -> str:
        """What the script that judges does with a dead key; see lua/prologue.lua."""
        return "keep" if self.handover.whole else "tell"

    def hear(self, told: Sequence[bytes], counts: Counts) -> None:
        """What such a script said: the sizes of its words, the words, and when each key died."""
        sizes, joined, deaths = told
        if not deaths:
            return
        with self.handover.aside():
            words = _cut(sizes, joined)
            died = [None if at < 0 else int(at) for (at,) in _INSTANT.iter_unpack(deaths)]
            if not self.handover.whole:
                lot = Lot([Removed(*each) for each in zip(words[::2], words[1::2], died, strict=True)])
        if not self.handover.whole:
            self.handover.gone(lot)
            return
        for key, owner, ends, dump, at in zip(words[::4], words[1::4], words[2::4], words[3::4], died, strict=True):
            # Its TTL ran out in the middle of the script.
            if dump:
                self.add(key, at, owner, ends, dump, counts)

    def add(self, key: bytes, died: int | None, owner: bytes, ends: bytes, dump: bytes, counts: Counts) -> None:
        """A dead key that is to be kept, as it was judged."""
        self.waiting.append(_Waiting(key, died, owner, ends, dump))
        self._bytes += len(dump)
        counts.deleted += 1

    def forget(self, counts: Counts) -> None:
        """What waits stays where it is."""
        counts.deleted -= len(self.waiting)
        self.waiting = []

    def take(self, counts: Counts) -> None:
        """Have what waits written away, then remove what is still the same. Raises RedisError, StoreError."""
        if not self.waiting:
            return
        with self.handover.aside():
            lot = Lot([Removed(w.key, w.owner, w.died, _body(w)) for w in self.waiting], (FORM,))
        if self.handover.whole:
            self.handover.hold(lot)
        which: list[int] = []
        unsure: list[int] = []
        script = load_script("fence", "take")
        groups = _groups(self.client, [(w.key, len(w.dump)) for w in self.waiting])
        try:
            for group in groups:
                keys, unsure = [self.waiting[n].key for n in group], group
                digests = [hashlib.sha1(self.waiting[n].dump, usedforsecurity=False).hexdigest() for n in group]
                words: list[Argument] = ["".join(digests), b" ".join(self.waiting[n].ends or b"-" for n in group)]
                [numbers] = run_scripts(
                    self.client, script, [Call(keys, words)], fence=fence_of(self.client, self.target)
                )
                which += [group[int(number) - 1] for number in numbers]
                unsure = []
                counts.largest = max(counts.largest, len(numbers))
        finally:
            stayed = len(self.waiting) - len(which)
            counts.deleted -= stayed
            counts.expired -= stayed
            counts.live += stayed
            self.waiting = []
            self.handover.gone(lot, which, perhaps=unsure)


def _cut(sizes: bytes, joined: bytes) -> list[bytes]:
    ends = list(accumulate(size for (size,) in _SIZE.iter_unpack(sizes)))
    return [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _body(waiting: _Waiting) -> bytes:
    ends = int(waiting.ends) if waiting.ends else _NO_TTL
    return b"".join((_TTL.pack(ends), _LENGTH.pack(len(waiting.key)), waiting.key, waiting.dump))


def _read(body: bytes) -> tuple[bytes, int | None, bytes]:
    """Key, the instant at which it ends, and its DUMP."""
    (ends,) = _TTL.unpack_from(body)
    (length,) = _LENGTH.unpack_from(body, _TTL.size)
    start = _TTL.size + _LENGTH.size
    return body[start : start + length], None if ends == _NO_TTL else ends, body[start + length :]


def _groups(client: Client, sizes: Sequence[tuple[bytes, int]]) -> list[list[int]]:
    """The numbers of keys, of which the bytes of their dumps are given, in parts that one script may have."""
    groups: list[list[int]] = []
    last: dict[int, tuple[list[int], int]] = {}
    cluster = in_cluster(client)
    for number, (key, size) in enumerate(sizes):
        slot = key_slot(key) if cluster else 0
        group, total = last.get(slot, ([], 0))
        if not group or len(group) == KEYS_A_SCRIPT or total + size > BYTES_A_SCRIPT:
            group, total = [], 0
            groups.append(group)
        group.append(number)
        last[slot] = group, total + size
    return groups


def put_back(client: Client, target: Target, lot: Lot, *, dry_run: bool) -> PutBack:
    """`PutsBack.put_back`. A TTL goes on as if it had never stopped: RESTORE with ABSTTL."""
    read = [_read(record.body) for record in lot.records]
    fates, reasons = [Fate.LEFT] * len(read), dict[str, None]()
    script = load_script("fence", "put_back")
    for group in _groups(client, [(key, len(dump)) for key, _, dump in read]):
        words: list[Argument] = ["look" if dry_run else "write"]
        for n in group:
            _, ends, dump = read[n]
            words += [0 if ends is None else ends, dump]
        call = Call([read[n][0] for n in group], words)
        [answers] = run_scripts(client, script, [call], fence=fence_of(client, target))
        for n, answer in zip(group, answers, strict=True):
            word = bytes(answer).decode()
            fates[n] = Fate.REFUSED if word in _REFUSALS else Fate(word)
            if word in _REFUSALS:
                reasons[_REFUSALS[word]] = None
    return PutBack(tuple(fates), tuple(reasons))


def findings(client: Client, target: Target) -> list[Finding]:
    """What forbids telling of a target's keys, or keeping them."""
    if not (target.removals or target.quarantine):
        return []
    told: list[str] = []
    expiry = target.expiry
    if isinstance(expiry, MembersExpiry | ScoreExpiry | ElementsExpiry):
        told.append("its records are members of keys, which are not removed key by key")
    if isinstance(expiry, PointerExpiry):
        if target.quarantine:
            told.append("a pointer dies with another key, so that one that is put back would point nowhere")
        if in_cluster(client):
            told.append("pointers in a cluster are removed by a script that names none")
    if target.identifier is not None:
        told.append("keys are asked for by their own name; leave out identifier")
    # Of keys that go by their TTL alone nobody knows what is in them, but a string may be JSON.
    key_type = target.source.key_type if isinstance(target.source, KeySource) else ""
    by_ttl = isinstance(expiry, NativeTtl) and key_type == "string"
    readable = key_type == "hash" or by_ttl or isinstance(expiry, JsonExpiry | HashFieldExpiry)
    if target.owner is not None and not readable:
        told.append("an owner is read from a hash's field or from JSON, which these keys are not")
    place = f"targets.{target.name}"
    remedy = f"leave it out of {place}"
    return [Finding(Severity.ERROR, f"cannot keep what goes: {what}", remedy, code="redis.keeping") for what in told]
