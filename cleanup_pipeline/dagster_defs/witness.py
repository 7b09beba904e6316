"""Looks at a target for its two asset checks, and puts the judgement on record. Deletes nothing.

Does not belong here: the judgement (observability/witness.py), jobs and sensors (checks.py).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.switches import paused
from cleanup_pipeline.engine.governor import closed_for
from cleanup_pipeline.engine.remains import remains_of
from cleanup_pipeline.ledger import LedgerError, open_ledger
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.outcome import Remains
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.observability.witness import Judgement, Look, Past, judge
from cleanup_pipeline.settings.settings import PassSettings
from cleanup_pipeline.stores.base import Store, StoreError

SURVIVOR, FRESHNESS = "oldest_survivor", "freshness"
CHECKS = (SURVIVOR, FRESHNESS)


def witness(
    instance: dg.DagsterInstance,
    store: Store,
    target: Target,
    of_pass: PassSettings,
    *,
    enabled: bool = True,
    run_id: str | None = None,
) -> Judgement:
    """Look, judge, and write it into the ledger. Never raises for a store or a ledger: then it is unknown.

    `enabled` False: cleaning is switched off. `run_id` is the pass that it looks behind.
    """
    resting = _resting(instance, target, enabled)
    # Where nothing is meant to be cleaned, what is there is nobody's fault, and the store need not be asked.
    look = None if resting else _look(store, target)
    now = datetime.now(UTC)
    url = ledger_url(instance)
    judgement = judge(target, of_pass.every, look, _past(url, target), now, resting=resting, run_id=run_id)
    try:
        ledger = open_ledger(url)
        try:
            ledger.add_witness(judgement.row)
        finally:
            ledger.close()
    except LedgerError as fault:
        dg.get_dagster_logger("cleanup").warning("the judgement of %s is not on record: %s", target.name, fault)
    return judgement


def evaluations(judgement: Judgement) -> Iterator[dg.AssetCheckEvaluation]:
    """A judgement as the results of the target's two checks.

    What is unknown has not passed, and warns; what rests has passed, and says why.
    """
    row = judgement.row
    key = names.asset_key(row.target)
    shared: dict[str, dg.MetadataValue[Any]] = {"pass": dg.MetadataValue.text(row.pass_name)}
    if row.run_id:
        shared["after_run"] = dg.MetadataValue.dagster_run(row.run_id)
    age = None if row.oldest_survivor is None else (row.checked_at - row.oldest_survivor).total_seconds()
    survivor: dict[str, dg.MetadataValue[Any]] = {
        "survivors": dg.MetadataValue.text("unknown") if row.survivors is None else dg.MetadataValue.int(row.survivors),
        **({"oldest_survivor_age_seconds": dg.MetadataValue.float(round(max(0.0, age), 1))} if age is not None else {}),
        **({"due_since": dg.MetadataValue.timestamp(row.oldest_survivor)} if row.oldest_survivor else {}),
        # A text: numbers are plotted, and this one never moves.
        "objective": dg.MetadataValue.text(format_duration(timedelta(seconds=row.objective_seconds))),
    }
    freshness: dict[str, dg.MetadataValue[Any]] = {
        "last_success": dg.MetadataValue.timestamp(row.last_success)
        if row.last_success
        else dg.MetadataValue.text("never"),
    }
    for name, verdict, said, metadata in (
        (SURVIVOR, row.old_enough, judgement.about_survivors, survivor),
        (FRESHNESS, row.fresh, judgement.about_freshness, freshness),
    ):
        rests = judgement.resting is not None
        found: dict[str, dg.MetadataValue[Any]] = (
            {"not_judged": dg.MetadataValue.text(judgement.resting)} if judgement.resting is not None else metadata
        )
        unknown = verdict is None and not rests
        yield dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            passed=verdict is True or rests,
            metadata={**found, **shared},
            severity=dg.AssetCheckSeverity.WARN if unknown else dg.AssetCheckSeverity.ERROR,
            description=said,
        )


def _resting(instance: dg.DagsterInstance, target: Target, enabled: bool) -> str | None:
    if not enabled:
        return "cleanup is switched off (enabled: false)"
    if target.mode is Mode.DRY_RUN:
        return "the target is in mode dry_run"
    order = paused(instance, target.name)
    if order is not None:
        return str(order)
    return closed_for(target.pace, datetime.now(UTC), target.operation_timeout)


def _look(store: Store, target: Target) -> Look:
    try:
        at, remains = remains_of(store, target)
    except StoreError as fault:
        return Look(datetime.now(UTC), Remains(None, None, known=False), str(fault))
    return Look(at, remains)


def _past(url: str, target: Target) -> Past:
    try:
        ledger = open_ledger(url)
        try:
            return Past(
                ledger.last_success(target=target.name),
                ledger.first_known(target.name),
                ledger.recently_removed(target.name),
            )
        finally:
            ledger.close()
    except LedgerError as fault:
        return Past(fault=str(fault))
