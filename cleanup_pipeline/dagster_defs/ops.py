"""The four ops of a target, scan -> batch -> delete -> report, and the one that ends a pass.

Each is a few lines over `engine` and `reporting`. Ops are made per target because a target's store is a resource of its
own, and so that run page and logs speak the user's names. Does not belong here: SQL, loops, formatting.

They are generators: what is yielded is in the event log at once, while `context.log_event` keeps events back until the
op returns and drops them when it raises.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from platform import node
from time import time

import dagster as dg
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

from cleanup_pipeline.dagster_defs import names, planning, usual
from cleanup_pipeline.dagster_defs.asset_history import add_to_history
from cleanup_pipeline.dagster_defs.braking import Braking, braked_plan, braked_tags, message
from cleanup_pipeline.dagster_defs.budgeting import budget_of
from cleanup_pipeline.dagster_defs.canaries import Cage
from cleanup_pipeline.dagster_defs.canary_reports import canary_tags, with_verdict
from cleanup_pipeline.dagster_defs.checkup import checkup_metadata
from cleanup_pipeline.dagster_defs.events import (
    FAULT,
    PLAN,
    REPORT,
    SHARD,
    SURVIVORS,
    deleted_by_run,
    json_value,
    observation,
)
from cleanup_pipeline.dagster_defs.grouping import MOST_DELETE_STEPS, in_steps, mapping_key
from cleanup_pipeline.dagster_defs.keeping import ShardKeeping, begin_keeping, keeping_keys
from cleanup_pipeline.dagster_defs.metadata import (
    pass_metadata,
    plan_metadata,
    plan_reference,
    report_metadata,
    shard_metadata,
)
from cleanup_pipeline.dagster_defs.process import tag_process
from cleanup_pipeline.dagster_defs.resources import PassOptions
from cleanup_pipeline.dagster_defs.switches import off, watching
from cleanup_pipeline.dagster_defs.windows import Windows, lease_window, window_of_run
from cleanup_pipeline.engine.lease import let_go
from cleanup_pipeline.engine.limits import bounded, limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.progress import publish
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.engine.scan import scan as scan_target
from cleanup_pipeline.engine.scan import switched_off
from cleanup_pipeline.engine.upkeep import Upkeep, keep_up
from cleanup_pipeline.ledger.recorder import AHEAD, Recorder
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import GroupOutcome, PassReport, ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Plan, Shard, ShardGroup
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, StopReason
from cleanup_pipeline.reporting.fold import fold_pass, fold_target
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.settings.plans import PlanSettings
from cleanup_pipeline.stores.base import Store, StoreError
from cleanup_pipeline.stores.open import store_for


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
    delete = _delete_op(target, enabled, source, told)
    return TargetOps(scan, _batch_op(target, steps), delete, _report_op(target, told))


def _tags(target: Target) -> dict[str, str]:
    return {"cleanup/store": target.store, "cleanup/kind": target.kind}


def _store(context: dg.OpExecutionContext, target: Target) -> Store:
    return store_for(getattr(context.resources, names.resource_key(target.store)), target)


def _ledger(context: dg.OpExecutionContext) -> Recorder:
    ledger: Recorder = getattr(context.resources, names.LEDGER)
    return ledger


def _begin(context: dg.OpExecutionContext, *, dry_run: bool) -> None:
    own_steps = context.job_def.executor_def.name != dg.in_process_executor.name
    tag_process(context.instance, context.run, own_steps=own_steps)
    begin_pass(_ledger(context), context.run, dry_run=dry_run)


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


def _red(message: str, metadata: names.Metadata | None = None) -> dg.Failure:
    return dg.Failure(description=message, metadata=metadata, allow_retries=False)


def _scan_op(
    target: Target, enabled: bool, windows: Windows | None, source: str | None, braking: Braking, plans: PlanSettings
) -> dg.OpDefinition:
    stores = sorted({target.store, *braking.stores})

    @dg.op(
        name=f"Scan_{target.name}",
        description="Looks: what is there, what is expired, is it safe to delete? Deletes nothing.",
        required_resource_keys={*(names.resource_key(name) for name in stores), names.OPTIONS, names.LEDGER},
        out=dg.Out(Plan),
        tags=_tags(target),
    )
    def scan(context: dg.OpExecutionContext) -> Iterator[dg.AssetObservation | dg.Output[Plan]]:
        options: PassOptions = getattr(context.resources, names.OPTIONS)
        order = off(context.instance, target, source)
        ledger = _ledger(context)
        _begin(context, dry_run=options.dry_run)
        seen: names.Metadata = {}
        try:
            if not enabled:
                plan = switched_off(target)
            elif order is not None:
                plan = switched_off(target, order)
            else:
                store = _store(context, target)
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
            raise _red(str(fault)) from None
        yield observation(target.name, {PLAN: json_value(plan)})
        ledger.record_plan(context.run_id, plan)
        if plan.braked:
            yield observation(target.name, {FAULT: message(plan)})
            raise _red(message(plan), {**plan_metadata(plan), **seen})
        yield dg.Output(plan, metadata={**plan_metadata(plan), **seen})

    return scan


def _batch_op(target: Target, steps: int) -> dg.OpDefinition:
    @dg.op(
        name=f"Batch_{target.name}",
        description="Divides the work among a few delete steps. None on a dry run.",
        ins={"plan": dg.In(Plan)},
        out=dg.DynamicOut(ShardGroup),
        tags=_tags(target),
    )
    def batch(plan: Plan) -> Iterator[dg.DynamicOutput[ShardGroup]]:
        if plan.dry_run or plan.skipped or plan.braked:
            return
        for group in in_steps(plan.work.shards, steps):
            yield dg.DynamicOutput(ShardGroup(group), mapping_key=mapping_key(group))

    return batch


def _delete_op(  # noqa: C901
    target: Target, enabled: bool, source: str | None, told: NotificationSettings | None
) -> dg.OpDefinition:
    @dg.op(
        name=f"Delete_{target.name}",
        description=f"Deletes what is expired, at most {target.batch_size:,} at a time. The store judges each again.",
        required_resource_keys={names.resource_key(target.store), names.OPTIONS, names.LEDGER, *keeping_keys(target)},
        ins={"plan": dg.In(Plan), "group": dg.In(ShardGroup)},
        out=dg.Out(GroupOutcome),
        tags=_tags(target),
        pool=names.pool(target.store),
    )
    def delete(
        context: dg.OpExecutionContext, plan: Plan, group: ShardGroup
    ) -> Iterator[dg.AssetObservation | dg.Output[GroupOutcome]]:
        options: PassOptions = getattr(context.resources, names.OPTIONS)
        forbidden = _forbidden(target, plan, enabled, options.dry_run)
        if forbidden is not None:
            yield observation(target.name, {FAULT: forbidden})
            raise _red(forbidden)
        store = _store(context, target)
        ledger, run_id = _ledger(context), context.run_id
        _begin(context, dry_run=False)
        cage = Cage(context, ledger, store, target, told)
        try:
            cage.stand(plan)
            planned = planning.of_plan(ledger, store, target, plan)
        except StoreError as fault:
            yield observation(target.name, {FAULT: str(fault)})
            raise _red(str(fault)) from None
        # Where no pause leaves time to announce each batch, several are announced at once.
        ahead = 1 if target.pause else AHEAD
        recorded: list[tuple[ShardOutcome, names.Metadata]] = []
        refused: list[str] = []

        def watch(shard: Shard, keeping: ShardKeeping) -> Watch:
            def record(outcome: ShardOutcome) -> None:
                outcome = cage.after_shard(plan, keeping.end(outcome))
                ledger.record_shard(run_id, outcome)
                recorded.append((outcome, keeping.metadata))

            def before(tally: Tally, size: int) -> None:
                keeping.ready()
                ledger.before_batch(run_id, target.name, shard.index, tally, size, ahead=ahead)

            return Watch(
                record=record,
                before=before,
                progress=lambda tally: publish(target.name, cage.shown(plan, tally), plan.census.expired),
                stop_asked=_stop_asked(context, target, source),
                budget=budget_of(ledger, target, run_id),
            )

        def clean(shard: Shard) -> None:
            ledger.begin_shard(run_id, plan, shard.index, bounded=bounded(plan.work, shard))
            try:
                keeping = begin_keeping(context, ledger, target, plan, shard)
            except StoreError as fault:
                refused.append(str(fault))
                return
            window = lease_window(context.instance, context.run, plan)
            lease = Lease(context.run_id, shard.index, node(), window)
            handing = replace(planned, handover=keeping.handover)
            seen = watch(shard, keeping)
            clean_shard(store, handing, plan.work, shard, plan.cutoff, limits_of(target), seen, lease=lease)

        # A batch that is under way ends: Ctrl-C, SIGTERM and "Terminate" are seen between batches.
        with capture_interrupts():
            stopped = _one_after_another(clean, group.shards)
        # With other shards under way, whoever comes last or the next pass takes the canaries away.
        cage.after_failure(plan, stopped=stopped is not None or (bool(refused) and len(plan.work.shards) == 1))
        for outcome, kept in recorded:
            yield observation(target.name, {SHARD: json_value(outcome), **shard_metadata(outcome), **kept})
        if stopped is not None:
            raise stopped
        if refused:
            yield observation(target.name, {FAULT: refused[0]})
            raise _red(refused[0])
        bad = [outcome for outcome, _ in recorded if outcome.stop_reason in {StopReason.ERROR, StopReason.CANARY}]
        if bad:
            left, _ = _recount(cage, planned, plan)
            yield observation(target.name, {SURVIVORS: left if left is not None else "unknown"})
            raise _red(bad[0].error or "", shard_metadata(bad[0]))
        outcomes = tuple(outcome for outcome, _ in recorded)
        shown = {**shard_metadata(outcomes[0]), **recorded[0][1]} if len(recorded) == 1 else {}
        yield dg.Output(GroupOutcome(outcomes), metadata=shown)

    return delete


def _one_after_another(clean: Callable[[Shard], None], shards: Sequence[Shard]) -> BaseException | None:
    """What the first of the shards met that was not cleaned; it keeps no other from being cleaned."""
    stopped: BaseException | None = None
    for shard in shards:
        try:
            clean(shard)
        except Exception as fault:  # noqa: BLE001 - raised again, once the outcomes are on record
            stopped = stopped or fault
        except BaseException as fault:  # noqa: BLE001 - the same
            return stopped or fault
        if check_captured_interrupt():
            return stopped or dg.DagsterExecutionInterruptedError()
    return stopped


def _stop_asked(context: dg.OpExecutionContext, target: Target, source: str | None) -> Callable[[], StopReason | None]:
    look = watching(context.instance, target, source)

    def asked() -> StopReason | None:
        if check_captured_interrupt():
            return StopReason.TERMINATED
        return StopReason.PAUSED if look() else None

    return asked


def _forbidden(target: Target, plan: Plan, enabled: bool, dry_run: bool) -> str | None:
    """Why a plan may not be carried out. A re-execution brings the plan of another time and other settings."""
    again = "re-execute all steps"
    if target.report_only is not None:
        return f"targets.{target.name}: its layout only reports: {target.report_only}"
    if plan.rule != target.fingerprint:
        return f"targets.{target.name}: its settings changed since it was scanned; {again}"
    if plan.braked:
        return f"targets.{target.name}: was braked when it was scanned; {again}"
    if plan.approval is not None and datetime.now(UTC) >= plan.approval.until:
        return f"targets.{target.name}: plan {plan.approval.plan} is void by now; make a new plan"
    approved = target.mode is Mode.DELETE or plan.approval is not None
    if not approved or dry_run or plan.dry_run or not enabled:
        return f"targets.{target.name}: was scanned to be deleted from, and may not be any more; {again}"
    return None


def _recount(cage: Cage, planned: Target, plan: Plan) -> tuple[int | None, str | None]:
    """What is left of what was planned, and why it could not be counted. Neither: it took too long."""
    patience = max(planned.census_timeout, planned.operation_timeout / 5)
    try:
        left = retrying()(cage.store.survivors, planned, plan.cutoff, patience)
        return None if left is None else max(0, left - cage.standing_expired(plan)), None
    except StoreError as fault:
        return None, f"could not recount what is left: {fault}"


def _left(ledger: Recorder, cage: Cage, plan: Plan) -> tuple[int | None, str | None]:
    try:
        # Where nothing is left at all, nobody has to be told apart.
        left, fault = _recount(cage, replace(cage.target, since=plan.since), plan)
        if plan.approval is None or left == 0:
            return left, fault
        return _recount(cage, planning.of_plan(ledger, cage.store, cage.target, plan), plan)
    except StoreError as fault:
        return None, str(fault)


def _report_op(target: Target, told: NotificationSettings | None) -> dg.OpDefinition:
    @dg.op(
        name=f"Report_{target.name}",
        description="Counts what is left, and puts this pass on the page of the asset.",
        required_resource_keys={names.resource_key(target.store), names.LEDGER},
        ins={"plan": dg.In(Plan), "outcomes": dg.In(list[GroupOutcome])},
        out=dg.Out(TargetReport),
        tags=_tags(target),
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
            Cage(context, _ledger(context), _store(context, target), target, told).clear()
            yield observation(target.name, {FAULT: message})
            raise _red(message)
        store, ledger = _store(context, target), _ledger(context)
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
            raise _red(result.error, shown)
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
        beside = usual.of_pass(_ledger(context), result, context.run_id)
        context.add_output_metadata({**pass_metadata(result), **beside})
        deleted = deleted_by_run(context.instance, context.run_id)
        context.instance.add_run_tags(context.run_id, run_tags(result, deleted))
        _ledger(context).close_pass(context.run_id, str(result.status), result.reason)
        return result

    return summarize


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
