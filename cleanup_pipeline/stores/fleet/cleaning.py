"""Cleaning the members of a target in turns: one batch of one of them at a time, and what becomes of one that fails.

Does not belong here: looking for members and counting (fleet.py), whose turn it is (rounds.py).
"""

import logging
from dataclasses import replace
from datetime import datetime
from time import monotonic

from cleanup_pipeline.model.members import MemberTotals
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Census, Shard, Work
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import (
    BatchTimeoutError,
    LeaseLostError,
    RecordError,
    SourceMissingError,
    StepsOver,
    Store,
    StoreError,
    TransientError,
    UnavailableError,
)
from cleanup_pipeline.stores.fleet.leasing import PlaceLeases
from cleanup_pipeline.stores.fleet.places import Member, Places, unpack
from cleanup_pipeline.stores.fleet.rounds import MOST_FAULTS, MOST_PARKED, Rounds, Turn

log = logging.getLogger(__name__)

LITTLE = 0.05
"""Of the pause after a whole batch: what a look at a member that has nothing to delete asks for."""


class Cleaning:
    """The members that this process cleans, by target and shard."""

    def __init__(self, places: Places, leases: PlaceLeases) -> None:
        self._places = places
        self._leases = leases
        self._rounds: dict[tuple[str, int], Rounds] = {}
        self.last = 0
        """The place that the last batch was in."""

    def delete_batch(
        self, target: Target, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        """`Store.delete_batch`, of the member whose turn it is."""
        rounds = self._begun(target, shard, anew=cursor is None)
        turn = rounds.current
        if turn is None:
            return BatchOutcome(0, 0, None)
        uncertain, size = 0, min(size, turn.most or size)
        try:
            work_here = turn.work or self._opened(target, turn, cutoff)
            if not work_here.shards:
                rounds.finished(turn)
                return BatchOutcome(0, 0, rounds.cursor(), share=LITTLE)
            own = self._with_lease(target, turn)
            began = monotonic()
            batch = self._places.store_of(turn.member).delete_batch(
                own, work_here, work_here.shards[turn.shard], turn.cursor, size, cutoff
            )
            seconds = monotonic() - began
        except LeaseLostError:
            raise
        except SourceMissingError:
            rounds.finished(turn)
        except StoreError as fault:
            if turn.work is not None and is_gone(self._places.store_of(turn.member), turn.target):
                rounds.finished(turn)
                return BatchOutcome(0, 0, rounds.cursor(), share=LITTLE)
            if isinstance(fault, BatchTimeoutError) and rounds.took_too_long(turn, size):
                log.warning(
                    "%s: going on later, with %d records a batch: %s", turn.target.name, turn.most, fault.problem
                )
            elif not self._given_up(target, rounds, turn, fault):
                raise
            if turn.work is not None:
                uncertain = size if fault.at_most is None else fault.at_most
        else:
            rounds.took(turn, batch)
            share = max(LITTLE, batch.share) if batch.scanned else LITTLE
            slowest = seconds if batch.slowest_seconds is None else batch.slowest_seconds
            return replace(batch, cursor=rounds.cursor(), share=share, slowest_seconds=slowest)
        # How long a fault took says nothing of how large the batches of others may be.
        return BatchOutcome(0, 0, rounds.cursor(), share=LITTLE, uncertain=uncertain, slowest_seconds=0.0)

    def step_over(self, target: Target, shard: Shard, cutoff: datetime) -> Cursor | None:
        """`StepsOver.step_over`, of the member whose turn it is."""
        rounds = self._begun(target, shard, anew=False)
        turn = rounds.current
        if turn is None or turn.work is None:
            return rounds.cursor()
        if turn.parked >= MOST_PARKED:
            fault = StoreError(
                f"more than {MOST_PARKED} records cannot be removed",
                setting=f"targets.{turn.target.name}",
                remedy="see what refers to them",
            )
            rounds.failed(turn, fault)
            return rounds.cursor()
        store, onward = self._places.store_of(turn.member), None
        if isinstance(store, StepsOver):
            shard_here = turn.work.shards[turn.shard]
            onward = store.step_over(self._with_lease(target, turn), turn.work, shard_here, turn.cursor, cutoff)
        rounds.stepped_over(turn, onward)
        return rounds.cursor()

    def totals(self, target: Target, shard: Shard) -> MemberTotals | None:
        """What came of the members of a shard that this process cleans; None: it does not."""
        rounds = self._rounds.get((target.name, shard.index))
        return rounds.totals() if rounds else None

    def _begun(self, target: Target, shard: Shard, *, anew: bool) -> Rounds:
        key = (target.name, shard.index)
        # The first batch may be tried again: then nothing was answered yet.
        if key not in self._rounds or (anew and self._rounds[key].answered):
            self._rounds[key] = self._new_rounds(target, shard)
        return self._rounds[key]

    def _new_rounds(self, target: Target, shard: Shard) -> Rounds:
        turns: list[Turn] = []
        away: list[tuple[Turn, StoreError]] = []
        for member in unpack(shard):
            if not self._places.is_a_place_of(target, member):
                turns.append(Turn(member, self._places.target_of(target, member)))
                continue
            # Its server was away when the pass looked: who is there is to be found out first.
            try:
                found = self._places.find(target, member.place, database=member.database)
            except StoreError as fault:
                away.append((Turn(member, target), fault))
                continue
            turns += [Turn(replace(one, suspect=True), self._places.target_of(target, one)) for one in found]
        rounds = Rounds([*turns, *(turn for turn, _ in away)], self._places.name)
        for turn, met in away:
            rounds.failed(turn, met)
        return rounds

    def _opened(self, target: Target, turn: Turn, cutoff: datetime) -> Work:
        """Look at a member before the first of it is deleted, as at a target of its own. Raises StoreError."""
        store = self._places.store_of(turn.member)
        wrong = next((each for each in store.preflight(turn.target) if each.severity is Severity.ERROR), None)
        if wrong is not None:
            place = f"targets.{turn.target.name}"
            raise StoreError(wrong.what, setting=place, remedy=wrong.remedy or "see `check`")
        if turn.member.suspect:
            store.census(turn.target, cutoff, target.census_timeout)
        turn.work = store.plan(turn.target, cutoff, Census())
        return turn.work

    def _with_lease(self, target: Target, turn: Turn) -> Target:
        self.last = turn.member.place
        return replace(turn.target, lease=self._leases.for_batch(target, turn.member))

    def _given_up(self, target: Target, rounds: Rounds, turn: Turn, fault: StoreError) -> bool:
        """Whether a fault ends the member that met it and nothing else; else the engine is to try again."""
        turn.touched = True
        if isinstance(fault, RecordError):
            return False
        if isinstance(fault, UnavailableError | TransientError) and not isinstance(fault, BatchTimeoutError):
            turn.faults += 1
            if turn.faults < MOST_FAULTS:
                return False
        log.info("%s: given up for this pass: %s", turn.target.name, fault)
        whole = isinstance(fault, UnavailableError) and self._is_away(turn.member)
        rounds.failed(turn, fault, whole_place=whole)
        if whole:
            self._leases.give_up(target, turn.member.place)
        return True

    def _is_away(self, member: Member) -> bool:
        """Whether the place of a member that could not be reached is away with all others in it."""
        if not self._places.is_elsewhere(member):
            return True
        try:
            self._places.base(member.place).clock()
        except StoreError:
            return True
        return False


def is_gone(store: Store, own: Target) -> bool:
    """Whether a member was taken away since it was found, with all that was in it."""
    try:
        store.preflight(own)
    except SourceMissingError:
        return True
    except StoreError:
        pass
    return False
