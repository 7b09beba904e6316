"""Writing the removal ledger: what a shard removed, as segments, and a marker for as long as it is not all written."""

import secrets
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

import numpy as np

from cleanup_pipeline.keeping import hashing
from cleanup_pipeline.keeping.markers import MARKER, Marker
from cleanup_pipeline.keeping.places import LOOKS, Folder, PlaceError
from cleanup_pipeline.keeping.segments import IDS, NO_EXPIRY, NOBODY, OWNERS, PERHAPS, Table, encode
from cleanup_pipeline.model.removed import Lot
from cleanup_pipeline.model.secret_keys import SecretKey

AT_ONCE = 65_536
"""Records of one segment, which are in memory until it is written."""
LATEST_SECONDS = 10.0
"""How long a record may be in memory alone."""
SEGMENT = ".removed"
_MOST_OWNERS = 20_000
BATCH_BYTES = 1000 * (IDS.itemsize + OWNERS.itemsize) + 4096
"""Of the entries of one batch, with a header: the least room with which a batch may go."""


@dataclass(slots=True)
class RemovalWriter:
    """The entries of one shard. `origin` is what is the same for all of them: run, pass, kind, rule, shard."""

    folder: Folder
    key: SecretKey
    target: str
    origin: Mapping[str, Any]
    at_most: int
    """Bytes that the folder may come to."""
    records: int = 0
    """That were told."""
    lost: int = 0
    """That were told and are not written."""
    size: int = 0
    """Bytes that were written."""
    fault: str | None = None
    _used: int = 0
    _seen: int = 0
    """Of what was written or is in memory, in bytes, when it was looked how much is used."""
    _marker: Marker | None = field(default=None, repr=False)
    _ids: bytearray = field(default_factory=bytearray, repr=False)
    _owners: bytearray = field(default_factory=bytearray, repr=False)
    _died: "array[int]" = field(default_factory=lambda: array("q"), repr=False)
    _at: "array[int]" = field(default_factory=lambda: array("I"), repr=False)
    _flags: "array[int]" = field(default_factory=lambda: array("H"), repr=False)
    _owner_hashes: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes], repr=False)
    _oldest: float = 0.0

    def begin(self) -> None:
        """Say that entries will come: until `close`, some of them may be missing. Raises PlaceError."""
        self._used = self.folder.used()
        self._refuse_full(BATCH_BYTES)
        self._marker = Marker(self.folder, f"{self.target}/{self._name()}{MARKER}", self.origin)
        self._marker.begin()

    def add(self, lot: Lot, which: Sequence[int] | None, perhaps: Sequence[int]) -> None:
        """Enter what went. Does not raise: the fault is in `fault`, for whoever asks before the next batch."""
        # As often as not every record is the target's own and went.
        chosen = lot.records if which is None else [lot.records[n] for n in which]
        mine = chosen if len(lot.forms) == 1 else [record for record in chosen if record.form == 0]
        unsure = [lot.records[n] for n in perhaps if lot.records[n].form == 0]
        if not mine and not unsure:
            return
        if not self._at:
            self._oldest = monotonic()
        of_record = hashing.of_records(self.key, self.target)
        several = [*mine, *unsure] if unsure else mine
        self._ids += b"".join([of_record(record[0]) for record in several])
        self._owners += b"".join([self._of_owner(record[1]) if record[1] else NOBODY for record in several])
        self._died.extend([NO_EXPIRY if record[2] is None else record[2] for record in several])
        self._at.extend([int(time())] * len(several))
        self._flags.extend([0] * len(mine) + [PERHAPS] * len(unsure))
        self.records += len(several)
        due = len(self._at) * (IDS.itemsize + OWNERS.itemsize) + BATCH_BYTES
        self._look(due)
        full = self._used + due > self.at_most
        if full or len(self._at) >= AT_ONCE or monotonic() - self._oldest > LATEST_SECONDS:
            self.flush()
        if full and self.fault is None and self._used + BATCH_BYTES > self.at_most:
            # What went is written; the next batch would not be.
            self.fault = self._full()

    def flush(self) -> None:
        """Write what is in memory."""
        count = len(self._at)
        if not count:
            return
        try:
            data = encode(self._table(), self.key.id, self.target)
            self._refuse_full(len(data))
            if self._marker is not None:
                self._marker.go_on()
            self.folder.write(f"{self.target}/{self._name()}{SEGMENT}", data)
            self._used += len(data)
            self.size += len(data)
        except PlaceError as fault:
            self.fault = str(fault)
            self.lost += count
        del self._ids[:], self._owners[:], self._died[:], self._at[:], self._flags[:]

    def close(self, uncertain: int = 0) -> None:
        """Write what is left. The marker goes if nothing is missing.

        `uncertain` records may have been removed besides by batches whose answer was lost.
        """
        self.flush()
        if self._marker is None:
            return
        if self.fault is None and uncertain == 0:
            try:
                self._marker.remove()
            except PlaceError as fault:
                self.fault = str(fault)
        self._marker.release()

    def _look(self, due: int) -> None:
        # Others write there, too.
        if self._used + due > self.at_most or self.size + due - self._seen > self.at_most // LOOKS:
            try:
                self._used, self._seen = self.folder.used(), self.size + due
            except PlaceError as fault:
                self.fault = str(fault)

    def _refuse_full(self, more: int) -> None:
        if self._used + more > self.at_most:
            raise PlaceError(self._full())

    def _full(self) -> str:
        return f"{self.folder.what} is full: {self._used:,} of {self.at_most:,} bytes"

    def _of_owner(self, owner: bytes) -> bytes:
        found = self._owner_hashes.get(owner)
        if found is None:
            if len(self._owner_hashes) >= _MOST_OWNERS:
                self._owner_hashes.clear()
            found = self._owner_hashes[owner] = hashing.of_owners(self.key)(owner)
        return found

    def _table(self) -> Table:
        ids = np.zeros(len(self._at), IDS)
        ids["id"] = np.frombuffer(bytes(self._ids), IDS["id"])
        # Views of what will be emptied would forbid it.
        ids["died"], ids["at"] = np.array(self._died), np.array(self._at)
        ids["flags"] = np.array(self._flags)
        return Table(ids, np.frombuffer(bytes(self._owners), IDS["id"]), (dict(self.origin),))

    def _name(self) -> str:
        return f"{int(time() * 1000):013d}-{secrets.token_hex(4)}"
