"""Erasing an owner from the removal ledger and from the quarantine."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cleanup_pipeline.keeping.asking import Asking
from cleanup_pipeline.keeping.quarantine_file import Block, cipher_of, mark, seal
from cleanup_pipeline.keeping.quarantine_reader import Kept, KeyLostError, Reader
from cleanup_pipeline.model.removed import Lot
from cleanup_pipeline.model.secret_keys import SecretKey
from cleanup_pipeline.stores.postgres.putting_back import belonging


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased."""

    entries: int
    quarantined: int
    """Records, with rows that went with them."""
    digest: str
    """SHA-256, in hexadecimal, over the digests of what went from either."""
    lost_keys: tuple[str, ...]
    """Ids of keys that are not set: what was written with them was not searched."""
    busy: tuple[str, ...] = ()
    """Runs that are under way and keep records: those were not searched."""


def forget_owner(asking: Asking, reader: Reader, owner: str) -> Forgotten:
    """Erase it. A file that has something of the owner is written anew without it. Raises PlaceError, DamagedError."""
    erased = asking.forget(owner)
    lost, busy = dict.fromkeys(erased.lost_keys), dict[str, None]()
    count, digest = 0, hashlib.sha256(bytes.fromhex(erased.digest))
    for kept in reader.kept():
        try:
            # Of a file in the place of the one that it writes to a pass would know nothing: its next batches would go
            # without being kept.
            with reader.folder.at_rest(kept.parts[0]) as at_rest:
                if not at_rest:
                    busy[kept.run] = None
                    continue
                count += _erase(reader, kept, owner.encode(), digest)
        except KeyLostError as fault:
            lost[str(fault)] = None
    return Forgotten(erased.records, count, digest.hexdigest(), tuple(lost), tuple(busy))


def _erase(reader: Reader, kept: Kept, owner: bytes, digest: "hashlib._Hash") -> int:
    blocks = reader.blocks(kept)
    gone = 0
    for block in blocks:
        if _of(reader.whole(kept, block), owner):
            gone += 1
    if not gone:
        return 0
    parts, count = list[bytes](), 0
    for block in blocks:
        lot = reader.whole(kept, block)
        theirs = _of(lot, owner)
        for place in theirs:
            digest.update(hashlib.sha256(lot.records[place].body).digest())
        count += len(theirs)
        parts += _without(reader.keys, kept, block, lot, theirs)
    reader.folder.write(kept.parts[0], b"".join(parts))
    for other in kept.parts[1:]:
        reader.folder.remove(other)
    return count


def _of(lot: Lot, owner: bytes) -> list[int]:
    """Places of an owner's records, and of the rows that went with them."""
    own = [place for place, record in enumerate(lot.records) if record.owner == owner]
    return [*own, *belonging(lot, own)] if own and len(lot.forms) > 1 else own


def _without(keys: Sequence[SecretKey], kept: Kept, block: Block, lot: Lot, theirs: Sequence[int]) -> list[bytes]:
    left = [place for place in range(len(lot.records)) if place not in set(theirs)]
    if not left:
        return []
    places = {old: new for new, old in enumerate(left)}
    key = next(each for each in keys if each.id == block.head.key)
    smaller = Lot([lot.records[place] for place in left], lot.forms)
    sealed = seal(cipher_of(key), key.id, kept.name, block.head.number, smaller, block.head.at)
    if block.gone is None:
        return [sealed]
    marked = mark(
        block.head.number,
        [places[place] for place in block.gone if place in places],
        [places[place] for place in block.perhaps if place in places],
    )
    return [sealed, marked]
