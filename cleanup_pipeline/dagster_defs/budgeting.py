"""One budget over all processes of an instance: each shard at work has an equal share, as the ledger counts them.

Does not belong here: how a share is kept to (engine/budget.py).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic

from cleanup_pipeline.engine.budget import Budget
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.sharing import at_work
from cleanup_pipeline.model.target import Target

LOOK_SECONDS = 1.0
"""How soon a shard that begins or ends elsewhere changes the shares."""
_KEPT = 100
_budgets: dict[tuple[str, str], Budget] = {}
"""By run and store: shards that follow each other in one process go on where the last one stopped."""


class _Shares:
    """What falls to each shard at work. While the ledger is away, as it was when that was last known."""

    def __init__(self, ledger: Recorder, target: Target) -> None:
        self._ledger, self._target = ledger, target
        self._counts: Mapping[str, int] = {}
        self._next = 0.0

    def allowance(self) -> float | None:
        pace = self._target.pace
        if monotonic() >= self._next:
            counts = self._ledger.ask(lambda opened: at_work(opened.place, datetime.now(UTC)))
            self._counts = self._counts if counts is None else counts
            self._next = monotonic() + LOOK_SECONDS
        shares: list[float] = []
        if pace.budget is not None:
            shares.append(pace.budget / max(1, sum(self._counts.values())))
        if pace.store_budget is not None:
            shares.append(pace.store_budget / max(1, self._counts.get(self._target.store, 1)))
        return min(shares, default=None)


def budget_of(ledger: Recorder, target: Target, run_id: str) -> Budget | None:
    """What the shards of a target are held to; None: nothing."""
    if target.pace.budget is None and target.pace.store_budget is None:
        return None
    key = (run_id, target.store)
    if key not in _budgets:
        if len(_budgets) >= _KEPT:
            _budgets.clear()
        _budgets[key] = Budget(_Shares(ledger, target).allowance)
    return _budgets[key]
