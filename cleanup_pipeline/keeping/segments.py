"""Segments of the removal ledger: files of records, sorted by the hash of their identifier, that are never changed.

    CPRM1\\n, length of the header (u32, little-endian), header (JSON), ids, owners

`ids` is 28 bytes a record: hash of the identifier (12), expiry in epoch ms (i64, NO_EXPIRY: none), when it was removed
in epoch s (u32), which of the header's origins it has (u16), flags (u16). `owners` is 16 bytes for each record that has
one, sorted: hash of the owner (12), place of the record in `ids` (u32). The header has the places at which each first
byte of a hash begins, so that one is found by reading a 256th of either table.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cleanup_pipeline.keeping.places import DamagedError, Folder

MAGIC = b"CPRM1\n"
IDS = np.dtype([("id", "S12"), ("died", "<i8"), ("at", "<u4"), ("origin", "<u2"), ("flags", "<u2")])
OWNERS = np.dtype([("owner", "S12"), ("place", "<u4")])
NO_EXPIRY = -(2**63)
NOBODY = bytes(12)
"""In place of the hash of an owner, where a record has none."""
PERHAPS = 1
"""Flag: it went by the pass, or by somebody else at the same moment."""
_HEAD = struct.Struct("<I")
_FIRST_READ = 8192
_SLICE = 200_000
Ids = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a segment knows of one record."""

    died: int | None
    """Epoch ms."""
    at: int
    """Epoch s; when it was removed."""
    origin: Mapping[str, Any]
    perhaps: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Records in memory. `owners` has an empty hash for those without one."""

    ids: Ids
    owners: NDArray[np.bytes_]
    origins: tuple[Mapping[str, Any], ...]

    @property
    def size(self) -> int:
        """Records."""
        return len(self.ids)


def encode(table: Table, key: str, target: str, instead: Sequence[str] = ()) -> bytes:
    """The bytes of a segment. `instead`: the names of those in whose place it is."""
    order = np.argsort(table.ids["id"], kind="stable")
    ids, owners = table.ids[order], table.owners[order]
    with_owner = np.flatnonzero(owners != b"")
    index = np.zeros(len(with_owner), OWNERS)
    index["owner"], index["place"] = owners[with_owner], with_owner
    index = index[np.argsort(index["owner"], kind="stable")]
    header = {
        "key": key,
        "target": target,
        "origins": list(table.origins),
        "records": len(ids),
        "owners": len(index),
        "from": int(ids["at"].min()) if len(ids) else 0,
        "to": int(ids["at"].max()) if len(ids) else 0,
        "ids_at": _starts(ids["id"]),
        "owners_at": _starts(index["owner"]),
        "instead": list(instead),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((MAGIC, _HEAD.pack(len(text)), text, ids.tobytes(), index.tobytes()))


def _starts(hashes: NDArray[Any]) -> list[int]:
    firsts = np.frombuffer(np.ascontiguousarray(hashes).tobytes(), np.uint8)[:: hashes.dtype.itemsize]
    return [int(n) for n in np.searchsorted(firsts, np.arange(257))]


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment that is read in parts."""

    folder: Folder
    name: str
    header: Mapping[str, Any] = field(repr=False)
    start: int
    """Where `ids` begin."""

    @property
    def key(self) -> str:
        """The id of the key that it was written with."""
        return str(self.header["key"])

    @property
    def target(self) -> str:
        """Whose records it has."""
        return str(self.header["target"])

    @property
    def instead(self) -> frozenset[str]:
        """Names of segments that do not count any more: whoever wrote this one may not have come to removing them."""
        return frozenset(map(str, self.header.get("instead", ())))

    @property
    def records(self) -> int:
        """How many it has."""
        return int(self.header["records"])

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.start + self.records * IDS.itemsize + int(self.header["owners"]) * OWNERS.itemsize

    @property
    def first(self) -> int:
        """Epoch s; when the first of them was removed."""
        return int(self.header["from"])

    @property
    def last(self) -> int:
        """Epoch s; when the last of them was removed."""
        return int(self.header["to"])

    def by_id(self, digest: bytes) -> list[Entry]:
        """What is known of an identifier."""
        low, high = self.header["ids_at"][digest[0]], self.header["ids_at"][digest[0] + 1]
        ids = self._ids(low, high)
        return [self._entry(row) for row in ids[ids["id"] == digest.rstrip(b"\0")]]

    def by_owner(self, digest: bytes) -> list[Entry]:
        """What is known of an owner's records."""
        return [self._entry(self._ids(place, place + 1)[0]) for place in self.places(digest)]

    def places(self, digest: bytes) -> list[int]:
        """Places of an owner's records in `ids`."""
        low, high = self.header["owners_at"][digest[0]], self.header["owners_at"][digest[0] + 1]
        if low == high:
            return []
        begin = self.start + int(self.header["records"]) * IDS.itemsize
        index = self._rows(begin, low, high, OWNERS)
        return [int(place) for place in index["place"][index["owner"] == digest.rstrip(b"\0")]]

    def slices(self) -> Iterator[Ids]:
        """All records, some megabytes at a time."""
        for low in range(0, self.records, _SLICE):
            yield self._ids(low, min(self.records, low + _SLICE))

    def _ids(self, low: int, high: int) -> Ids:
        return np.zeros(0, IDS) if low == high else self._rows(self.start, low, high, IDS)

    def _rows(self, begin: int, low: int, high: int, kind: "np.dtype[Any]") -> NDArray[Any]:
        part = self.folder.read(self.name, begin + low * kind.itemsize, begin + high * kind.itemsize)
        if len(part) != (high - low) * kind.itemsize:
            raise DamagedError(f"a file in {self.folder.what} is not whole")
        return np.frombuffer(part, kind)

    def _entry(self, row: Any) -> Entry:
        died = int(row["died"])
        origin = self.header["origins"][int(row["origin"])]
        return Entry(None if died == NO_EXPIRY else died, int(row["at"]), origin, bool(int(row["flags"]) & PERHAPS))

    def table(self) -> Table:
        """All of it."""
        count, owned = int(self.header["records"]), int(self.header["owners"])
        data = self.folder.read(self.name, self.start)
        if len(data) != count * IDS.itemsize + owned * OWNERS.itemsize:
            raise DamagedError(f"a file in {self.folder.what} is not whole")
        ids = np.frombuffer(data, IDS, count)
        index = np.frombuffer(data, OWNERS, owned, count * IDS.itemsize)
        owners = np.zeros(count, "S12")
        if owned and index["place"].max() >= count:
            raise DamagedError(f"a file in {self.folder.what} is not what was written")
        owners[index["place"]] = index["owner"]
        return Table(ids, owners, tuple(self.header["origins"]))


