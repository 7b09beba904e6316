"""Plans in a run: a pass is its own plan and writes it down, or it carries out an earlier one and nothing else.

Does not belong here: what a plan covers (engine/cover.py), whether it may still be carried out (engine/applying.py).
"""

import os
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.engine import applying
from cleanup_pipeline.engine.cover import key_id
from cleanup_pipeline.engine.estimate import estimate_of
from cleanup_pipeline.engine.outlining import PASS, Budget, outline_of
from cleanup_pipeline.engine.scan import switched_off
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.plans import ToKeep, id_of_run
from cleanup_pipeline.model.outline import Outline
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.reporting.codec import dump
from cleanup_pipeline.settings.plans import PlanSettings, own_key
from cleanup_pipeline.stores.base import Store, StoreError


def key_of(ledger: Recorder, now: datetime) -> bytes | None:
    """The key of hashes: the environment's, else the ledger's own; None: that is away."""
    return own_key(os.environ) or ledger.ask(lambda opened: opened.plans.key(now))


def scan_planned(
    context: dg.OpExecutionContext, ledger: Recorder, target: Target, store: Store, plan_id: str, *, dry_run: bool
) -> Plan:
    """The plan of a target under an earlier plan. Raises StoreError where that may not be carried out, and says why."""
    now = datetime.now(UTC)
    planned = _planned(ledger, target, plan_id)
    if planned is None:
        return switched_off(target, f"plan {plan_id} is not about it")
    if planned.undated:
        return switched_off(target, f"plan {plan_id} does not cover it: {applying.UNDATED}")
    used = ledger.ask(lambda opened: opened.plans.applied_by(plan_id, target.name))
    if used is not None and used not in _mine(context):
        raise _used(target, plan_id, used)
    key = key_of(ledger, now)
    if key is None:
        raise _away(target, plan_id)
    plan = applying.scan_planned(store, target, planned, key, dry_run=dry_run, now=now)
    return replace(plan, id=plan_id) if plan.skipped is None else plan


def on_record(
    context: dg.OpExecutionContext, ledger: Recorder, target: Target, store: Store, plan: Plan, settings: PlanSettings
) -> Plan:
    """The plan with what people judge it by, on record under its id. One that carries out an earlier one uses that up.

    Never raises for a ledger that is away, but where a plan would be used twice for it: then StoreError.
    """
    if plan.skipped is not None:
        return plan
    now = datetime.now(UTC)
    if plan.approval is not None:
        return _claimed(context, ledger, target, plan, now)
    plan_id = id_of_run(context.run_id)
    key = key_of(ledger, now)
    measured = ledger.ask(lambda opened: opened.plans.measured(target.name))
    outline = _outline(context, target, store, plan, key, settings)
    plan = replace(plan, id=plan_id, outline=outline, estimate=estimate_of(plan, target, measured))
    kept = ToKeep(plan, target.pass_name, applying.facets_of(target, store), dump(plan), key_id(key) if key else "")
    ledger.keep_plan(plan_id, kept, now=now, valid_for=settings.valid_for, run_id=context.run_id)
    context.instance.add_run_tags(context.run_id, {names.PLAN_TAG: plan_id})
    return plan


def _outline(
    context: dg.OpExecutionContext, target: Target, store: Store, plan: Plan, key: bytes | None, settings: PlanSettings
) -> Outline | None:
    if key is None:
        return None
    try:
        return outline_of(store, target, plan, key, Budget(PASS, settings.sample, everything=False))[0]
    except Exception as fault:  # noqa: BLE001 - what is only shown is no reason for a pass to fail
        context.log.warning("%s: not outlined: unexpected %s", target.name, type(fault).__name__)
        return None


def of_plan(ledger: Recorder, store: Store, target: Target, plan: Plan) -> Target:
    """The target as a plan is about it: its window, and less what came after the plan that it carries out.

    Raises StoreError where that cannot be told any more.
    """
    target = replace(target, since=plan.since)
    if plan.approval is None:
        return target
    planned = _planned(ledger, target, plan.approval.plan)
    key = key_of(ledger, datetime.now(UTC))
    if planned is None or key is None:
        raise _away(target, plan.approval.plan)
    return applying.sparing(store, target, planned, key)


def _planned(ledger: Recorder, target: Target, plan_id: str) -> applying.Planned | None:
    """None: the plan is not about the target. Raises StoreError where there is no such plan, or no ledger."""
    answer = ledger.ask(lambda opened: (opened.plans.find(plan_id), opened.plans.planned(plan_id, target.name)))
    if answer is None:
        raise _away(target, plan_id)
    found, planned = answer
    if found is None or found.id != plan_id or found.run_id is not None:
        what = f"there is no plan {plan_id} that could be applied"
        raise StoreError(what, setting=f"targets.{target.name}", remedy="`cleanup-pipeline plans` lists them")
    return planned


def _claimed(context: dg.OpExecutionContext, ledger: Recorder, target: Target, plan: Plan, now: datetime) -> Plan:
    if plan.dry_run or plan.braked or plan.approval is None:
        return plan
    plan_id, drift = plan.approval.plan, plan.approval.drift
    figures = dump(drift) if drift is not None else {}
    run_id = ledger.ask(lambda opened: opened.plans.claim(plan_id, target.name, context.run_id, figures, now))
    if run_id is None:
        raise _away(target, plan_id)
    if run_id not in _mine(context):
        raise _used(target, plan_id, run_id)
    context.instance.add_run_tags(context.run_id, {names.PLAN_TAG: plan_id, names.APPLIES_TAG: plan_id})
    return plan


def _mine(context: dg.OpExecutionContext) -> set[str | None]:
    """This run, and those that it repeats: what they were told to carry out is to be carried out."""
    return {context.run_id, context.run.parent_run_id, context.run.root_run_id}


def _used(target: Target, plan_id: str, run_id: str) -> StoreError:
    what = f"plan {plan_id} was applied already, in run {run_id[:8]}"
    return StoreError(what, setting=f"targets.{target.name}", remedy="make a new plan")


def _away(target: Target, plan_id: str) -> StoreError:
    what = f"the ledger does not answer, and it alone knows what plan {plan_id} covers"
    return StoreError(what, setting=f"targets.{target.name}", remedy="bring it back (CLEANUP_LEDGER_URL)")
