"""What lies in the quarantine: by run and target, block by block."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cleanup_pipeline.keeping.backs import BACK
from cleanup_pipeline.keeping.markers import MARKER
from cleanup_pipeline.keeping.places import Folder
from cleanup_pipeline.keeping.quarantine import SUFFIX
from cleanup_pipeline.keeping.quarantine_file import Block, DamagedError, blocks_of, cipher_of, unseal
from cleanup_pipeline.model.removed import Lot
from cleanup_pipeline.model.secret_keys import SecretKey

_NAME = re.compile(
    r"(?P<run>[^/]+)/(?P<target>[a-z0-9_]+)\.(?P<shard>\d+)\.(?P<at>\d{13})-[0-9a-f]{6}" + re.escape(SUFFIX)
)

_MADE = re.compile(r"\.(\d{13})-[0-9a-f]{6}(" + re.escape(MARKER) + "|" + re.escape(BACK) + r"(\.\d{13}-\d+)?)$")
"""What lies beside what a shard kept."""
_INSTEAD = re.compile(r"\.(?P<last>\d{6,})(-(?P<time>\d{3,})-(?P<size>\d+))?$")
"""The number of an object; one in place of all up to that number says how often that was, and its own size."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one shard kept."""

    name: str
    run: str
    target: str
    shard: int
    opened: datetime
    parts: tuple[str, ...]
    """The files that it consists of, in their order."""
    size: int
    """Bytes."""


class KeyLostError(Exception):
    """A block was encrypted with a key that is not set. Holds the id of the key."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a quarantine with the keys that there are. Methods raise PlaceError."""

    folder: Folder
    keys: Sequence[SecretKey] = field(default=(), repr=False)

    def kept(self, run: str | None = None, target: str | None = None) -> list[Kept]:
        """What was kept by a run, or by any, of a target, or of any; the oldest first."""
        found: dict[str, Kept] = {}
        for stored in self.folder.list(run or ""):
            match = _NAME.match(stored.name)
            # What lies below a name may be of many runs: below "" and "." are all of them.
            if match is None or run not in {None, match["run"]} or target not in {None, match["target"]}:
                continue
            before = found.get(match[0])
            parts = (*(before.parts if before else ()), stored.name)
            size = stored.size + (before.size if before else 0)
            opened = datetime.fromtimestamp(int(match["at"]) / 1000, UTC)
            found[match[0]] = Kept(match[0], match["run"], match["target"], int(match["shard"]), opened, parts, size)
        return sorted(found.values(), key=lambda kept: (kept.opened, kept.name))

    def blocks(self, kept: Kept) -> list[Block]:
        """Its blocks. Raises DamagedError."""
        with ExitStack() as stack:
            return blocks_of((part, stack.enter_context(self.folder.open(part))) for part in self.parts(kept))

    def parts(self, kept: Kept) -> tuple[str, ...]:
        """Those of its files that count: where an owner was erased, one is in place of all those before it."""
        for place in range(len(kept.parts) - 1, -1, -1):
            match = _INSTEAD.search(kept.parts[place])
            if match and match["size"]:
                with self.folder.open(kept.parts[place]) as file:
                    # Whoever wrote half of it was killed: then those before it still count.
                    if file.seek(0, 2) == int(match["size"]):
                        return (kept.parts[place], *_written(kept.parts[place + 1 :]))
        return _written(kept.parts)

    def lot(self, kept: Kept, block: Block) -> Lot:
        """The records of a block that went or may have gone. Raises KeyLostError, DamagedError."""
        whole = self.whole(kept, block)
        return Lot([whole.records[place] for place in block.chosen], whole.forms)

    def whole(self, kept: Kept, block: Block) -> Lot:
        """All records of a block. Raises as `lot` does."""
        key = next((each for each in self.keys if each.id == block.head.key), None)
        if key is None:
            raise KeyLostError(block.head.key)
        sealed = self.folder.read(block.part, block.start, block.start + block.size)
        return unseal(cipher_of(key), kept.name, block.head, sealed)

    def prune(self, keep: timedelta, now: datetime, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove what was opened longer ago than `keep`; how many shards' and how many bytes."""
        old = [kept for kept in self.kept() if kept.opened < now - keep]
        for kept in old if not dry_run else ():
            for part in kept.parts:
                self.folder.remove(part)
        for stored in list(self.folder.list()) if not dry_run else ():
            made = _MADE.search(stored.name)
            if made and int(made[1]) / 1000 < (now - keep).timestamp():
                self.folder.remove(stored.name)
        return len(old), sum(kept.size for kept in old)


def _written(parts: Sequence[str]) -> tuple[str, ...]:
    """Those that passes wrote."""
    return tuple(part for part in parts if not ((match := _INSTEAD.search(part)) and match["size"]))


def instead_of(kept: Kept, parts: Sequence[str], size: int) -> str:
    """The name of an object in place of some parts, which sorts behind all of them and before what is written later."""
    match = _INSTEAD.search(parts[-1])
    last, time = (match["last"], int(match["time"] or 0)) if match else ("000000", 0)
    return f"{kept.name}.{last}-{time + 1:03d}-{size}"


__all__ = ["DamagedError", "Kept", "KeyLostError", "Reader"]
