"""Putting back what a run removed, record by record, through the lease of its target."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic

from cleanup_pipeline.engine.lease import Keeper
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.keeping.backs import Backs, back_of, backs_of
from cleanup_pipeline.keeping.markers import Marker
from cleanup_pipeline.keeping.places import PlaceError
from cleanup_pipeline.keeping.quarantine import marker_of
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
    before: int = 0
    """Records that an earlier undo put back, or saw there: left alone, there or not."""
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
    unmarked: int = 0
    """Records of which it could not be written down that they are back."""
    unmarked_why: str | None = None
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
        said = [f"{count:,} {what}" for count, what in remarks if count]
        if self.unmarked:
            said.append(
                f"another undo would bring back {self.unmarked:,} of them, also where they are revoked by then:"
                f" {self.unmarked_why}"
            )
        return "; ".join(said) or None


@dataclass(frozen=True, slots=True)
class _Refused:
    """Records of a block that the store did not take, by their places among those that went."""

    kept: Kept
    block: Block
    backs: Backs
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
    again: bool = False,
) -> Undone:
    """Put back what a run's shards kept of a target. `before` is called once the target is this run's.

    `again`: also what an earlier undo put back and is gone since.

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
        undo = _Undo(store, keeper, reader, done, dry, again)
        # What went last comes back first: it may be what the others refer to.
        for each in reversed(kept):
            _put_back_all(undo, each, refused)
        if not dry:
            _once_more(undo, refused)
    except (StoreError, PlaceError, DamagedError) as fault:
        done.error = str(fault)
    finally:
        for part in refused:
            done.reasons = _more(done.reasons, part.reasons)
        keeper.release(goes_on=False)
        done.seconds = monotonic() - began
    return done


@dataclass(frozen=True, slots=True)
class _Undo:
    """One target's."""

    store: PutsBack
    keeper: Keeper
    reader: Reader
    done: Undone
    dry: bool
    again: bool


def _put_back_all(undo: _Undo, kept: Kept, refused: list[_Refused]) -> None:
    """What a shard kept, while no owner is erased from it: that gives its records other places."""
    folder = undo.reader.folder
    with folder.in_use(kept.parts[0]), _said_to_be_at_it(undo, kept):
        backs = Backs(folder, back_of(kept.name)) if undo.again else backs_of(folder, kept.name)
        _put_back(undo, kept, backs, refused)


@contextmanager
def _said_to_be_at_it(undo: _Undo, kept: Kept) -> Iterator[None]:
    """Has `forget` see, behind a URL, where there are no locks, that an undo is at it; one that is killed, for a day.

    Where nothing can be written, what is kept still comes back.
    """
    if undo.reader.folder.local is not None or undo.dry:
        yield
        return
    marker = Marker(undo.reader.folder, marker_of(kept.name), {"run": kept.run})
    with suppress(PlaceError):
        marker.begin()
    try:
        yield
    finally:
        with suppress(PlaceError):
            marker.remove()


def _put_back(undo: _Undo, kept: Kept, backs: Backs, refused: list[_Refused]) -> None:
    done = undo.done
    try:
        blocks = undo.reader.blocks(kept)
    except DamagedError as fault:
        done.error = f"targets.{done.target}: {fault}"
        return
    for block in reversed(blocks):
        _keep(undo.keeper)
        if not block.chosen:
            continue
        try:
            whole = undo.reader.lot(kept, block)
        except KeyLostError as fault:
            done.unreadable += len(block.chosen)
            done.lost_keys = tuple(dict.fromkeys((*done.lost_keys, str(fault))))
            continue
        except DamagedError as fault:
            done.unreadable += len(block.chosen)
            done.reasons = _more(done.reasons, (str(fault),))
            continue
        seen = frozenset[int]() if undo.again else backs.of(block)
        numbers = [n for n, place in enumerate(block.chosen) if whole.records[n].form or place not in seen]
        done.before += len(whole.records) - len(numbers)
        if all(whole.records[n].form for n in numbers):
            continue
        fates, reasons = _write(undo, whole, block, numbers, backs)
        theirs = [n for n in numbers if fates[n] is Fate.REFUSED and not whole.records[n].form]
        if theirs and len(refused) < MOST_AGAIN:
            refused.append(_Refused(kept, block, backs, array("I", theirs), done.fates[Fate.RESTORED], reasons))
        else:
            done.reasons = _more(done.reasons, reasons)


def _once_more(undo: _Undo, refused: list[_Refused]) -> None:
    """Try what was refused again, to and fro, as long as something comes back that it may refer to."""
    before, done = -1, undo.done
    while refused and done.fates[Fate.RESTORED] != before:
        before = done.fates[Fate.RESTORED]
        refused[:] = [left for each in reversed(refused) for left in _again(undo, each)]


def _again(undo: _Undo, refused: _Refused) -> list[_Refused]:
    """What is still refused of a block."""
    done = undo.done
    if refused.restored == done.fates[Fate.RESTORED]:
        return [refused]
    _keep(undo.keeper)
    whole = undo.reader.lot(refused.kept, refused.block)
    chosen = set(refused.places)
    # With them the rows that went with any: a store puts back those whose record came back.
    numbers = [n for n, record in enumerate(whole.records) if record.form or n in chosen]
    done.fates[Fate.REFUSED] -= len(chosen)
    fates, reasons = _write(undo, whole, refused.block, numbers, refused.backs)
    done.fates = +done.fates
    left = [n for n in numbers if fates[n] is Fate.REFUSED and n in chosen]
    if not left:
        return []
    return [replace(refused, places=array("I", left), restored=done.fates[Fate.RESTORED], reasons=reasons)]


def _keep(keeper: Keeper) -> None:
    lost = keeper.keep()
    if lost is not None:
        raise lost


def _write(
    undo: _Undo, whole: Lot, block: Block, numbers: Sequence[int], backs: Backs
) -> tuple[Mapping[int, Fate], tuple[str, ...]]:
    """Put some records of a block back, and count them: their fates by their numbers, and why some were refused."""
    done = undo.done
    lot = Lot([whole.records[n] for n in numbers], whole.forms)
    answer, doubtful = _tried(undo, lot)
    gone = set(block.gone or ())
    _count(done, lot, answer, [block.chosen[n] in gone for n in numbers], doubtful=doubtful)
    fates = dict(zip(numbers, answer.fates, strict=True))
    if not undo.dry:
        there = [n for n, fate in fates.items() if fate in {Fate.RESTORED, Fate.EXISTS} and not whole.records[n].form]
        _mark(done, backs, block, there)
    return fates, answer.reasons


def _mark(done: Undone, backs: Backs, block: Block, numbers: Sequence[int]) -> None:
    """Have the next undo leave these alone. Where that cannot be written down, what is to come back still does."""
    try:
        backs.add(block, [block.chosen[n] for n in numbers])
    except PlaceError as fault:
        done.unmarked += len(numbers)
        done.unmarked_why = done.unmarked_why or str(fault)


def _tried(undo: _Undo, lot: Lot) -> tuple[PutBack, bool]:
    """What came of a lot, and whether an attempt before the one that said so may have written some of it."""
    done, dry = undo.done, undo.dry
    failed: list[object] = []
    try:
        answer: PutBack = retrying(before_sleep=failed.append)(
            undo.store.put_back, undo.keeper.target, lot, dry_run=dry
        )
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
