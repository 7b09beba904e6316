"""The delete step of a target: the engine over the shards that it was given, one after another.

It writes what each shard came to into the ledger itself, whatever becomes of the rest. Does not belong here: the loop
(engine/loop.py), what a step keeps of what it removes (keeping.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from platform import node

import dagster as dg
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

from cleanup_pipeline.dagster_defs import names, planning
from cleanup_pipeline.dagster_defs.budgeting import budget_of
from cleanup_pipeline.dagster_defs.canaries import Cage
from cleanup_pipeline.dagster_defs.elsewhere import TWICE, begun_before, process_name, run_ended
from cleanup_pipeline.dagster_defs.events import FAULT, SHARD, SURVIVORS, json_value, observation
from cleanup_pipeline.dagster_defs.keeping import ShardKeeping, begin_keeping, keeping_keys
from cleanup_pipeline.dagster_defs.metadata import shard_metadata
from cleanup_pipeline.dagster_defs.resources import PassOptions
from cleanup_pipeline.dagster_defs.steps import begin, ledger_of, recount, red, store_of, tags_of
from cleanup_pipeline.dagster_defs.switches import watching
from cleanup_pipeline.dagster_defs.windows import lease_window
from cleanup_pipeline.engine.limits import bounded, limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.progress import publish
from cleanup_pipeline.ledger.recorder import AHEAD, Recorder
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import GroupOutcome, ShardOutcome, Tally
from cleanup_pipeline.model.plan import Plan, Shard, ShardGroup
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, StopReason
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.stores.base import Store, StoreError

_BAD = {StopReason.ERROR, StopReason.CANARY}


def delete_op(target: Target, enabled: bool, source: str | None, told: NotificationSettings | None) -> dg.OpDefinition:
    """The op. Not `enabled`: it refuses. `source` is the settings file, to see whether the target was switched off."""

    @dg.op(
        name=f"Delete_{target.name}",
        description=f"Deletes what is expired, at most {target.batch_size:,} at a time. The store judges each again.",
        required_resource_keys={names.resource_key(target.store), names.OPTIONS, names.LEDGER, *keeping_keys(target)},
        ins={"plan": dg.In(Plan), "group": dg.In(ShardGroup)},
        out=dg.Out(GroupOutcome),
        tags=tags_of(target),
        pool=names.pool(target.store),
    )
    def delete(
        context: dg.OpExecutionContext, plan: Plan, group: ShardGroup
    ) -> Iterator[dg.AssetObservation | dg.Output[GroupOutcome]]:
        options: PassOptions = getattr(context.resources, names.OPTIONS)
        forbidden = _forbidden(target, plan, enabled, options.dry_run)
        if forbidden is None and begun_before(context):
            again = f"`cleanup-pipeline retry {context.run_id}` repeats what is missing"
            forbidden = f"targets.{target.name}: {TWICE}; {again}"
        if forbidden is not None:
            yield observation(target.name, {FAULT: forbidden})
            raise red(forbidden)
        begin(context, dry_run=False)
        store, ledger = store_of(context, target), ledger_of(context)
        cage = Cage(context, ledger, store, target, told)
        try:
            cage.stand(plan)
            planned = planning.of_plan(ledger, store, target, plan)
        except StoreError as fault:
            yield observation(target.name, {FAULT: str(fault)})
            raise red(str(fault)) from None
        step = _Step(context, plan, planned, store, ledger, cage, _stop_asked(context, target, source))
        # A batch that is under way ends: Ctrl-C, SIGTERM and "Terminate" are seen between batches.
        with capture_interrupts():
            stopped = _one_after_another(step.clean, group.shards)
        # With other shards under way, whoever comes last or the next pass takes the canaries away.
        alone = len(plan.work.shards) == 1
        cage.after_failure(plan, stopped=stopped is not None or (alone and step.refused is not None))
        for outcome, kept in step.recorded:
            shown = {**shard_metadata(outcome), **kept, "process": process_name()}
            yield observation(target.name, {SHARD: json_value(outcome), **shown})
        if stopped is not None:
            raise stopped
        if step.refused is not None:
            yield observation(target.name, {FAULT: step.refused})
            raise red(step.refused)
        outcomes = tuple(outcome for outcome, _ in step.recorded)
        bad = next((outcome for outcome in outcomes if outcome.stop_reason in _BAD), None)
        if bad is not None:
            left, _ = recount(cage, planned, plan)
            yield observation(target.name, {SURVIVORS: left if left is not None else "unknown"})
            raise red(bad.error or "", shard_metadata(bad))
        only = {**shard_metadata(outcomes[0]), **step.recorded[0][1]} if len(outcomes) == 1 else {}
        yield dg.Output(GroupOutcome(outcomes), metadata=only)

    return delete


@dataclass(slots=True)
class _Step:
    """What the shards of one step have in common, and what came of each."""

    context: dg.OpExecutionContext
    plan: Plan
    planned: Target
    store: Store
    ledger: Recorder
    cage: Cage
    stop_asked: Callable[[], StopReason | None]
    recorded: list[tuple[ShardOutcome, names.Metadata]] = field(
        default_factory=list[tuple[ShardOutcome, names.Metadata]]
    )
    """With what is shown of what was kept."""
    refused: str | None = None
    """Why a shard was not begun: what it removes could not be kept."""

    def clean(self, shard: Shard) -> None:
        """One shard, from its lease to its outcome in the ledger."""
        context, plan, target = self.context, self.plan, self.cage.target
        self.ledger.begin_shard(context.run_id, plan, shard.index, bounded=bounded(plan.work, shard))
        try:
            keeping = begin_keeping(context, self.ledger, target, plan, shard)
        except StoreError as fault:
            self.refused = self.refused or str(fault)
            return
        window = lease_window(context.instance, context.run, plan)
        lease = Lease(context.run_id, shard.index, node(), window)
        handing = replace(self.planned, handover=keeping.handover)
        watch = self._watch(shard, keeping)
        clean_shard(self.store, handing, plan.work, shard, plan.cutoff, limits_of(target), watch, lease=lease)

    def _watch(self, shard: Shard, keeping: ShardKeeping) -> Watch:
        plan, target, run_id = self.plan, self.cage.target, self.context.run_id
        # Where no pause leaves time to announce each batch, several are announced at once.
        ahead = 1 if target.pause else AHEAD

        def record(outcome: ShardOutcome) -> None:
            outcome = self.cage.after_shard(plan, keeping.end(outcome))
            self.ledger.record_shard(run_id, outcome)
            self.recorded.append((outcome, keeping.metadata))

        def before(tally: Tally, size: int) -> None:
            keeping.ready()
            self.ledger.before_batch(run_id, target.name, shard.index, tally, size, ahead=ahead)

        return Watch(
            record=record,
            before=before,
            progress=lambda tally: publish(target.name, self.cage.shown(plan, tally), plan.census.expired),
            stop_asked=self.stop_asked,
            budget=budget_of(self.ledger, target, run_id),
        )


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
    ended = run_ended(context)

    def asked() -> StopReason | None:
        if check_captured_interrupt() or ended():
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
