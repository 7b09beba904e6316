"""What a plan covers, without the identifiers of its records: keyed hashes, by which each can be known again.

HMAC-SHA-256 (RFC 2104), of which the first 64 bits are kept. Of more records than MOST it keeps those with the smallest
hashes, which are a sample at random: a bottom-k sketch (Cohen and Kaplan, "Summarizing data using bottom-k sketches",
PODC 2007).
"""

import hmac
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappush, heapreplace

MOST = 200_000
"""Hashes that a plan keeps of a target: 1.6 MB."""
_BYTES = 8


def hash_of(key: bytes, identifier: str) -> int:
    """The 64 bits that stand for a record."""
    digest = hmac.digest(key, identifier.encode("utf-8", "surrogateescape"), "sha256")
    return int.from_bytes(digest[:_BYTES])


def shown(hashed: int) -> str:
    """As 16 hexadecimal digits."""
    return f"{hashed:016x}"


def key_id(key: bytes) -> str:
    """What tells one key from another, and says nothing of it."""
    return hmac.digest(key, b"cleanup-pipeline: which key is this", "sha256")[:4].hex()


@dataclass(frozen=True, slots=True)
class Cover:
    """The expired records of a target when it was planned."""

    packed: bytes = field(repr=False)
    """Their hashes, 8 bytes each, rising."""
    records: int
    """How many there were; more than hashes where it is a sample."""

    @property
    def whole(self) -> bool:
        """Whether every record is among the hashes."""
        return len(self) == self.records

    def __len__(self) -> int:
        return len(self.packed) // _BYTES

    def numbers(self) -> "array[int]":
        """The hashes, rising."""
        return _swapped(array("Q", self.packed))


def _swapped(numbers: "array[int]") -> "array[int]":
    """From the machine's order of bytes to that of the network, or back: a ledger may be shared."""
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


class Collector:
    """Takes in the records that a plan covers, one by one, in bounded memory."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._largest_first: list[int] = []
        self._kept: set[int] = set()
        self.records = 0

    def add(self, hashed: int) -> None:
        """One more record. One that is kept already, as the store named it twice, counts once."""
        if hashed in self._kept:
            return
        self.records += 1
        if len(self._kept) < self._most:
            self._kept.add(hashed)
            heappush(self._largest_first, -hashed)
        elif hashed < -self._largest_first[0]:
            self._kept.remove(-heapreplace(self._largest_first, -hashed))
            self._kept.add(hashed)

    def cover(self) -> Cover:
        """All of it."""
        return Cover(_swapped(array("Q", sorted(self._kept))).tobytes(), self.records)


class Follower:
    """Meets the records of a target again, one by one, and says which of them a plan covers."""

    def __init__(self, cover: Cover) -> None:
        self.cover = cover
        self._numbers = cover.numbers()
        self._limit = self._numbers[-1] if self._numbers and not cover.whole else None
        self.there: set[int] = set()
        self.revived: set[int] = set()
        self.arrived: set[int] = set()

    def meet(self, hashed: int, *, expired: bool) -> bool:
        """One record as it is now. True: it is expired, and the plan does not cover it."""
        if self._limit is not None and hashed > self._limit:
            return False
        if self._covers(hashed):
            (self.there if expired else self.revived).add(hashed)
            return False
        if expired:
            self.arrived.add(hashed)
        return expired

    def _covers(self, hashed: int) -> bool:
        place = bisect_left(self._numbers, hashed)
        return place < len(self._numbers) and self._numbers[place] == hashed

    def counts(self) -> tuple[int, int, int, int]:
        """There, gone, revived and arrived; scaled up where the cover is a sample."""
        revived = len(self.revived - self.there)
        gone = len(self.cover) - len(self.there) - revived
        scale = 1.0 if self.cover.whole else self.cover.records / max(1, len(self.cover))
        there, revived, arrived = (round(n * scale) for n in (len(self.there), revived, len(self.arrived)))
        return there, max(0, self.cover.records - there - revived) if gone else 0, revived, arrived


def hashes(key: bytes, identifiers: Iterable[str]) -> list[str]:
    """For people: of each identifier what a plan shows for it."""
    return [shown(hash_of(key, each)) for each in identifiers]
