"""Writing the quarantine: one file a shard, or one object a batch where there is no file system of this machine."""

import fcntl
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cleanup_pipeline.keeping.markers import MARKER, Marker
from cleanup_pipeline.keeping.places import LOOKS, Folder, PlaceError, sync_folder
from cleanup_pipeline.keeping.quarantine_file import cipher_of, mark, seal
from cleanup_pipeline.model.removed import Lot
from cleanup_pipeline.model.secret_keys import SecretKey

SUFFIX = ".kept"


@dataclass(frozen=True, slots=True)
class Room:
    """How much a quarantine may take up."""

    at_most: int
    """Bytes of all its files."""
    keep_free: int
    """Bytes that are left to others on the same disk."""


@dataclass(slots=True)
class QuarantineWriter:
    """What one shard keeps."""

    folder: Folder
    key: SecretKey
    run: str
    target: str
    shard: int
    room: Room
    records: int = 0
    """That were kept."""
    size: int = 0
    """Bytes that were written."""
    gone: int = 0
    """Of those, how many went."""
    _used: int = 0
    _seen: int = 0
    """Of `size`, when it was looked how much is used."""
    _number: int = -1
    """Of the batch that was kept last. One that was tried again is another one."""
    _name: str = ""
    _marker: Marker | None = field(default=None, repr=False)
    """Where there are no locks."""
    _cipher: AESGCM | None = field(default=None, repr=False)
    _file: Any = field(default=None, repr=False)
    _end: int = 0
    _marks: list[bytes] = field(default_factory=list[bytes], repr=False)

    def begin(self, expected: int | None) -> None:
        """See that there is room, for `expected` bytes where somebody can say. Raises PlaceError."""
        self._used = self.folder.used()
        self._refuse_want(expected or 0)
        self._cipher = cipher_of(self.key)
        self._name = f"{self.run}/{self.target}.{self.shard}.{int(time() * 1000):013d}-{secrets.token_hex(3)}{SUFFIX}"
        if self.folder.local is None:
            self._marker = Marker(self.folder, marker_of(self._name), {"run": self.run})
            self._marker.begin()

    def hold(self, lot: Lot) -> None:
        """Keep a batch: when this returns, it is on disk. Raises PlaceError; then nothing of it is there."""
        assert self._cipher is not None  # noqa: S101 - `begin` comes first
        self._number += 1
        block = seal(self._cipher, self.key.id, self._name, self._number, lot, int(time() * 1000))
        data = b"".join((*self._marks, block))
        self._look(len(data))
        self._refuse_want(len(data))
        self._write(data)
        self._marks.clear()
        self._used += len(data)
        self.size += len(data)
        self.records += len(lot.records)

    def settle(self, which: Sequence[int] | None, perhaps: Sequence[int], records: int) -> None:
        """Note what became of the batch that was kept last. It is on disk with the next one, or at the end."""
        self._marks.append(mark(self._number, which, perhaps))
        self.gone += records if which is None else len(which)

    def close(self) -> None:
        """Write what is left. Raises PlaceError."""
        try:
            if self._marks:
                self._number += 1
                self._write(b"".join(self._marks))
                self._marks.clear()
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None
            if self._marker is not None:
                self._marker.remove()

    def _look(self, more: int) -> None:
        # Others write there, too.
        if self._used + more > self.room.at_most or self.size + more - self._seen > self.room.at_most // LOOKS:
            self._used, self._seen = self.folder.used(), self.size

    def _refuse_want(self, more: int) -> None:
        if self._used + more > self.room.at_most:
            raise PlaceError(
                f"{self.folder.what} has no room: {self._used:,} of {self.room.at_most:,} bytes are used"
                + (f", and {more:,} are needed" if more else "")
            )
        free = self.folder.free()
        if free is not None and free - more < self.room.keep_free:
            raise PlaceError(
                f"the disk of {self.folder.what} has {free:,} bytes free, and {self.room.keep_free:,} are to stay free"
                + (f", and {more:,} are needed" if more else "")
            )

    def _write(self, data: bytes) -> None:
        if self.folder.local is None:
            self.folder.write(f"{self._name}.{self._number:06d}", data)
            if self._marker is not None:
                self._marker.go_on()
            return
        try:
            if self._file is None:
                self._open()
            self._append(data)
        except OSError as fault:
            self._take_back()
            what = fault.strerror or type(fault).__name__
            raise PlaceError(f"{self.folder.what} cannot be written to ({what})") from None

    def _open(self) -> None:
        assert self.folder.local is not None  # noqa: S101 - asked before
        path = self.folder.local / self._name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb", buffering=0)
        # Whoever erases an owner puts another file in the place of this one: not while it is written to.
        fcntl.flock(self._file, fcntl.LOCK_SH)
        sync_folder(path.parent)
        sync_folder(path.parent.parent)

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        os.fdatasync(self._file.fileno())
        self._end += len(data)

    def _take_back(self) -> None:
        # Half a block at the end would hide what comes behind it.
        if self._file is not None:
            try:
                os.ftruncate(self._file.fileno(), self._end)
                self._file.seek(self._end)
            except OSError:
                self._file.close()
                self._file = None


def marker_of(name: str) -> str:
    """The name of the marker that says that a shard is writing there."""
    return f"{name.removesuffix(SUFFIX)}{MARKER}"
