"""Files of the quarantine: blocks of records, each encrypted by itself, and marks that say what became of them.

    block: "QB1\\n", length of the head (u32), head (JSON: number, key, nonce, records, at), length (u64), AES-256-GCM
    mark:  "QM1\\n", length (u32), JSON: number, gone ("all", or a list of places), perhaps

A block is on disk before its batch is deleted, the mark is not: a block without one is of a batch that was cut off,
whose records may be gone or not. The head is authenticated with the block (NIST SP 800-38D), and the name of the file
with it, so that blocks cannot be moved.
"""

import json
import os
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cleanup_pipeline.keeping.places import DamagedError as DamagedError
from cleanup_pipeline.model.removed import Form, Lot, Removed
from cleanup_pipeline.model.secret_keys import SecretKey, derived

BLOCK, MARK = b"QB1\n", b"QM1\n"
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_SIZES = struct.Struct("<II")


def cipher_of(key: SecretKey) -> AESGCM:
    """The cipher of a key."""
    return AESGCM(derived(key, b"cleanup-pipeline: quarantine"))


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a block without its key."""

    number: int
    key: str
    nonce: bytes
    records: int
    at: int
    """Epoch ms."""
    text: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Block:
    """Where a block is, and what became of its records."""

    head: Head
    part: str
    """The file that it is in."""
    start: int
    size: int
    """Of what is encrypted, in bytes."""
    gone: tuple[int, ...] | None
    """Places of the records that went; None: nobody knows."""
    perhaps: tuple[int, ...] = ()

    @property
    def chosen(self) -> Sequence[int]:
        """Places of the records that went or may have gone."""
        return range(self.head.records) if self.gone is None else sorted({*self.gone, *self.perhaps})


def seal(cipher: AESGCM, key: str, name: str, number: int, lot: Lot, at: int, *, nonce: bytes | None = None) -> bytes:
    """The bytes of a block. `nonce`: 12 bytes that were never used before; None: new ones."""
    nonce = nonce or os.urandom(12)
    about = {"number": number, "key": key, "nonce": nonce.hex(), "records": len(lot.records), "at": at}
    head = json.dumps(about, separators=(",", ":")).encode()
    sealed = cipher.encrypt(nonce, _plain(lot), name.encode() + b"\0" + head)
    return b"".join((BLOCK, _U32.pack(len(head)), head, _U64.pack(len(sealed)), sealed))


def mark(number: int, gone: Sequence[int] | None, perhaps: Sequence[int]) -> bytes:
    """The bytes of a mark."""
    about = {"number": number, "gone": "all" if gone is None else list(gone), "perhaps": list(perhaps)}
    text = json.dumps(about, separators=(",", ":")).encode()
    return b"".join((MARK, _U32.pack(len(text)), text))


def unseal(cipher: AESGCM, name: str, head: Head, sealed: bytes) -> Lot:
    """The records of a block. Raises DamagedError."""
    try:
        return _lot(cipher.decrypt(head.nonce, sealed, name.encode() + b"\0" + head.text))
    except (InvalidTag, ValueError):
        raise DamagedError("a block of the quarantine is not what was written") from None


def blocks_of(parts: Iterable[tuple[str, BinaryIO]]) -> list[Block]:
    """The blocks of some files, with what became of their records; what is encrypted is passed over.

    A block at the end that is not whole is left out: its batch was not deleted. Raises DamagedError.
    """
    try:
        return _blocks_of(parts)
    except (ValueError, KeyError, TypeError):
        raise DamagedError("a file of the quarantine is not what was written") from None


def _blocks_of(parts: Iterable[tuple[str, BinaryIO]]) -> list[Block]:
    blocks: dict[int, tuple[Head, str, int, int]] = {}
    marks: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for part, file in parts:
        for about, text, start, size in _pieces(file):
            number = int(about["number"])
            if size is None:
                gone = range(blocks[number][0].records) if about["gone"] == "all" else about["gone"]
                marks[number] = tuple(gone), tuple(about["perhaps"])
            else:
                head = Head(number, about["key"], bytes.fromhex(about["nonce"]), about["records"], about["at"], text)
                blocks[number] = head, part, start, size
    return [Block(*found, *marks.get(number, (None, ()))) for number, found in sorted(blocks.items())]


def _pieces(file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes, int, int | None]]:
    """Head or mark, its bytes, and where what is encrypted begins and how long it is; None: it is a mark."""
    end = file.seek(0, 2)
    file.seek(0)
    while file.tell() + len(BLOCK) + _U32.size <= end:
        kind = file.read(len(BLOCK))
        if kind not in {BLOCK, MARK}:
            raise DamagedError("a file of the quarantine is not what was written")
        (length,) = _U32.unpack(file.read(_U32.size))
        if file.tell() + length + (_U64.size if kind == BLOCK else 0) > end:
            return
        text = file.read(length)
        if kind == MARK:
            yield json.loads(text), text, 0, None
            continue
        (size,) = _U64.unpack(file.read(_U64.size))
        start = file.tell()
        if start + size > end:
            return
        yield json.loads(text), text, start, size
        file.seek(start + size)


def _plain(lot: Lot) -> bytes:
    forms = json.dumps(list(lot.forms), separators=(",", ":")).encode()
    records = lot.records
    return b"".join(
        (
            _SIZES.pack(len(forms), len(records)),
            forms,
            array("I", [len(record[3]) for record in records]).tobytes(),
            array("I", [len(record[1]) for record in records]).tobytes(),
            array("H", [record[4] for record in records]).tobytes(),
            *[record[3] for record in records],
            *[record[1] for record in records],
        )
    )


def _lot(plain: bytes) -> Lot:
    length, count = _SIZES.unpack_from(plain)
    at = _SIZES.size
    forms: list[Form] = json.loads(plain[at : at + length])
    at += length
    lengths = array("I", plain[at : at + 4 * count])
    at += 4 * count
    owner_lengths = array("I", plain[at : at + 4 * count])
    at += 4 * count
    numbers = array("H", plain[at : at + 2 * count])
    at += 2 * count
    bodies, at = _cut(plain, at, lengths)
    owners, at = _cut(plain, at, owner_lengths)
    records = [Removed(b"", owner, None, body, form) for body, owner, form in zip(bodies, owners, numbers, strict=True)]
    return Lot(records, forms)


def _cut(data: bytes, at: int, lengths: Sequence[int]) -> tuple[list[bytes], int]:
    parts = []
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return parts, at
