"""Plans as the ledger keeps them: found, and shown again."""

import getpass
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.show import show_plan
from cleanup_pipeline.cli.show_plans import show_drift, show_outline
from cleanup_pipeline.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.ledger.plans import PlanRow, PlanTarget
from cleanup_pipeline.model.outline import Drift
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.reporting.codec import load

_LEAST_PREFIX = 4


@contextmanager
def ledger(*, usage: bool = False) -> Iterator[Ledger]:
    """The ledger, made where there is none. Raises LedgerError; `usage`: UsageError instead."""
    try:
        opened = open_ledger(ledger_url())
    except LedgerError as fault:
        if usage:
            raise UsageError(str(fault)) from None
        raise
    try:
        yield opened
    except LedgerError as fault:
        if usage:
            raise UsageError(str(fault)) from None
        raise
    finally:
        opened.close()


def by_whom() -> str:
    """user@host."""
    return f"{getpass.getuser()}@{platform.node()}"


def one_plan(opened: Ledger, plan_id: str) -> PlanRow:
    """The plan that is meant, by its id or the first letters of it. Raises UsageError."""
    if len(plan_id) < _LEAST_PREFIX:
        raise UsageError(f"PLAN: found {plan_id}, expected an id or at least its first {_LEAST_PREFIX} letters")
    row = opened.plans.find(plan_id)
    if row is None:
        raise UsageError(f"PLAN: no plan, or more than one, is {plan_id}; `cleanup-pipeline plans` lists them")
    return row


def plan_in(target: PlanTarget) -> Plan:
    """What was planned for one target."""
    return load(Plan, target.body)


def drift_in(target: PlanTarget) -> Drift | None:
    """What had become of it when it was applied."""
    return load(Drift, target.drift) if target.drift else None


def shown_again(out: Console, row: PlanRow, now: datetime) -> None:
    """A plan as it was made, and what came of it."""
    if row.run_id is not None:
        by = f"by the pass that carried it out, run {row.run_id[:8]}"
    else:
        by = f"by {row.made_by}; {row.state(now)}, good until {row.expires_at:%Y-%m-%d %H:%M} UTC"
    out.print(f"plan [bold]{row.id}[/bold], made {row.made_at:%Y-%m-%d %H:%M:%S} UTC {by}", highlight=False)
    for target in row.targets:
        out.print()
        plan = plan_in(target)
        show_plan(out, plan)
        show_outline(out, plan)
        if target.applied_at is not None:
            at = f"{target.applied_at:%Y-%m-%d %H:%M:%S} UTC in run {(target.applied_run or '')[:8]}"
            out.print(f"  applied  {at}", markup=False)
            drift = drift_in(target)
            if drift is not None:
                show_drift(out, drift)


def document(row: PlanRow, now: datetime, *, whole: bool) -> dict[str, Any]:
    """A plan for programs; `whole`: with all that was planned."""
    return {
        "plan": row.id,
        "state": row.state(now),
        "made_at": row.made_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "made_by": row.made_by or None,
        "run": row.run_id,
        "targets": [_target(each, whole) for each in row.targets],
    }


def _target(each: PlanTarget, whole: bool) -> dict[str, Any]:
    return {
        "target": each.target,
        "pass": each.pass_name,
        "kind": each.kind,
        "cutoff": each.cutoff.isoformat(),
        "expired": each.expired,
        "skipped": each.skipped,
        "applied_at": each.applied_at and each.applied_at.isoformat(),
        "applied_run": each.applied_run,
        "drift": each.drift and dict(each.drift),
        **({"plan": dict(each.body)} if whole else {}),
    }


def total_expired(targets: Sequence[PlanTarget]) -> int | None:
    """Of all targets together; None: of one nobody knows."""
    known = [each.expired for each in targets if each.skipped is None]
    return None if None in known else sum(each or 0 for each in known)
