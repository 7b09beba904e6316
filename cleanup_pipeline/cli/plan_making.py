"""Plans made: each target looked at, outlined, and put on record. Deletes nothing, and moves no figure."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from cleanup_pipeline.cli.brakes import judged_plans
from cleanup_pipeline.cli.plan_records import by_whom
from cleanup_pipeline.engine.applying import UNDATED, facets_of
from cleanup_pipeline.engine.cover import key_id
from cleanup_pipeline.engine.estimate import estimate_of
from cleanup_pipeline.engine.governor import closed_for
from cleanup_pipeline.engine.outlining import Budget, outline_of
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.plans import ToKeep, new_id
from cleanup_pipeline.model.plan import Finding, Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.reporting.codec import dump
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.plans import own_key
from cleanup_pipeline.stores.base import Store, StoreError

Opened = dict[str, Store]


def plans_of(settings: Settings, targets: Sequence[Target]) -> tuple[list[Plan], dict[str, str]]:
    """The plan of each target, and one line for each that has none. Kept nowhere."""
    stores: Opened = {}
    try:
        return _scanned(settings, targets, stores)
    finally:
        _close(stores)


def make_plan(settings: Settings, targets: Sequence[Target], opened: Ledger) -> tuple[str, list[Plan], dict[str, str]]:
    """A plan on record: its id, what it is of each target, and one line for each that has none.

    Raises LedgerError, and SettingsError for a key of hashes that is none.
    """
    now, plan_id = datetime.now(UTC), new_id()
    key = own_key(os.environ) or opened.plans.key(now)
    stores: Opened = {}
    try:
        plans, faults = _scanned(settings, targets, stores)
        by_name = {target.name: target for target in targets}
        kept = [
            _to_keep(replace(each, id=plan_id), by_name[each.target], stores, settings, opened, key) for each in plans
        ]
    finally:
        _close(stores)
    opened.plans.keep(plan_id, kept, now=now, valid_for=settings.plans.valid_for, made_by=by_whom())
    return plan_id, [each.plan for each in kept], faults


def _to_keep(
    plan: Plan, target: Target, stores: Mapping[str, Store], settings: Settings, opened: Ledger, key: bytes
) -> ToKeep:
    store = stores[target.store]
    outline, cover = outline_of(store, target, plan, key, Budget(target.census_timeout, settings.plans.sample, True))
    estimate = estimate_of(plan, target, opened.plans.measured(target.name))
    plan = replace(plan, outline=outline, estimate=estimate)
    if plan.work.undated and plan.skipped is None:
        remedy = f"run the pass {target.pass_name}"
        told = Finding(Severity.INFO, f"apply leaves it alone: {UNDATED}", remedy, code="undated")
        plan = replace(plan, findings=(*plan.findings, told))
    return ToKeep(plan, target.pass_name, facets_of(target, store), dump(plan), key_id(key), cover)


def _scanned(settings: Settings, targets: Sequence[Target], stores: Opened) -> tuple[list[Plan], dict[str, str]]:
    from cleanup_pipeline.stores.open import open_store

    plans: list[Plan] = []
    faults: dict[str, str] = {}
    for target in targets:
        if target.store not in stores:
            stores[target.store] = open_store(settings.stores[target.store])
        # Looking is allowed at any hour: a plan that is made by day may be meant for the night.
        at_any_hour = replace(target, pace=replace(target.pace, run_window=None))
        try:
            plan = scan(stores[target.store], at_any_hour, dry_run=False)
        except StoreError as fault:
            faults[target.name] = str(fault)
            continue
        closed = closed_for(target.pace, datetime.now(UTC), target.operation_timeout)
        if closed:
            plan = replace(plan, findings=(*plan.findings, Finding(Severity.INFO, closed, code="window-closed")))
        plans.append(plan)
    return judged_plans(plans, {target.name: target for target in targets}, stores), faults


def _close(stores: Opened) -> None:
    for store in stores.values():
        store.close()
