"""Files in a local folder or behind a URL of fsspec, and how much room there is for more."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs

HALF = ".half"
"""What the name of a file ends with while it is being written; a process that was killed leaves it so."""

LOOKS = 64
"""Who writes looks again how much is used behind each such part of the bytes that there may be."""


class PlaceError(Exception):
    """One line: what is wrong with a place where something is kept. Never holds a URL or a login."""


class GoneError(PlaceError):
    """A file that was there when it was looked for, and no longer is."""


class DamagedError(PlaceError):
    """A file that is not what was written."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One file."""

    name: str
    """Relative to the folder, with slashes."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. `local` is None where there is no file system of this machine behind it."""

    local: Path | None
    files: Any = field(default=None, repr=False)
    """fsspec's file system."""
    base: str = field(default="", repr=False)
    what: str = "the folder"

    def list(self, under: str = "") -> Iterator[Stored]:
        """Every file, or those below a name. Raises PlaceError."""
        base = self._path(under) if under else self.base
        try:
            self.files.invalidate_cache()
            found = self.files.find(base, detail=True) if _finds(self.files) else dict(_below(self.files, base))
        except FileNotFoundError:
            return
        # Here and below: each of fsspec's file systems has exceptions of its own, some of which quote URLs.
        except Exception as fault:  # noqa: BLE001
            raise PlaceError(f"{self.what} cannot be read ({type(fault).__name__})") from None
        for path, about in sorted(found.items()):
            yield Stored(path[len(self.base) :].lstrip("/"), int(about.get("size") or 0))

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file, or a part of it. Raises PlaceError; GoneError where there is none."""
        try:
            data: bytes = self.files.cat_file(self._path(name), start=start, end=end)
        except FileNotFoundError:
            raise GoneError(f"a file in {self.what} is gone") from None
        except Exception as fault:  # noqa: BLE001
            raise PlaceError(f"a file in {self.what} cannot be read ({type(fault).__name__})") from None
        return data

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file to be read here and there. Raises PlaceError; GoneError where there is none."""
        try:
            with self.files.open(self._path(name), "rb") as file:
                yield file
        except PlaceError:
            raise
        except FileNotFoundError:
            raise GoneError(f"a file in {self.what} is gone") from None
        except Exception as fault:  # noqa: BLE001
            raise PlaceError(f"a file in {self.what} cannot be read ({type(fault).__name__})") from None

    def write(self, name: str, data: bytes) -> None:
        """A whole file, which is there as a whole or not at all, and outlives a crash. Raises PlaceError."""
        if self.local is None:
            self._write_away(name, data)
            return
        path = self.local / name
        half = path.with_name(f"{path.name}{HALF}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with half.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
            sync_folder(path.parent)
        except OSError as fault:
            # Half a file on a full disk is what others lack.
            with suppress(OSError):
                half.unlink()
            raise PlaceError(f"{self.what} cannot be written to ({fault.strerror or type(fault).__name__})") from None

    def append(self, name: str, data: bytes) -> None:
        """Write behind what a file of this machine has, which outlives a crash; half of it may be there where this
        fails. Raises PlaceError."""
        assert self.local is not None  # noqa: S101 - nothing is appended to behind a URL
        path = self.local / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
        except OSError as fault:
            raise PlaceError(f"{self.what} cannot be written to ({fault.strerror or type(fault).__name__})") from None

    def remove(self, name: str) -> None:
        """Take a file away; harmless when it is gone. Raises PlaceError."""
        try:
            self.files.rm_file(self._path(name))
        except FileNotFoundError:
            return
        except Exception as fault:  # noqa: BLE001
            raise PlaceError(f"a file in {self.what} cannot be removed ({type(fault).__name__})") from None

    def used(self) -> int:
        """Bytes of all files. Raises PlaceError."""
        return sum(stored.size for stored in self.list())

    def free(self) -> int | None:
        """Bytes that the file system still has for this user; None: nobody can say."""
        if self.local is None:
            return None
        place = self.local
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else on this machine changes files that are written already: two that merge or erase would bring back
        what the other took away. No more than a hope behind a URL, where there are no locks. Raises PlaceError."""
        if self.local is None:
            yield
            return
        try:
            self.local.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.local / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as fault:
            raise PlaceError(f"{self.what} cannot be written to ({fault.strerror or type(fault).__name__})") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def at_rest(self, name: str) -> Iterator[bool]:
        """Whether nobody has a file locked to write to it; as long as this lasts, nobody begins to. Always behind a
        URL, where there are no locks: see `markers`. Raises PlaceError; GoneError where there is no such file."""
        if self.local is None:
            yield True
            return
        try:
            handle = os.open(self.local / name, os.O_RDONLY)
        except FileNotFoundError:
            raise GoneError(f"a file in {self.what} is gone") from None
        except OSError as fault:
            raise PlaceError(f"a file in {self.what} cannot be read ({type(fault).__name__})") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(handle)

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        """Nobody puts another file in the place of this one (`at_rest`): waits for who does. No more than a hope behind
        a URL. Raises PlaceError; GoneError where there is no such file."""
        handle = None if self.local is None else self._lock_shared(self.local / name)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def _lock_shared(self, path: Path) -> int:
        while True:
            try:
                handle = os.open(path, os.O_RDONLY)
                fcntl.flock(handle, fcntl.LOCK_SH)
                # Waited for, it may be another one by now.
                same = os.path.samestat(os.fstat(handle), path.stat())
            except FileNotFoundError:
                raise GoneError(f"a file in {self.what} is gone") from None
            except OSError as fault:
                what = fault.strerror or type(fault).__name__
                raise PlaceError(f"a file in {self.what} cannot be read ({what})") from None
            if same:
                return handle
            os.close(handle)

    def _write_away(self, name: str, data: bytes) -> None:
        try:
            path = self._path(name)
            self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.files.pipe_file(path, data)
        except Exception as fault:  # noqa: BLE001
            raise PlaceError(f"{self.what} cannot be written to ({type(fault).__name__})") from None

    def _path(self, name: str) -> str:
        return f"{self.base}/{name}"


def open_folder(place: str, what: str) -> Folder:
    """The folder at a path or URL, which need not be there yet. Raises PlaceError."""
    try:
        files, base = url_to_fs(place)
    # A protocol whose package is not installed, a login that is missing: whatever it is, its text may quote the URL.
    except Exception as fault:  # noqa: BLE001
        raise PlaceError(f"{what}: no file system for this place ({type(fault).__name__})") from None
    base = base.rstrip("/")
    local = Path(base) if files.protocol == "file" or "file" in files.protocol else None
    return Folder(local, files, base, what)


def _finds(files: Any) -> bool:
    """Whether a file system has a `find` of its own. That of fsspec takes a folder that cannot be read for empty."""
    if isinstance(files, AsyncFileSystem):
        return type(files)._find is not AsyncFileSystem._find
    return type(files).find is not AbstractFileSystem.find


def _below(files: Any, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All files below a folder. Raises what the file system does; FileNotFoundError where there is no such folder."""
    waiting = [folder]
    for at in waiting:
        try:
            found = files.ls(at, detail=True)
        except FileNotFoundError:
            if at == folder:
                raise
            raise OSError from None
        for about in found:
            path = about["name"].rstrip("/")
            if about["type"] != "directory":
                if path == folder:
                    raise NotADirectoryError
                yield path, about
            elif path != at:
                waiting.append(path)


def sync_folder(folder: Path) -> None:
    """Have the names of files in a folder on disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


__all__ = ["DamagedError", "Folder", "PlaceError", "Stored", "open_folder", "sync_folder"]
