"""Putting back what a run removed, record by record, through the lease of its target."""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from cleanup_pipeline.engine.lease import Keeper
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.keeping.places import PlaceError
from cleanup_pipeline.keeping.quarantine_file import Block
from cleanup_pipeline.keeping.quarantine_reader import DamagedError, Kept, KeyLostError, Reader
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.plan import Shard, Work
from cleanup_pipeline.model.removed import Fate, Lot, PutBack
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import PutsBack, Store, StoreError

MOST_REASONS = 5
MOST_AGAIN = 1000
"""Blocks of which what was refused is tried again. Each takes up to some 50 kB."""
Before = Callable[[], None]


@dataclass(slots=True)
class Undone:
    """What came of one target."""

    target: str
    fates: Counter[Fate] = field(default_factory=Counter[Fate])
    """Records of the target. Rows that went with them are in `beside`."""
    beside: int = 0
    """Rows of other tables that were put back or changed back."""
    unconfirmed: int = 0
    """Records put back of batches that were cut off: nobody knows who removed those."""
    unreadable: int = 0
    """Records whose key is not set, or that are not what was written."""
    lost_keys: tuple[str, ...] = ()
    """Ids of the keys that are not set."""
    beside_refused: int = 0
    """Of the rows that went with records: those that the store did not take."""
    in_doubt: int = 0
    """Of the records that exist: found after an attempt whose answer was lost, which may have put them back."""
    unknown: int = 0
    """Records whose putting back failed at last: any of them may be there."""
    lost_answers: int = 0
    """Attempts that failed: each may have written something."""
    reasons: tuple[str, ...] = ()
    error: str | None = None
    seconds: float = 0.0

    @property
    def red(self) -> bool:
        """Whether something that should have come back did not."""
        return self.error is not None or bool(self.unreadable or self.fates[Fate.REFUSED] or self.beside_refused)

    @property
    def wrote(self) -> bool:
        """Whether anything was written, or may have been."""
        return bool(self.fates[Fate.RESTORED] or self.beside or self.lost_answers)

    @property
    def remarks(self) -> str | None:
        """What the fates of records do not say, in one line."""
        remarks = [
            (self.beside_refused, "rows that went with records were refused"),
            (self.in_doubt, "that exist may have been put back by an attempt whose answer was lost"),
            (self.unknown, "may have been put back by an attempt that failed"),
        ]
        return "; ".join(f"{count:,} {what}" for count, what in remarks if count) or None


@dataclass(frozen=True, slots=True)
class _Refused:
    """Records of a block that the store did not take, by their places among those that went."""

    kept: Kept
    block: Block
    places: "array[int]"
    restored: int
    """How many had come back by then."""
    reasons: tuple[str, ...]


def undo_target(
    store: Store,
    target: Target,
    reader: Reader,
    kept: Sequence[Kept],
    run: str,
    *,
    host: str,
    before: Before,
    dry: bool,
) -> Undone:
    """Put back what a run's shards kept of a target. `before` is called once the target is this run's.

    Never raises for a fault of a store or of the quarantine, but says so in what is returned.
    """
    done = Undone(target.name)
    began = monotonic()
    work = Work("undo", "", (Shard(0),))
    lease = None if dry else Lease(run, 0, host)
    keeper = Keeper(store, replace(target, handover=None), lease, work, Shard(0))
    refused: list[_Refused] = []
    try:
        if not isinstance(store, PutsBack):
            done.error = f"targets.{target.name}: its store takes nothing back"
            return done
        holder = keeper.acquire()
        if holder is not None:
            done.error = f"targets.{target.name}: {holder}; nothing was put back"
            return done
        before()
        # What went last comes back first: it may be what the others refer to.
        for each in reversed(kept):
            _put_back(store, keeper, reader, each, done, refused, dry)
        if not dry:
            _once_more(store, keeper, reader, done, refused)
    except (StoreError, PlaceError, DamagedError) as fault:
        done.error = str(fault)
    finally:
        for part in refused:
            done.reasons = _more(done.reasons, part.reasons)
        keeper.release(goes_on=False)
        done.seconds = monotonic() - began
    return done


