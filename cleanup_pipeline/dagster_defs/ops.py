"""The four ops of a target, scan -> batch -> delete -> report, and the one that ends a pass.

Each is a few lines over `engine` and `reporting`. Ops are made per target because a target's store is a resource of its
own, and so that run page and logs speak the user's names. Does not belong here: SQL, loops, formatting.

They are generators: what is yielded is in the event log at once, while `context.log_event` keeps events back until the
op returns and drops them when it raises.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import time

import dagster as dg

from cleanup_pipeline.dagster_defs import names, planning, usual
from cleanup_pipeline.dagster_defs.asset_history import add_to_history
from cleanup_pipeline.dagster_defs.braking import Braking, braked_plan, braked_tags, message
from cleanup_pipeline.dagster_defs.canaries import Cage
from cleanup_pipeline.dagster_defs.canary_reports import canary_tags, with_verdict
from cleanup_pipeline.dagster_defs.checkup import checkup_metadata
from cleanup_pipeline.dagster_defs.deleting import delete_op
from cleanup_pipeline.dagster_defs.events import (
    FAULT,
    PLAN,
    REPORT,
    deleted_by_run,
    json_value,
    observation,
)
from cleanup_pipeline.dagster_defs.grouping import MOST_DELETE_STEPS, in_steps, mapping_key
from cleanup_pipeline.dagster_defs.metadata import (
    pass_metadata,
    plan_metadata,
    plan_reference,
    report_metadata,
)
from cleanup_pipeline.dagster_defs.resources import PassOptions
from cleanup_pipeline.dagster_defs.steps import begin, ledger_of, recount, red, store_of, tags_of
from cleanup_pipeline.dagster_defs.switches import off
from cleanup_pipeline.dagster_defs.windows import Windows, window_of_run
from cleanup_pipeline.engine.lease import let_go
from cleanup_pipeline.engine.scan import scan as scan_target
from cleanup_pipeline.engine.scan import switched_off
from cleanup_pipeline.engine.upkeep import Upkeep, keep_up
from cleanup_pipeline.ledger.recorder import Recorder
from cleanup_pipeline.model.outcome import GroupOutcome, PassReport, TargetReport
from cleanup_pipeline.model.plan import Plan, Shard, ShardGroup
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, PassStatus, StopReason
from cleanup_pipeline.reporting.fold import fold_pass, fold_target
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.settings.plans import PlanSettings
from cleanup_pipeline.stores.base import StoreError


@dataclass(frozen=True, slots=True)
class TargetOps:
    """The ops of one target, ready to be composed into its graph."""

    scan: dg.OpDefinition
    batch: dg.OpDefinition
    delete: dg.OpDefinition
    report: dg.OpDefinition


def target_ops(
    target: Target,
    *,
    enabled: bool = True,
    windows: Windows | None = None,
    source: str | None = None,
    braking: Braking | None = None,
    plans: PlanSettings | None = None,
    steps: int = MOST_DELETE_STEPS,
) -> TargetOps:
    """The four ops of `target`. Not enabled: scan skips it, whoever started the run.

    `source` is the settings file, to see whether it was switched off since. `steps` is the most delete steps.
    """
    scan = _scan_op(target, enabled, windows, source, braking or Braking(), plans or PlanSettings())
    told = braking.notifications if braking else None
    delete = delete_op(target, enabled, source, told)
    return TargetOps(scan, _batch_op(target, steps), delete, _report_op(target, told))


def _scan_op(
    target: Target, enabled: bool, windows: Windows | None, source: str | None, braking: Braking, plans: PlanSettings
) -> dg.OpDefinition:
    stores = sorted({target.store, *braking.stores})

    @dg.op(
        name=f"Scan_{target.name}",
        description="Looks: what is there, what is expired, is it safe to delete? Deletes nothing.",
        required_resource_keys={*(names.resource_key(name) for name in stores), names.OPTIONS, names.LEDGER},
        out=dg.Out(Plan),
        tags=tags_of(target),
    )
    def scan(context: dg.OpExecutionContext) -> Iterator[dg.AssetObservation | dg.Output[Plan]]:
        options: PassOptions = getattr(context.resources, names.OPTIONS)
        order = off(context.instance, target, source)
        ledger = ledger_of(context)
        begin(context, dry_run=options.dry_run)
        seen: names.Metadata = {}
        try:
            if not enabled:
                plan = switched_off(target)
            elif order is not None:
                plan = switched_off(target, order)
            else:
                store = store_of(context, target)
                cage = Cage(context, ledger, store, target, braking.notifications)
                if options.plan:
                    looked = partial(planning.scan_planned, context, ledger, target, store, options.plan)
                else:
                    window = window_of_run(windows, context.instance, context.run) if windows else None
                    looked = partial(scan_target, store, target, window=window)
                idle = options.dry_run or not (options.plan or target.mode is Mode.DELETE)
                plan = cage.scanned(partial(looked, dry_run=options.dry_run), dry_run=idle)
                of_pass = {name: getattr(context.resources, names.resource_key(name)) for name in stores}
                plan = braked_plan(context, ledger, target, plan, of_pass, braking)
                plan = cage.planted(planning.on_record(context, ledger, target, store, plan, plans))
                seen = checkup_metadata(store, target, plan)
        except (StoreError, ValueError) as fault:
            yield observation(target.name, {FAULT: str(fault)})
            raise red(str(fault)) from None
        yield observation(target.name, {PLAN: json_value(plan)})
        ledger.record_plan(context.run_id, plan)
        if plan.braked:
            yield observation(target.name, {FAULT: message(plan)})
            raise red(message(plan), {**plan_metadata(plan), **seen})
        yield dg.Output(plan, metadata={**plan_metadata(plan), **seen})

    return scan


def _batch_op(target: Target, steps: int) -> dg.OpDefinition:
    @dg.op(
        name=f"Batch_{target.name}",
        description="Divides the work among a few delete steps. None on a dry run.",
        ins={"plan": dg.In(Plan)},
        out=dg.DynamicOut(ShardGroup),
        tags=tags_of(target),
    )
    def batch(plan: Plan) -> Iterator[dg.DynamicOutput[ShardGroup]]:
        if plan.dry_run or plan.skipped or plan.braked:
            return
        for group in in_steps(plan.work.shards, steps):
            yield dg.DynamicOutput(ShardGroup(group), mapping_key=mapping_key(group))

    return batch


def _left(ledger: Recorder, cage: Cage, plan: Plan) -> tuple[int | None, str | None]:
    try:
        # Where nothing is left at all, nobody has to be told apart.
        left, fault = recount(cage, replace(cage.target, since=plan.since), plan)
        if plan.approval is None or left == 0:
            return left, fault
        return recount(cage, planning.of_plan(ledger, cage.store, cage.target, plan), plan)
    except StoreError as fault:
        return None, str(fault)


def _report_op(target: Target, told: NotificationSettings | None) -> dg.OpDefinition:
    @dg.op(
        name=f"Report_{target.name}",
        description="Counts what is left, and puts this pass on the page of the asset.",
        required_resource_keys={names.resource_key(target.store), names.LEDGER},
        ins={"plan": dg.In(Plan), "outcomes": dg.In(list[GroupOutcome])},
        out=dg.Out(TargetReport),
        tags=tags_of(target),
    )
    def report(
        context: dg.OpExecutionContext, plan: Plan, outcomes: list[GroupOutcome]
    ) -> Iterator[dg.AssetObservation | dg.Output[TargetReport]]:
        done = [outcome for group in outcomes for outcome in group.outcomes]
        shards: Sequence[Shard] = () if plan.dry_run or plan.skipped else plan.work.shards
        if len(done) != len(shards):
            # Re-executing "from failure" after a cancel or a crash leaves out shards that never started, and calls
            # that success (dagster-io/dagster#20925).
            message = (
                f"targets.{target.name}: {len(shards)} shards were planned and {len(done)} came back;"
                f" re-execute all steps, or run `cleanup-pipeline retry {context.run_id}`"
            )
            Cage(context, ledger_of(context), store_of(context, target), target, told).clear()
            yield observation(target.name, {FAULT: message})
            raise red(message)
        store, ledger = store_of(context, target), ledger_of(context)
        cage = Cage(context, ledger, store, target, told)
        # Held by somebody else from the beginning: what is left is theirs to count.
        worked = any(outcome.stop_reason is not StopReason.SKIPPED for outcome in done)
        if worked:
            let_go(store, target, context.run_id)
        said = cage.at_the_end(plan, done)
        survivors, fault = _left(ledger, cage, plan) if worked else (None, None)
        kept = keep_up(store, target, plan, sum(o.tally.deleted for o in done)) if worked else Upkeep()
        result = fold_target(plan, done, survivors, fault, kept.storage, kept.vacuum_seconds)
        result = with_verdict(result, said)
        beside = {**usual.of_target(ledger, result, plan, context.run_id), **plan_reference(plan)}
        shown = {**report_metadata(result), **beside}
        ledger.record_target(context.run_id, result)
        add_to_history(context.instance, context.run, result, beside)
        yield observation(target.name, {REPORT: json_value(result)})
        if result.error is not None:
            raise red(result.error, shown)
        yield dg.Output(result, metadata=shown)

    return report


def summarize_op(pass_name: str) -> dg.OpDefinition:
    """The op that folds the targets of a pass into its report. It runs when every target is green."""

    @dg.op(
        name=f"Summarize_{pass_name}",
        description="Adds up all targets: the report of the pass.",
        ins={"reports": dg.In(list[TargetReport])},
        required_resource_keys={names.LEDGER},
        out=dg.Out(PassReport),
    )
    def summarize(context: dg.OpExecutionContext, reports: list[TargetReport]) -> PassReport:
        started = context.instance.get_run_stats(context.run_id).start_time
        seconds = max(0.0, time() - started) if started else 0.0
        result = fold_pass(pass_name, reports, seconds, context.run_id)
        beside = usual.of_pass(ledger_of(context), result, context.run_id)
        context.add_output_metadata({**pass_metadata(result), **beside})
        deleted = deleted_by_run(context.instance, context.run_id)
        ledger = ledger_of(context)
        ledger.close_pass(context.run_id, str(result.status), result.reason)
        trouble = None if result.status is PassStatus.DRY_RUN else ledger.settle()
        if trouble is None:
            context.instance.add_run_tags(context.run_id, run_tags(result, deleted))
            return result
        # Statistics that lack this pass would be taken for whole.
        context.instance.add_run_tags(context.run_id, lacking(result, deleted))
        raise red(f"{trouble}. {NOT_WRITTEN}")

    return summarize


NOT_WRITTEN = "What this pass did is in its run, and is put into the ledger by a later pass once that is back"


def lacking(report: PassReport, deleted: int) -> dict[str, str]:
    """The tags of a pass that the ledger has not got."""
    return run_tags(replace(report, status=PassStatus.FAILED), deleted) | {names.LEDGER_TAG: names.MISSING}


def run_tags(report: PassReport, deleted: int) -> dict[str, str]:
    """What the list of runs shows of a pass; `deleted` is by this run alone."""
    tags = {
        names.STATUS_TAG: str(report.status),
        names.DELETED_TAG: str(deleted),
    }
    tags |= braked_tags(report) | canary_tags(report)
    left = [target.survivors for target in report.targets if target.stop_reason is not StopReason.SKIPPED]
    tags[names.SURVIVORS_TAG] = "unknown" if None in left else str(sum(n or 0 for n in left))
    return tags
