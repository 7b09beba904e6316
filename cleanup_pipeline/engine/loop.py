"""The loop that deletes: the only place where a store's `delete_batch` is called.

It knows no store by name and no Dagster. It asks the governor before each batch, and decides what is worth another
try, what to step over, and why to stop. It never raises for a fault of a store but says so in the outcome, so that a
shard that ended badly is counted like one that ended well.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic, sleep

from tenacity import RetryCallState, Retrying, stop_after_attempt
from tenacity.stop import stop_base

from cleanup_pipeline.engine.budget import Budget
from cleanup_pipeline.engine.cost import Meter
from cleanup_pipeline.engine.governor import Governor, HostClock, Stop, host_clock
from cleanup_pipeline.engine.lease import Keeper
from cleanup_pipeline.engine.limits import Limits, quota
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.engine.signals import Hold
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, ShardOutcome, Tally
from cleanup_pipeline.model.plan import Shard, Work
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.stores.base import (
    BatchTimeoutError,
    HasMembers,
    LeaseLostError,
    RecordError,
    StepsOver,
    Store,
    StoreError,
)
from cleanup_pipeline.stores.open import store_for

log = logging.getLogger(__name__)

MAX_PARKED = 100
"""Records that one shard steps over before it ends with an error: finding each costs about ten batches."""
SPREAD = 250
"""Records of one batch where the settings ask for pauses: four of them, each with a quarter of the pause behind it, are
felt less than one of four times the length (docs/benchmarks.md)."""
NAP_SECONDS = 0.2
"""How soon a rest ends after the pass was asked to stop."""

_GOES_ON = {StopReason.EXHAUSTED, StopReason.DEADLINE, StopReason.ROW_LIMIT, StopReason.GOVERNOR}

Progress = Callable[[Tally], None]
StopAsked = Callable[[], StopReason | None]
Before = Callable[[Tally, int], None]
Record = Callable[[ShardOutcome], None]


def at_once(size: int, *, pauses: bool) -> int:
    """Records of the next batch, by the size that the governor allows."""
    return min(size, SPREAD) if pauses else size


def _nothing(_: Tally) -> None:
    """Progress that nobody watches."""


def _nothing_before(_: Tally, __: int) -> None:
    """A batch that nobody is told of."""


def _never() -> StopReason | None:
    return None


@dataclass(frozen=True, slots=True)
class Watch:
    """Who follows a shard: `stop_asked` and then `before` (with the batch's size) before each batch, `progress` after
    it, `record` once at the end."""

    record: Record
    progress: Progress = _nothing
    stop_asked: StopAsked = _never
    before: Before = _nothing_before
    budget: Budget | None = None
    """What it shares with others; None: nothing."""


def clean_shard(
    store: Store,
    target: Target,
    work: Work,
    shard: Shard,
    cutoff: datetime,
    limits: Limits,
    watch: Watch,
    clock: HostClock = host_clock,
    *,
    lease: Lease | None = None,
) -> ShardOutcome:
    """Delete what is expired in one shard, batch by batch, until it is exhausted or something says stop.

    Returns the outcome, after handing it to `watch.record`, which also gets it when the process is being interrupted:
    then the interruption goes on upwards. `clock` is what the run window is held against.

    With a `lease` the shard asks the store for the target first, and is skipped while somebody else has it.
    """
    store = store_for(store, target)
    keeper = Keeper(store, target, lease, work, shard)
    run = _Run(store, keeper, work, shard, cutoff, limits, watch, clock)
    began = monotonic()
    reason, error = StopReason.TERMINATED, None
    try:
        reason, error = run.begin() or run.until_done()
    except Exception as fault:
        reason, error = StopReason.ERROR, f"targets.{target.name}: unexpected {type(fault).__name__}, see the run's log"
        raise
    finally:
        keeper.release(goes_on=reason in _GOES_ON)
        members = store.totals(target, shard) if isinstance(store, HasMembers) else None
        outcome = ShardOutcome(
            target=target.name,
            shard=shard.index,
            tally=run.tally,
            stop_reason=reason,
            seconds=monotonic() - began,
            error=error or (members.fault if members else None) or run.parked_error,
            note=run.note or (str(members) if members else None),
            members=members,
            cpu_seconds=run.meter.cpu_seconds,
            peak_rss=run.meter.peak_rss,
        )
        watch.record(outcome)
    return outcome


class _Run:
    """The state of one shard's loop."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        work: Work,
        shard: Shard,
        cutoff: datetime,
        limits: Limits,
        watch: Watch,
        clock: HostClock,
    ) -> None:
        self.store, self.keeper, self.work, self.shard, self.cutoff = store, keeper, work, shard, cutoff
        self.limits, self.watch = limits, watch
        self.ends = monotonic() + limits.deadline.total_seconds()
        self.quota = quota(limits.row_limit, work.shards, shard)
        self.governor = Governor(store, limits.pace, limits.batch_size, limits.pause.total_seconds(), clock)
        self.meter = Meter()
        self.tally = Tally()
        self.held: Hold | None = None
        self.attempt_began = 0.0
        self.kept_before = 0.0
        self.asked = 0
        self.note: str | None = None
        self.parked_by: StoreError | None = None

    @property
    def target(self) -> Target:
        return self.keeper.target

    def begin(self) -> tuple[StopReason, str | None] | None:
        """Ask for the target; why there is nothing to do, or None to go on."""
        try:
            holder = self.keeper.acquire()
        except StoreError as fault:
            return StopReason.ERROR, str(fault)
        if holder is None:
            return None
        self.note = str(holder)
        log.info("%s: skipped, %s", self.target.name, holder)
        return StopReason.SKIPPED, None

    def until_done(self) -> tuple[StopReason, str | None]:
        cursor: Cursor | None = None
        while True:
            stop = self._reason_to_stop() or self._held_back()
            if stop is not None:
                return stop, None
            if self.held is not None or self._beyond_budget():
                continue
            try:
                batch = self._batch(cursor)
            except (BatchTimeoutError, RecordError) as fault:
                self._note_lost_answer(fault)
                if self._halved(fault):
                    continue
                cursor, error = self._park(cursor, fault)
                if error is not None or cursor is None:
                    return (StopReason.ERROR if error else StopReason.EXHAUSTED), error
                continue
            except LeaseLostError as fault:
                self._note_lost_answer(fault)
                self.note = fault.problem
                return StopReason.LEASE_LOST, None
            except StoreError as fault:
                self._note_lost_answer(fault)
                return StopReason.ERROR, str(fault)
            part = batch.share * self.asked / max(1, self.governor.size)
            self._count(batch)
            cursor = batch.cursor
            if cursor is None:
                return StopReason.EXHAUSTED, None
            self.tally = replace(
                self.tally,
                # While somebody kept what the batch removed, the store had its rest already.
                paused_seconds=self.tally.paused_seconds
                + self._rest(max(0.0, self.governor.pause_after(part) - self._kept_seconds())),
            )

    def _kept_seconds(self) -> float:
        """How much of the last attempt went into keeping what it removed, and not into the store."""
        handover = self.target.handover
        return 0.0 if handover is None else handover.seconds - self.kept_before

    def _reason_to_stop(self) -> StopReason | None:
        asked = self.watch.stop_asked()
        if asked is not None:
            return asked
        lost = self.keeper.keep()
        if lost is not None:
            self.note = lost.problem
            return StopReason.LEASE_LOST
        if self.quota is not None and self.tally.deleted >= self.quota:
            return StopReason.ROW_LIMIT
        if monotonic() < self.ends:
            return None
        if self.held is None:
            return StopReason.DEADLINE
        self.note = f"{self.held.text}; waited until the deadline"
        return StopReason.GOVERNOR

    def _held_back(self) -> StopReason | None:
        """Ask the governor. When it says wait, wait a little, with `held` set for as long as it does."""
        admission = self.governor.admit(self.ends - monotonic())
        if admission is None:
            self.held = None
            return None
        first = self.held is None or self.held.reason != admission.hold.reason
        if first:
            self.tally = self.tally.slowed_by(admission.hold.reason)
            log.info("%s: %s", self.target.name, admission.hold.text)
        self.held = admission.hold
        if isinstance(admission, Stop):
            self.note = admission.hold.text
            return StopReason.GOVERNOR
        self.tally = replace(self.tally, waited_seconds=self.tally.waited_seconds + self._rest(admission.seconds))
        self.watch.progress(self.tally)
        return None

    def _beyond_budget(self) -> bool:
        """Wait until the budget has something for this shard, and say whether there was such a wait."""
        seconds = self.watch.budget.due_in() if self.watch.budget else 0.0
        if seconds <= 0:
            return False
        self.tally = self.tally.slowed_by("budget", self._rest(seconds))
        self.watch.progress(self.tally)
        return True

    def _batch(self, cursor: Cursor | None) -> BatchOutcome:
        size = at_once(self.governor.size, pauses=bool(self.limits.pause))
        if self.quota is not None:
            size = min(size, self.quota - self.tally.deleted)
        if self.watch.budget is not None:
            size = self.watch.budget.most(size)
        self.asked = size
        return self._trying()(self._attempt, cursor, size)

    def _attempt(self, cursor: Cursor | None, size: int) -> BatchOutcome:
        # Each attempt is timed by itself: what was slept before it says nothing about the store.
        self.watch.before(self.tally, size)
        self.attempt_began = monotonic()
        self.kept_before = 0.0 if self.target.handover is None else self.target.handover.seconds
        return self.store.delete_batch(self.target, self.work, self.shard, cursor, size, self.cutoff)

    def _trying(self) -> Retrying:
        return retrying(
            _StopAt(self.limits.attempts, self.ends, self.watch.stop_asked),
            first=self.limits.first_backoff,
            longest=self.limits.longest_backoff,
            before_sleep=self._count_retry,
            sleep=self._rest,
        )

    def _count(self, batch: BatchOutcome) -> None:
        seconds = monotonic() - self.attempt_began
        self.tally = self.tally.with_batch(batch, seconds)
        if self.watch.budget is not None:
            self.watch.budget.spend(batch.deleted)
        if self.governor.observe(max(0.0, seconds - self._kept_seconds()), batch.slowest_seconds):
            self.tally = self.tally.slowed_by("latency")
        self.meter.sample()
        self.watch.progress(self.tally)

    def _note_lost_answer(self, fault: BaseException | None) -> None:
        if not isinstance(fault, StoreError) or fault.at_most == 0:
            return
        at_most = self.asked if fault.at_most is None else fault.at_most
        self.tally = replace(self.tally, uncertain=self.tally.uncertain + at_most)

    def _count_retry(self, state: RetryCallState) -> None:
        self.tally = replace(self.tally, retries=self.tally.retries + 1)
        fault = state.outcome.exception() if state.outcome else None
        self._note_lost_answer(fault)
        log.warning("%s: attempt %d failed, trying again: %s", self.target.name, state.attempt_number, fault)

    def _halved(self, fault: StoreError) -> bool:
        if not self.governor.halve(timed_out=isinstance(fault, BatchTimeoutError)):
            return False
        self.tally = replace(self.tally, halvings=self.tally.halvings + 1)
        log.warning("%s: going on with %d records a batch: %s", self.target.name, self.governor.size, fault.problem)
        return True

    def _park(self, cursor: Cursor | None, fault: StoreError) -> tuple[Cursor | None, str | None]:
        """Step over the one record that a batch of one failed on: where to go on, or why that is not possible."""
        if self.tally.parked >= MAX_PARKED or not isinstance(self.store, StepsOver):
            return None, str(fault)
        try:
            onward = self._trying()(self.store.step_over, self.target, self.work, self.shard, cursor, self.cutoff)
        except StoreError:
            log.warning("%s: cannot step over the record", self.target.name, exc_info=True)
            return None, str(fault)
        self.tally = replace(self.tally, parked=self.tally.parked + 1)
        self.parked_by = fault
        return onward, None

    @property
    def parked_error(self) -> str | None:
        """What keeps the parked records from going; a shard that left some has not done its work."""
        if self.parked_by is None:
            return None
        fault, parked = self.parked_by, self.tally.parked
        records = "1 record was" if parked == 1 else f"{parked} records were"
        return f"{fault.setting}: {records} stepped over: {fault.problem}; {fault.remedy}"

    def _rest(self, seconds: float) -> float:
        """Sleep, but not past the deadline, nor long after being asked to stop. Returns the seconds slept."""
        began = monotonic()
        until = min(began + seconds, self.ends)
        while (left := until - monotonic()) > 0 and self.watch.stop_asked() is None:
            sleep(min(left, NAP_SECONDS))
            if self.keeper.keep() is not None:
                break  # the next batch meets it as well
        return monotonic() - began


class _StopAt(stop_base):
    """Give up after so many attempts, at the deadline, or when the pass is asked to stop."""

    def __init__(self, attempts: int, deadline: float, stop_asked: StopAsked) -> None:
        self._attempts = stop_after_attempt(attempts)
        self._deadline = deadline
        self._stop_asked = stop_asked

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._attempts(retry_state) or monotonic() >= self._deadline or self._stop_asked() is not None