def open_segment(folder: Folder, name: str) -> Segment:
    """The segment in a file, of which the header is read. Raises PlaceError."""
    data = folder.read(name, 0, _FIRST_READ)
    begin = len(MAGIC) + _HEAD.size
    if data[: len(MAGIC)] != MAGIC or len(data) < begin:
        raise DamagedError(f"a file in {folder.what} is no segment")
    (length,) = _HEAD.unpack_from(data, len(MAGIC))
    text = data[begin : begin + length] if len(data) >= begin + length else folder.read(name, begin, begin + length)
    try:
        segment = Segment(folder, name, json.loads(text), begin + length)
        places = (*segment.header["ids_at"], *segment.header["owners_at"])
        whole = len(places) == 2 * 257 and min(*places, segment.size, segment.first, segment.last) >= 0
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DamagedError(f"a file in {folder.what} is not whole")
    return segment


def merged(tables: Sequence[Table]) -> Table:
    """Several as one."""
    origins: list[Mapping[str, Any]] = []
    parts: list[Ids] = []
    for table in tables:
        ids = table.ids.copy()
        ids["origin"] += len(origins)
        origins += table.origins
        parts.append(ids)
    return Table(np.concatenate(parts), np.concatenate([table.owners for table in tables]), tuple(origins))


def without(table: Table, places: Iterable[int]) -> Table:
    """The table less some of its records."""
    keep = np.ones(table.size, bool)
    keep[list(places)] = False
    return Table(table.ids[keep], table.owners[keep], table.origins)
