"""A small disk of its own that can be really full: a tmpfs, where this process may mount one."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

MEGABYTE = 1024 * 1024


class NoDiskError(Exception):
    """Why there is no small disk here."""


@dataclass(frozen=True)
class Disk:
    """A file system of its own, mounted at `place`."""

    place: Path

    @property
    def _ballast(self) -> Path:
        return self.place / "ballast"

    def fill(self, spare: int = 0) -> None:
        """Leave at most `spare` bytes, to the page. What others free meanwhile is not taken again."""
        with self._ballast.open("ab") as file:
            for size in (MEGABYTE, 65536, 4096):
                while self.free() >= spare + size:
                    try:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                    except OSError as fault:
                        if fault.errno != errno.ENOSPC:
                            raise
                        break

    def free(self) -> int:
        """Bytes that are left."""
        found = os.statvfs(self.place)
        return found.f_bavail * found.f_frsize

    def make_room(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)


@cache
def why_not() -> str | None:
    """Why no disk can be mounted here; None where one can."""
    with TemporaryDirectory(prefix="cleanup-disk-") as place:
        fault = _mount(Path(place), 1)
        if fault is None:
            _unmount(Path(place))
        return fault


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of so many megabytes at `place`, which is made. Raises NoDiskError."""
    place.mkdir(parents=True, exist_ok=True)
    fault = _mount(place, megabytes)
    if fault is not None:
        raise NoDiskError(fault)
    try:
        yield Disk(place)
    finally:
        _unmount(place)


def _mount(place: Path, megabytes: int) -> str | None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "cleanup-faults", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as fault:
        return f"mount: {fault.strerror}"
    return " ".join(done.stderr.split()) or "mount failed" if done.returncode else None


def _unmount(place: Path) -> None:
    # Lazily: a server that is being killed may still have a file open.
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
