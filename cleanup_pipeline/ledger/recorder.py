"""The ledger for whoever deletes: what cannot be written down is kept for later, said once, and stops nobody."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import RLock
from time import monotonic
from typing import TypeVar

from cleanup_pipeline.ledger.connect import LedgerError, RefusedError
from cleanup_pipeline.ledger.keepings import KeepingRow
from cleanup_pipeline.ledger.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.plans import ToKeep
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Plan

log = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0
"""How soon a ledger that was away is tried again."""
AHEAD = 8
"""Batches that are announced at once where no pause leaves time to announce each."""
MOST_OWED = 10_000
"""Things to write down that are kept while the ledger is away; more are dropped, the oldest first."""

Write = Callable[[Ledger], None]
Answer = TypeVar("Answer")


class Recorder:
    """A ledger that is opened at the first use and never raises.

    What is to be written while it is away is written when it is back, if this process lives so long. A batch that is
    announced in the meantime is known to nobody when the process is killed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._ledger: Ledger | None = None
        self._not_before = 0.0
        self._reserved: dict[tuple[str, str, int], int] = {}
        self._unbounded: set[tuple[str, str, int]] = set()
        self._owed: dict[tuple[object, ...], Write] = {}
        self._lock = RLock()
        self._gap: str | None = None
        self.trouble: str | None = None
        """Why something is not written down yet, or never will be; None when all is."""

    def begin_pass(
        self,
        run_id: str,
        pass_name: str,
        *,
        dry_run: bool,
        window: str | None,
        parent_run_id: str | None,
        host: str,
        backfill: str | None = None,
    ) -> None:
        """`Ledger.begin_pass`."""
        self._write(
            ("pass", run_id),
            lambda ledger: ledger.begin_pass(
                run_id,
                pass_name,
                dry_run=dry_run,
                window=window,
                parent_run_id=parent_run_id,
                host=host,
                backfill=backfill,
            ),
        )

    def record_plan(self, run_id: str, plan: Plan) -> None:
        """`Ledger.record_plan`."""
        self._write(("plan", run_id, plan.target), lambda ledger: ledger.record_plan(run_id, plan))

    def keep_plan(self, plan_id: str, kept: ToKeep, *, now: datetime, valid_for: timedelta, run_id: str) -> None:
        """`Plans.keep`, of one target of a pass."""
        self._write(
            ("kept", plan_id, kept.plan.target),
            lambda ledger: ledger.plans.keep(plan_id, [kept], now=now, valid_for=valid_for, run_id=run_id),
        )

    def begin_shard(self, run_id: str, plan: Plan, shard: int, *, bounded: bool) -> None:
        """`Ledger.begin_shard`. Not `bounded`: what a batch may remove is not limited by its size."""
        key = (run_id, plan.target, shard)
        self._reserved[key] = 0
        if not bounded:
            self._unbounded.add(key)
        at_most = 0 if bounded else None
        self._write(("begin", *key), lambda ledger: ledger.begin_shard(run_id, plan, shard, at_most=at_most))

    def before_batch(self, run_id: str, target: str, shard: int, tally: Tally, size: int, *, ahead: int) -> None:
        """Announce a batch of `size`, and as many more as `ahead` says, where that was not done yet."""
        key = (run_id, target, shard)
        done = tally.deleted + tally.uncertain
        if done + size <= self._reserved.get(key, 0) and not self._owed:
            return
        self._reserved[key] = done + size * ahead
        at_most = None if key in self._unbounded else self._reserved[key]
        self._write(("progress", *key), lambda ledger: ledger.progress(run_id, target, shard, tally, at_most))

    def record_shard(self, run_id: str, outcome: ShardOutcome) -> None:
        """`Ledger.record_shard`."""
        key = (run_id, outcome.target, outcome.shard)
        self._reserved.pop(key, None)
        self._unbounded.discard(key)
        self._owed.pop(("progress", *key), None)
        self._write(("shard", *key), lambda ledger: ledger.record_shard(run_id, outcome))

    def record_target(self, run_id: str, report: TargetReport) -> None:
        """`Ledger.record_target`."""
        self._write(("target", run_id, report.target), lambda ledger: ledger.record_target(run_id, report))

    def close_pass(self, run_id: str, status: str, reason: str | None) -> None:
        """`Ledger.close_pass`."""
        self._write(("close", run_id, status), lambda ledger: ledger.close_pass(run_id, status, reason))

    def mark_lost(self, run_id: str, reason: str) -> None:
        """`Ledger.mark_lost`."""
        self._write(("lost", run_id), lambda ledger: ledger.mark_lost(run_id, reason))

    def record_keeping(self, row: KeepingRow) -> None:
        """`Keepings.record`."""
        key = ("keeping", row.run_id, row.target, row.shard)
        self._write(key, lambda ledger: ledger.keepings.record(row))

    def ask(self, question: Callable[[Ledger], Answer]) -> Answer | None:
        """What the ledger answers; None also when it is away or has none."""
        with self._lock:
            if monotonic() < self._not_before:
                return None
            try:
                ledger = self._ledger or open_ledger(self._url)
                self._ledger = ledger
                return question(ledger)
            except Exception as fault:  # noqa: BLE001 - a pass does not turn red for what is wrong with its record
                log.warning("the ledger was not asked: %s", fault if isinstance(fault, LedgerError) else type(fault))
                if isinstance(fault, LedgerError):
                    self._not_before = monotonic() + AGAIN_SECONDS
                return None

    def settle(self) -> str | None:
        """Write what is still owed, if that can be done now. Why something is not written down; None when all is."""
        with self._lock:
            if self._owed:
                self._not_before = 0.0
                self._pay()
            return self.trouble

    def close(self) -> None:
        """`settle`, and close every connection. Safe to call twice."""
        with self._lock:
            self.settle()
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None

    def _write(self, key: tuple[object, ...], write: Write) -> None:
        with self._lock:
            # Anew at the end: it is to follow what was written before it.
            self._owed.pop(key, None)
            self._owed[key] = write
            if len(self._owed) > MOST_OWED:
                self._owed.pop(next(iter(self._owed)))
                self._lack(f"the ledger was away for too long: more than {MOST_OWED} things to be written down")
            self._pay()

    def _pay(self) -> None:
        if monotonic() < self._not_before:
            return
        try:
            while self._owed:
                self._put(*next(iter(self._owed.items())))
        except LedgerError as fault:
            self._not_before = monotonic() + AGAIN_SECONDS
            self._in_trouble(str(fault))
        else:
            self.trouble = self._gap

    def _put(self, key: tuple[object, ...], write: Write) -> None:
        ledger = self._ledger or open_ledger(self._url)
        self._ledger = ledger
        try:
            write(ledger)
        except RefusedError as fault:
            self._lack(str(fault))
        except LedgerError:
            raise
        except Exception as fault:  # noqa: BLE001 - a pass does not turn red for what is wrong with its record
            self._lack(f"something could not be put into the ledger: unexpected {type(fault).__name__}")
        del self._owed[key]

    def _lack(self, line: str) -> None:
        """Something will never be written; what comes after it may be."""
        self._in_trouble(line)
        self._gap = line

    def _in_trouble(self, line: str) -> None:
        if self.trouble is None:
            log.warning("%s; deleting goes on, and it is tried again every %.0f s", line, AGAIN_SECONDS)
        self.trouble = line
