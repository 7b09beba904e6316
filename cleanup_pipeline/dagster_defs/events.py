"""What a run did, in Dagster's own event log: written by the ops as they go, read by whoever closes the pass.

The log is the one record that a failed, cancelled or killed run leaves behind, so each step writes its part before it
raises. Numbers only; no identifier of a record ever gets here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from cleanup_pipeline.dagster_defs.names import Metadata, asset_key
from cleanup_pipeline.model.outcome import ShardOutcome, TargetReport
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.reporting.codec import dump, load
from cleanup_pipeline.reporting.fold import fold_target, unplanned

PLAN, SHARD, REPORT, FAULT, SURVIVORS = "plan", "shard_outcome", "report", "fault", "survivors"


def observation(target: str, metadata: Metadata) -> dg.AssetObservation:
    """Something for the target's record, to be yielded by a step before it goes on or fails."""
    return dg.AssetObservation(asset_key=asset_key(target), metadata=metadata)


def json_value(value: Plan | ShardOutcome | TargetReport) -> dg.JsonMetadataValue:
    """A plan, outcome or report as metadata."""
    return dg.MetadataValue.json(dump(value))


@dataclass(slots=True)
class _Traces:
    plan: Plan | None = None
    outcomes: dict[int, ShardOutcome] = field(default_factory=dict)
    report: TargetReport | None = None
    fault: str | None = None
    survivors: int | None = None


def reports_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun, targets: Sequence[Target]) -> list[TargetReport]:
    """What happened to each target of a run, from its events alone.

    A target whose `report` step never ran is folded from what its other steps left, and is red; one that left nothing
    is reported as never reached. What a re-execution did not repeat is taken from the run that it repeats.
    """
    traces = _traces(instance, run, [target.name for target in targets])
    return [_report(target, traces[target.name]) for target in targets]


def deleted_by_run(instance: dg.DagsterInstance, run_id: str) -> int:
    """Records that the delete steps of this very run removed, without those of a run that it repeats."""
    return sum(
        load(ShardOutcome, data[SHARD]).tally.deleted for _, data in _metadata(instance, run_id) if SHARD in data
    )


def unreported(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    """The targets that this very run deleted from, and whose `report` step never came to its end."""
    deleted_from, reported = set[str](), set[str]()
    for name, data in _metadata(instance, run_id):
        if SHARD in data:
            deleted_from.add(name)
        if REPORT in data:
            reported.add(name)
    return deleted_from - reported


def plans_and_outcomes(
    instance: dg.DagsterInstance, run_id: str
) -> Iterator[tuple[str, Plan | None, ShardOutcome | None]]:
    """Each plan that was made and each outcome of a shard, by target, in the order of this very run."""
    for name, data in _metadata(instance, run_id):
        if PLAN in data:
            yield name, load(Plan, data[PLAN]), None
        if SHARD in data:
            yield name, None, load(ShardOutcome, data[SHARD])


_RED = (StopReason.ERROR, StopReason.CANARY)


def _traces(instance: dg.DagsterInstance, run: dg.DagsterRun, names: Sequence[str]) -> dict[str, _Traces]:
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    traces = _traces(instance, parent, names) if parent else {name: _Traces() for name in names}
    touched: set[str] = set()
    for name, metadata in _metadata(instance, run.run_id):
        if name not in traces:
            continue
        if name not in touched:
            # Of the repeated run only what leads up to this one counts on: its plan and the shards it finished.
            before = traces[name]
            finished = {n: o for n, o in before.outcomes.items() if o.stop_reason not in _RED}
            traces[name] = _Traces(plan=before.plan, outcomes=finished)
            touched.add(name)
        _collect(traces[name], metadata)
    return traces


def _metadata(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, dict[str, object]]]:
    kinds = {dg.DagsterEventType.ASSET_OBSERVATION, dg.DagsterEventType.ASSET_MATERIALIZATION}
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None or event.asset_key is None:
            continue
        specific = event.event_specific_data
        logged = getattr(specific, "asset_observation", None) or getattr(specific, "materialization", None)
        if logged is not None:
            yield event.asset_key.path[-1], {key: value.value for key, value in logged.metadata.items()}


def _collect(traces: _Traces, metadata: dict[str, object]) -> None:
    if PLAN in metadata:
        traces.plan, traces.outcomes = load(Plan, metadata[PLAN]), {}
    if SHARD in metadata:
        outcome = load(ShardOutcome, metadata[SHARD])
        traces.outcomes[outcome.shard] = outcome
    if REPORT in metadata:
        traces.report = load(TargetReport, metadata[REPORT])
    if FAULT in metadata:
        traces.fault = str(metadata[FAULT])
    left = metadata.get(SURVIVORS)
    if isinstance(left, int):
        traces.survivors = left


def _report(target: Target, traces: _Traces) -> TargetReport:
    if traces.report is not None:
        return traces.report
    if traces.plan is None:
        never = f"targets.{target.name}: the run ended before this target was scanned"
        return unplanned(target, traces.fault or never)
    outcomes = [traces.outcomes[number] for number in sorted(traces.outcomes)]
    faults = [outcome.error for outcome in outcomes if outcome.error]
    fault = traces.fault or (faults[0] if faults else None)
    unfinished = f"targets.{target.name}: the run ended before what is left was counted"
    return fold_target(traces.plan, outcomes, traces.survivors, fault or unfinished)
