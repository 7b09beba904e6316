"""The ledger for whoever deletes: what cannot be written down is said once, and stops nobody."""

import logging
from collections.abc import Callable
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from cleanup_pipeline.ledger.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Plan

log = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0
"""How soon a ledger that was away is tried again."""
AHEAD = 8
"""Batches that are announced at once where no pause leaves time to announce each."""


class Recorder:
    """A ledger that is opened at the first use and never raises."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ledger: Ledger | None = None
        self._not_before = 0.0
        self._reserved: dict[tuple[str, str, int], int] = {}
        self.trouble: str | None = None
        """Why the last thing could not be written down; None when all was."""

    def begin_pass(
        self, run_id: str, pass_name: str, *, dry_run: bool, window: str | None, parent_run_id: str | None, host: str
    ) -> None:
        """`Ledger.begin_pass`."""
        self._write(
            lambda ledger: ledger.begin_pass(
                run_id, pass_name, dry_run=dry_run, window=window, parent_run_id=parent_run_id, host=host
            )
        )

    def record_plan(self, run_id: str, plan: Plan) -> None:
        """`Ledger.record_plan`."""
        self._write(lambda ledger: ledger.record_plan(run_id, plan))

    def begin_shard(self, run_id: str, plan: Plan, shard: int, *, bounded: bool) -> None:
        """`Ledger.begin_shard`. Not `bounded`: what a batch may remove is not limited by its size."""
        self._reserved[(run_id, plan.target, shard)] = 0
        self._write(lambda ledger: ledger.begin_shard(run_id, plan, shard, at_most=0 if bounded else None))

    def before_batch(self, run_id: str, target: str, shard: int, tally: Tally, size: int, *, ahead: int) -> None:
        """Announce a batch of `size`, and as many more as `ahead` says, where that was not done yet."""
        key = (run_id, target, shard)
        done = tally.deleted + tally.uncertain
        if done + size <= self._reserved.get(key, 0):
            return
        self._reserved[key] = done + size * ahead
        self._write(lambda ledger: ledger.progress(run_id, target, shard, tally, self._reserved[key]))

    def record_shard(self, run_id: str, outcome: ShardOutcome) -> None:
        """`Ledger.record_shard`."""
        self._write(lambda ledger: ledger.record_shard(run_id, outcome))

    def record_target(self, run_id: str, report: TargetReport) -> None:
        """`Ledger.record_target`."""
        self._write(lambda ledger: ledger.record_target(run_id, report))

    def close_pass(self, run_id: str, status: str, reason: str | None) -> None:
        """`Ledger.close_pass`."""
        self._write(lambda ledger: ledger.close_pass(run_id, status, reason))

    def close(self) -> None:
        """Close every connection. Safe to call twice."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _write(self, write: Callable[[Ledger], None]) -> None:
        if monotonic() < self._not_before:
            return
        try:
            if self._ledger is None:
                self._ledger = open_ledger(self._url)
            write(self._ledger)
        except (LedgerError, SQLAlchemyError) as fault:
            self._not_before = monotonic() + AGAIN_SECONDS
            line = (
                str(fault)
                if isinstance(fault, LedgerError)
                else f"the ledger cannot be written ({type(fault).__name__})"
            )
            if self.trouble is None:
                log.warning("%s; nothing of this is retained until it is back", line)
            self.trouble = line
        else:
            self.trouble = None
