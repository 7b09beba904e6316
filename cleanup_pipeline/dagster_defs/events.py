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
    outcomes: list[ShardOutcome] = field(default_factory=list)
    report: TargetReport | None = None
    fault: str | None = None
    survivors: int | None = None


def reports_of_run(instance: dg.DagsterInstance, run_id: str, targets: Sequence[Target]) -> list[TargetReport]:
    """What happened to each target of a run, from its events alone.

    A target whose `report` step never ran is folded from what its other steps left; one that left nothing is reported
    as never reached.
    """
    traces = {target.name: _Traces() for target in targets}
    for name, metadata in _metadata(instance, run_id):
        if name in traces:
            _collect(traces[name], metadata)
    return [_report(target, traces[target.name]) for target in targets]


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
        traces.plan = load(Plan, metadata[PLAN])
    if SHARD in metadata:
        traces.outcomes.append(load(ShardOutcome, metadata[SHARD]))
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
    if traces.plan is not None:
        return fold_target(traces.plan, traces.outcomes, traces.survivors, traces.fault)
    return unplanned(target, traces.fault or f"targets.{target.name}: the run ended before this target was scanned")
