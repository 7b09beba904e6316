"""What every step of a pass begins with and how it ends red: its tags, store and ledger.

Does not belong here: what a step does (ops.py, deleting.py).
"""

from platform import node

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.canaries import Cage
from cleanup_pipeline.dagster_defs.process import tag_process
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.ledger.recorder import Recorder
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings.execution import ELSEWHERE
from cleanup_pipeline.stores.base import Store, StoreError
from cleanup_pipeline.stores.open import store_for


def tags_of(target: Target) -> dict[str, str]:
    """Of each step of a target."""
    return {"cleanup/store": target.store, "cleanup/kind": target.kind}


def store_of(context: dg.OpExecutionContext, target: Target) -> Store:
    """The store of a target, or all of those that it stands for."""
    return store_for(getattr(context.resources, names.resource_key(target.store)), target)


def ledger_of(context: dg.OpExecutionContext) -> Recorder:
    """The ledger, which a step writes to and never waits for."""
    ledger: Recorder = getattr(context.resources, names.LEDGER)
    return ledger


def begin(context: dg.OpExecutionContext, *, dry_run: bool) -> None:
    """Say that the run is under way, and in which process."""
    executor = context.job_def.executor_def.name
    if executor not in ELSEWHERE:
        own_steps = executor != dg.in_process_executor.name
        tag_process(context.instance, context.run, own_steps=own_steps)
    begin_pass(ledger_of(context), context.run, dry_run=dry_run)


def begin_pass(ledger: Recorder, run: dg.DagsterRun, *, dry_run: bool) -> None:
    """A run is under way, says whichever of its steps comes first."""
    ledger.begin_pass(
        run.run_id,
        run.tags.get(names.PASS_TAG, run.job_name),
        dry_run=dry_run,
        window=run.tags.get(names.PARTITION_TAG),
        backfill=run.tags.get(names.DAGSTER_BACKFILL_TAG) or run.tags.get(names.BACKFILL_TAG),
        parent_run_id=run.parent_run_id,
        host=node(),
    )


def red(message: str, metadata: names.Metadata | None = None) -> dg.Failure:
    """How a step fails, with nothing to try again by itself."""
    return dg.Failure(description=message, metadata=metadata, allow_retries=False)


def recount(cage: Cage, planned: Target, plan: Plan) -> tuple[int | None, str | None]:
    """What is left of what was planned, and why it could not be counted. Neither: it took too long."""
    patience = max(planned.census_timeout, planned.operation_timeout / 5)
    try:
        left = retrying()(cage.store.survivors, planned, plan.cutoff, patience)
        return None if left is None else max(0, left - cage.standing_expired(plan)), None
    except StoreError as fault:
        return None, f"could not recount what is left: {fault}"
