"""Erasing an owner from the removal ledger and from the quarantine."""

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cleanup_pipeline.keeping.asking import Asking
from cleanup_pipeline.keeping.backs import backs_of
from cleanup_pipeline.keeping.markers import is_under_way
from cleanup_pipeline.keeping.places import PlaceError
from cleanup_pipeline.keeping.quarantine import marker_of
from cleanup_pipeline.keeping.quarantine_file import Block, cipher_of, mark, seal
from cleanup_pipeline.keeping.quarantine_reader import Kept, KeyLostError, Reader, instead_of
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
    """Runs that are under way: what they keep, or have in memory, was not searched."""
    faults: tuple[str, ...] = ()
    """Files that could not be searched, each with why."""


def forget_owner(asking: Asking, reader: Reader, owner: str) -> Forgotten:
    """Erase it. A file that has something of the owner is written anew without it.

    Raises PlaceError where nothing was erased; what fails later is in `faults`.
    """
    erased = asking.forget(owner)
    lost, busy, faults = dict.fromkeys(erased.lost_keys), dict.fromkeys(erased.busy), list(erased.faults)
    digests: list[bytes] = []
    try:
        every = reader.kept()
    except PlaceError as fault:
        every = []
        faults.append(str(fault))
    for kept in every:
        try:
            # Of a file in the place of the one that it writes to a pass would know nothing: its next batches would go
            # without being kept.
            with _at_rest(reader, kept) as now:
                if now is None:
                    busy[kept.run] = None
                else:
                    _erase(reader, now, owner.encode(), digests)
        except KeyLostError as fault:
            lost[str(fault)] = None
        except PlaceError as fault:
            faults.append(f"{kept.name}: {fault}")
    digest = hashlib.sha256(b"".join((bytes.fromhex(erased.digest), *digests))).hexdigest()
    return Forgotten(erased.records, len(digests), digest, tuple(lost), tuple(busy), tuple(faults))


@contextmanager
def _at_rest(reader: Reader, kept: Kept) -> Iterator[Kept | None]:
    """What a shard kept, once nobody writes to it; None: somebody does."""
    if reader.folder.local is not None:
        with reader.folder.at_rest(kept.parts[0]) as at_rest:
            yield kept if at_rest else None
    elif is_under_way(reader.folder, marker_of(kept.name)):
        yield None
    else:
        # It may have written more, and ended, since it was listed.
        yield next((each for each in reader.kept(kept.run) if each.name == kept.name), kept)


def _erase(reader: Reader, kept: Kept, owner: bytes, digests: list[bytes]) -> None:
    parts = reader.parts(kept)
    _remove(reader, [part for part in kept.parts if part not in parts])
    kept = replace(kept, parts=parts)
    blocks = reader.blocks(kept)
    if not any(_of(reader.whole(kept, block), owner) for block in blocks):
        return
    left, gone = list[bytes](), list[bytes]()
    backs, moved = backs_of(reader.folder, kept.name), dict[bytes, list[int]]()
    for block in blocks:
        lot = reader.whole(kept, block)
        theirs = _of(lot, owner)
        gone += [hashlib.sha256(lot.records[place].body).digest() for place in theirs]
        places = _places(lot, theirs)
        nonce = secrets.token_bytes(12)
        left += _without(reader.keys, kept, block, lot, places, nonce)
        moved[nonce] = sorted(places[place] for place in backs.of(block) if place in places)
    # Before the blocks are there: what an undo put back is known of either.
    backs.add_all(moved)
    data = b"".join(left)
    one = reader.folder.local is not None and parts == (kept.name,)
    reader.folder.write(kept.name if one else instead_of(kept, parts, len(data)), data)
    digests += gone
    if not one:
        _remove(reader, parts)


def _remove(reader: Reader, parts: Sequence[str]) -> None:
    for part in parts:
        reader.folder.remove(part)


def _of(lot: Lot, owner: bytes) -> list[int]:
    """Places of an owner's records, and of the rows that went with them."""
    own = [place for place, record in enumerate(lot.records) if record.owner == owner]
    return [*own, *belonging(lot, own)] if own and len(lot.forms) > 1 else own


def _places(lot: Lot, theirs: Sequence[int]) -> dict[int, int]:
    """Where each record of a block is once those of an owner are gone."""
    left = [place for place in range(len(lot.records)) if place not in set(theirs)]
    return {old: new for new, old in enumerate(left)}


def _without(
    keys: Sequence[SecretKey], kept: Kept, block: Block, lot: Lot, places: Mapping[int, int], nonce: bytes
) -> list[bytes]:
    if not places:
        return []
    key = next(each for each in keys if each.id == block.head.key)
    smaller = Lot([lot.records[place] for place in places], lot.forms)
    sealed = seal(cipher_of(key), key.id, kept.name, block.head.number, smaller, block.head.at, nonce=nonce)
    if block.gone is None:
        return [sealed]
    marked = mark(
        block.head.number,
        [places[place] for place in block.gone if place in places],
        [places[place] for place in block.perhaps if place in places],
    )
    return [sealed, marked]
