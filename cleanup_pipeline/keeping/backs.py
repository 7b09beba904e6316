"""Which records of a quarantine were seen to be back: an undo leaves those alone, whatever became of them since.

A session that came back and that its user then ended is gone because he ended it. Undo, run again, would bring it back.
So each undo writes down, beside what a shard kept, the places of the records that it put back or found there:

    {"block": "<the block's nonce, in hexadecimal>", "back": [0, 3, 17]}

A line a block, behind an empty one: half a line, of who was killed, spoils no other. By the nonce, as a block that was
encrypted anew (`forget`) has its records in other places, which are written down before it is there.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time

from cleanup_pipeline.keeping.places import Folder, GoneError
from cleanup_pipeline.keeping.quarantine import SUFFIX
from cleanup_pipeline.keeping.quarantine_file import Block

BACK = ".back"


@dataclass(slots=True)
class Backs:
    """Of what one shard kept. Methods raise PlaceError."""

    folder: Folder
    name: str
    """What the names of its files begin with."""
    _known: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """By nonce: a bit for each place in the block."""
    _written: int = 0

    def of(self, block: Block) -> frozenset[int]:
        """Places of the records that were seen to be back."""
        return _places(self._known.get(block.head.nonce, 0))

    def add(self, block: Block, places: Iterable[int]) -> None:
        """These were. On disk when it returns."""
        self.add_all({block.head.nonce: sorted(places)})

    def add_all(self, places: Mapping[bytes, Sequence[int]]) -> None:
        """The same for several blocks, by their nonces."""
        lines = [
            json.dumps({"block": nonce.hex(), "back": list(back)}, separators=(",", ":"))
            for nonce, back in places.items()
            if back
        ]
        if not lines:
            return
        data = "".join(f"\n{line}\n" for line in lines).encode()
        if self.folder.local is not None:
            self.folder.append(self.name, data)
        else:
            self._written += 1
            self.folder.write(f"{self.name}.{int(time() * 1000):013d}-{self._written:06d}", data)
        for nonce, back in places.items():
            self._known[nonce] = self._known.get(nonce, 0) | _bits(back)


def backs_of(folder: Folder, kept: str) -> Backs:
    """Those of what a shard kept, by its name. Raises PlaceError."""
    name = back_of(kept)
    known: dict[bytes, int] = {}
    for stored in list(folder.list(name.partition("/")[0])):
        if not stored.name.startswith(name):
            continue
        try:
            text = folder.read(stored.name)
        except GoneError:
            continue
        for nonce, back in filter(None, map(_line, text.splitlines())):
            known[nonce] = known.get(nonce, 0) | back
    return Backs(folder, name, known)


def back_of(kept: str) -> str:
    """What the names of their files begin with."""
    return kept.removesuffix(SUFFIX) + BACK


def _line(text: bytes) -> tuple[bytes, int] | None:
    """What a line says; None: it is none, or half of one."""
    try:
        about = json.loads(text)
        return bytes.fromhex(about["block"]), _bits(map(int, about["back"]))
    except (ValueError, KeyError, TypeError):
        return None


def _bits(places: Iterable[int]) -> int:
    return sum(1 << place for place in set(places))


def _places(bits: int) -> frozenset[int]:
    return frozenset(place for place in range(bits.bit_length()) if bits >> place & 1)