def _put_back(
    store: PutsBack, keeper: Keeper, reader: Reader, kept: Kept, done: Undone, refused: list[_Refused], dry: bool
) -> None:
    try:
        blocks = reader.blocks(kept)
    except DamagedError as fault:
        done.error = f"targets.{done.target}: {fault}"
        return
    for block in reversed(blocks):
        _keep(keeper)
        if not block.chosen:
            continue
        try:
            lot = reader.lot(kept, block)
        except KeyLostError as fault:
            done.unreadable += len(block.chosen)
            done.lost_keys = tuple(dict.fromkeys((*done.lost_keys, str(fault))))
            continue
        except DamagedError as fault:
            done.unreadable += len(block.chosen)
            done.reasons = _more(done.reasons, (str(fault),))
            continue
        answer, doubtful = _write(store, keeper.target, lot, done, dry)
        sure = set(block.gone or ())
        _count(done, lot, answer, [place in sure for place in block.chosen], doubtful=doubtful)
        theirs = [
            n
            for n, (record, fate) in enumerate(zip(lot.records, answer.fates, strict=True))
            if fate is Fate.REFUSED and not record.form
        ]
        if theirs and len(refused) < MOST_AGAIN:
            refused.append(_Refused(kept, block, array("I", theirs), done.fates[Fate.RESTORED], answer.reasons))
        else:
            done.reasons = _more(done.reasons, answer.reasons)


def _once_more(store: PutsBack, keeper: Keeper, reader: Reader, done: Undone, refused: list[_Refused]) -> None:
    """Try what was refused again, to and fro, as long as something comes back that it may refer to."""
    before = -1
    while refused and done.fates[Fate.RESTORED] != before:
        before = done.fates[Fate.RESTORED]
        refused[:] = [left for each in reversed(refused) for left in _again(store, keeper, reader, done, each)]


def _again(store: PutsBack, keeper: Keeper, reader: Reader, done: Undone, refused: _Refused) -> list[_Refused]:
    """What is still refused of a block."""
    if refused.restored == done.fates[Fate.RESTORED]:
        return [refused]
    _keep(keeper)
    whole = reader.lot(refused.kept, refused.block)
    chosen = set(refused.places)
    # With them the rows that went with any: a store puts back those whose record came back.
    numbers = [n for n, record in enumerate(whole.records) if record.form or n in chosen]
    lot = Lot([whole.records[n] for n in numbers], whole.forms)
    answer, doubtful = _write(store, keeper.target, lot, done, dry=False)
    gone = set(refused.block.gone or ())
    done.fates[Fate.REFUSED] -= len(chosen)
    _count(done, lot, answer, [refused.block.chosen[n] in gone for n in numbers], doubtful=doubtful)
    done.fates = +done.fates
    left = [n for n, fate in zip(numbers, answer.fates, strict=True) if fate is Fate.REFUSED and n in chosen]
    if not left:
        return []
    return [replace(refused, places=array("I", left), restored=done.fates[Fate.RESTORED], reasons=answer.reasons)]


def _keep(keeper: Keeper) -> None:
    lost = keeper.keep()
    if lost is not None:
        raise lost


def _write(store: PutsBack, target: Target, lot: Lot, done: Undone, dry: bool) -> tuple[PutBack, bool]:
    """What came of a lot, and whether an attempt before the one that said so may have written some of it."""
    failed: list[object] = []
    try:
        answer: PutBack = retrying(before_sleep=failed.append)(store.put_back, target, lot, dry_run=dry)
    except StoreError:
        if not dry:
            done.lost_answers += len(failed) + 1
            done.unknown += sum(not record.form for record in lot.records)
        raise
    if not dry:
        done.lost_answers += len(failed)
    return answer, bool(failed) and not dry


def _count(done: Undone, lot: Lot, answer: PutBack, sure: Sequence[bool], *, doubtful: bool) -> None:
    for record, fate, certain in zip(lot.records, answer.fates, sure, strict=True):
        if record.form:
            done.beside += fate is Fate.RESTORED
            done.beside_refused += fate is Fate.REFUSED
            continue
        if not certain and fate is Fate.EXISTS and not doubtful:
            # It was never gone: the batch was cut off before it deleted anything.
            continue
        done.fates[fate] += 1
        done.in_doubt += doubtful and fate is Fate.EXISTS
        done.unconfirmed += not certain and fate is Fate.RESTORED


def _more(reasons: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*reasons, *others)))[:MOST_REASONS]
