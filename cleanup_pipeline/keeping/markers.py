"""Markers: files that say that a shard is writing, for as long as it does. One that was killed leaves its own."""

import fcntl
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, BinaryIO

from cleanup_pipeline.keeping.places import DamagedError, Folder, GoneError, PlaceError

MARKER = ".open"
_EVERY_SECONDS = 3600.0
"""How often a shard says again that it is alive, behind a URL."""
DEAD_AFTER = 86_400
"""Seconds after which one that says nothing there is taken for dead."""


@dataclass(slots=True)
class Marker:
    """One shard's. Methods raise PlaceError."""

    folder: Folder
    name: str
    about: Mapping[str, Any]
    _file: BinaryIO | None = field(default=None, repr=False)
    _began: int = 0
    _said: float = 0.0

    def begin(self) -> None:
        """Put it there. In a folder of this machine it is locked, so that others see when its process has ended."""
        self._began = int(time())
        self._write()
        if self.folder.local is not None:
            try:
                self._file = (self.folder.local / self.name).open("rb")
                fcntl.flock(self._file, fcntl.LOCK_SH)
            except OSError as fault:
                raise PlaceError(f"{self.folder.what} cannot be locked ({type(fault).__name__})") from None

    def go_on(self) -> None:
        """Say that the shard is alive, now and then."""
        if self.folder.local is None and monotonic() - self._said > _EVERY_SECONDS:
            self._write()

    def release(self) -> None:
        """Leave it: the shard is over, and what it wrote is not all there."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Take it away."""
        self.release()
        self.folder.remove(self.name)

    def _write(self) -> None:
        self._said = monotonic()
        about = {**self.about, "began": self._began, "alive": int(time())}
        self.folder.write(self.name, json.dumps(about).encode())


def is_under_way(folder: Folder, name: str) -> bool:
    """Whether the shard of a marker is still writing. Behind a URL: whether it was, less than a day ago.

    Raises PlaceError.
    """
    try:
        if folder.local is not None:
            with folder.at_rest(name) as at_rest:
                return not at_rest
        about = about_marker(folder, name)
        return time() - float(about.get("alive", about["began"])) < DEAD_AFTER
    except GoneError:
        return False


def about_marker(folder: Folder, name: str) -> Mapping[str, Any]:
    """What a marker says. Raises PlaceError; GoneError: its shard is over."""
    try:
        about = json.loads(folder.read(name))
        return {**about, "began": int(about["began"]), "run": str(about["run"])}
    except (ValueError, KeyError, TypeError):
        raise DamagedError(f"a marker in {folder.what} is not what was written") from None
