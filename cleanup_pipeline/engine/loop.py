"""The loop that deletes: the only place where a store's `delete_batch` is called.

It knows no store by name and no Dagster. It decides how big the next batch is, whether to pause, what is worth another
try, and why to stop. It never raises for a fault of a store but says so in the outcome, so that a shard that ended
badly is counted like one that ended well.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic, sleep

from tenacity import RetryCallState, stop_after_attempt
from tenacity.stop import stop_base

from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, ShardOutcome, Tally
from cleanup_pipeline.model.plan import Shard, Work
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.stores.base import BatchTimeoutError, Store, StoreError

log = logging.getLogger(__name__)

Progress = Callable[[Tally], None]
StopAsked = Callable[[], StopReason | None]
Record = Callable[[ShardOutcome], None]


def _nothing(_: Tally) -> None:
    """Progress that nobody watches."""


def _never() -> StopReason | None:
    return None


@dataclass(frozen=True, slots=True)
class Watch:
    """Who follows a shard: `progress` after each batch, `stop_asked` before each, `record` once at the end."""

    record: Record
    progress: Progress = _nothing
    stop_asked: StopAsked = _never


def clean_shard(
    store: Store, target: Target, work: Work, shard: Shard, cutoff: datetime, limits: Limits, watch: Watch
) -> ShardOutcome:
    """Delete what is expired in one shard, batch by batch, until it is exhausted or something says stop.

    Returns the outcome, after handing it to `watch.record`, which also gets it when the process is being interrupted:
    then the interruption goes on upwards.
    """
    run = _Run(store, target, work, shard, cutoff, limits, watch)
    began = monotonic()
    reason, error = StopReason.TERMINATED, None
    try:
        reason, error = run.until_done(began)
    except Exception as fault:
        reason, error = StopReason.ERROR, f"targets.{target.name}: unexpected {type(fault).__name__}: {fault}"
        raise
    finally:
        outcome = ShardOutcome(target.name, shard.index, run.tally, reason, monotonic() - began, error)
        watch.record(outcome)
    return outcome


class _Run:
    """The state of one shard's loop."""

    def __init__(
        self, store: Store, target: Target, work: Work, shard: Shard, cutoff: datetime, limits: Limits, watch: Watch
    ) -> None:
        self.store, self.target, self.work, self.shard, self.cutoff = store, target, work, shard, cutoff
        self.limits, self.watch = limits, watch
        self.tally = Tally()
        self.size = limits.batch_size

    def until_done(self, began: float) -> tuple[StopReason, str | None]:
        cursor: Cursor | None = None
        while True:
            stop = self._reason_to_stop(began)
            if stop is not None:
                return stop, None
            started = monotonic()
            try:
                batch = self._batch(cursor, began)
            except BatchTimeoutError as fault:
                if self.size == 1:
                    return StopReason.ERROR, str(fault)
                self.size = max(1, self.size // 2)
                self.tally = replace(self.tally, halvings=self.tally.halvings + 1)
                log.warning("%s: a batch took too long, going on with %d records a batch", self.target.name, self.size)
                continue
            except StoreError as fault:
                return StopReason.ERROR, str(fault)
            self.tally = self.tally.with_batch(batch, monotonic() - started)
            self.watch.progress(self.tally)
            cursor = batch.cursor
            if cursor is None:
                return StopReason.EXHAUSTED, None
            self._pause(began)

    def _reason_to_stop(self, began: float) -> StopReason | None:
        asked = self.watch.stop_asked()
        if asked is not None:
            return asked
        if monotonic() - began >= self.limits.deadline.total_seconds():
            return StopReason.DEADLINE
        if self.limits.row_limit is not None and self.tally.deleted >= self.limits.row_limit:
            return StopReason.ROW_LIMIT
        return None

    def _batch(self, cursor: Cursor | None, began: float) -> BatchOutcome:
        size = self.size
        if self.limits.row_limit is not None:
            size = min(size, self.limits.row_limit - self.tally.deleted)
        trying = retrying(
            _StopAt(self.limits.attempts, began + self.limits.deadline.total_seconds(), self.watch.stop_asked),
            first=self.limits.first_backoff,
            longest=self.limits.longest_backoff,
            before_sleep=self._count_retry,
        )
        return trying(self.store.delete_batch, self.target, self.work, self.shard, cursor, size, self.cutoff)

    def _count_retry(self, state: RetryCallState) -> None:
        self.tally = replace(self.tally, retries=self.tally.retries + 1)
        fault = state.outcome.exception() if state.outcome else None
        log.warning("%s: attempt %d failed, trying again: %s", self.target.name, state.attempt_number, fault)

    def _pause(self, began: float) -> None:
        left = began + self.limits.deadline.total_seconds() - monotonic()
        seconds = min(self.limits.pause.total_seconds(), max(0.0, left))
        if seconds > 0:
            sleep(seconds)
            self.tally = replace(self.tally, paused_seconds=self.tally.paused_seconds + seconds)


class _StopAt(stop_base):
    """Give up after so many attempts, at the deadline, or when the pass is asked to stop."""

    def __init__(self, attempts: int, deadline: float, stop_asked: StopAsked) -> None:
        self._attempts = stop_after_attempt(attempts)
        self._deadline = deadline
        self._stop_asked = stop_asked

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._attempts(retry_state) or monotonic() >= self._deadline or self._stop_asked() is not None
