"""Whose turn it is among the members of one shard, and what came of each.

Each gets a slice of a few batches and goes to the end of the queue: however much one has, all others are served in
between (round-robin). A member that cannot be cleaned leaves the queue and keeps nobody else from being cleaned.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cleanup_pipeline.model.members import MOST_NAMED, MemberTotals, largest
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Work
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.fleet.places import Member

SLICE = 4
"""Batches of one turn."""
MOST_FAULTS = 3
"""Tries of one batch, with the engine's pause between them, after which a member is given up for this pass."""
SMALLER = 8
"""By how much a member's next batch is smaller when one took too long: three steps from 1000 to one record."""
MOST_PARKED = 20
"""Records of one member that are stepped over before it is given up for this pass."""


@dataclass(slots=True)
class Turn:
    """How far one member has come."""

    member: Member
    target: Target
    work: Work | None = None
    """None: it was not looked at yet."""
    shard: int = 0
    """Which shard of `work` is being cleaned."""
    cursor: Cursor | None = None
    slices: int = 0
    """Batches since its turn began."""
    deleted: int = 0
    touched: bool = False
    faults: int = 0
    """One after another."""
    parked: int = 0
    most: int | None = None
    """Records of a batch, after one that took too long. Of this member alone, and to the end of the pass."""


class Rounds:
    """The members of one shard, in turns."""

    def __init__(self, turns: Sequence[Turn], name: Callable[[Member], str]) -> None:
        self._queue = deque(turns)
        self._name = name
        self._found = len(turns)
        self._finished = 0
        self._left: list[Turn] = []
        self._failed: list[tuple[Turn, StoreError]] = []
        self.answered = False
        """Whether a batch, or what came instead of one, was answered."""

    @property
    def current(self) -> Turn | None:
        """Whose turn it is; None: nobody is left."""
        return self._queue[0] if self._queue else None

    def cursor(self) -> Cursor | None:
        """What the engine is told: there is more, or not."""
        self.answered = True
        return {"members_left": len(self._queue)} if self._queue else None

    def took(self, turn: Turn, outcome: BatchOutcome) -> None:
        """A batch of the current member went well."""
        turn.touched, turn.faults = True, 0
        turn.deleted += outcome.deleted
        turn.slices += 1
        turn.cursor = outcome.cursor
        if outcome.cursor is None:
            self._next_shard(turn)
        elif turn.slices >= SLICE:
            self._to_the_end()

    def stepped_over(self, turn: Turn, onward: Cursor | None) -> None:
        """A record of the current member was left where it is."""
        turn.parked += 1
        turn.cursor = onward
        if onward is None:
            self._next_shard(turn)

    def took_too_long(self, turn: Turn, size: int) -> bool:
        """A batch of `size` of the current member did: others come first, before a smaller one; False: none is left."""
        turn.touched = True
        if size <= 1:
            return False
        turn.most = size // SMALLER or 1
        self._to_the_end()
        return True

    def finished(self, turn: Turn) -> None:
        """The current member has nothing more."""
        turn.touched = True
        self._finished += 1
        self._left.append(self._queue.popleft())

    def failed(self, turn: Turn, fault: StoreError, *, whole_place: bool = False) -> None:
        """The current member cannot be cleaned; with `whole_place` none of its place can."""
        gone = [one for one in self._queue if one is turn or (whole_place and one.member.place == turn.member.place)]
        self._failed += [(one, fault) for one in gone]
        self._queue = deque(one for one in self._queue if one not in gone)

    def totals(self) -> MemberTotals:
        """What came of all of them so far."""
        every = [*self._left, *self._queue, *(turn for turn, _ in self._failed)]
        counted = {self._name(turn.member): turn.deleted for turn in every}
        top = largest(counted)
        names = [self._name(turn.member) for turn, _ in self._failed]
        return MemberTotals(
            found=self._found,
            finished=self._finished,
            unreached=sum(not turn.touched for turn in self._queue),
            failed=tuple(names[:MOST_NAMED]),
            failures=len(names),
            top=top,
            others=sum(counted.values()) - sum(top.values()),
            fault=self._fault(names),
        )

    def _fault(self, names: Sequence[str]) -> str | None:
        if not self._failed:
            return None
        count = "1 member was" if len(names) == 1 else f"{len(names):,} members were"
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"{count} not cleaned to the end ({shown}): {self._failed[0][1]}"

    def _next_shard(self, turn: Turn) -> None:
        turn.cursor = None
        turn.shard += 1
        if turn.work is None or turn.shard >= len(turn.work.shards):
            self.finished(turn)
        elif turn.slices >= SLICE:
            self._to_the_end()

    def _to_the_end(self) -> None:
        self._queue[0].slices = 0
        self._queue.rotate(-1)
