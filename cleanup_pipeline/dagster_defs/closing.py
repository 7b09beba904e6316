"""The end of a pass that `summarize` never saw: some target failed, or the run was cancelled or lost.

Whoever ends last closes the pass from the event log: `summarize`, this sensor, or the command line that waited for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.asset_history import complete_history
from cleanup_pipeline.dagster_defs.events import deleted_by_run, plans_and_outcomes, reports_of_run
from cleanup_pipeline.dagster_defs.ops import NOT_WRITTEN, run_tags
from cleanup_pipeline.dagster_defs.process import gone
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.steps import begin_pass
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.words import LOST, TERMINATED
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.reporting.fold import fold_pass

GONE = "lost: the process of this run is gone"
MOST_LATE = 20
"""Runs whose figures are put into the ledger late, at once."""
_RUNNING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_RED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_ENDED = [*_RED, dg.DagsterRunStatus.SUCCESS]


def close_pass(instance: dg.DagsterInstance, run_id: str, pass_name: str, targets: Sequence[Target]) -> PassReport:
    """The report of a finished run, from its events, put on the run's tags. Doing it twice changes nothing.

    Raises LookupError when there is no such run.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise LookupError(f"there is no run {run_id}")
    stats = instance.get_run_stats(run_id)
    seconds = (stats.end_time - stats.start_time) if stats.end_time and stats.start_time else 0.0
    report = fold_pass(pass_name, reports_of_run(instance, run, targets), seconds, run_id)
    if run.status in _RED and report.status not in {PassStatus.FAILED, PassStatus.PARTIAL}:
        # Every target was reported clean and the run failed all the same: whatever that was, it is not success.
        report = replace(report, status=PassStatus.FAILED, reason=_why_red(run))
    if run.status in _RED:
        # Steps that were interrupted, or revoked before they began, keep theirs; where no daemon runs for good.
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    status = TERMINATED if _stopped(run) else str(report.status)
    trouble = _retain(instance, run, report, status)
    tags = {**run_tags(report, deleted_by_run(instance, run_id)), names.STATUS_TAG: status}
    if trouble is not None or _lacked(run):
        tags[names.LEDGER_TAG] = names.LATE if trouble is None else names.MISSING
    instance.add_run_tags(run_id, tags)
    complete_history(instance, run, report)
    return report


def _lacked(run: dg.DagsterRun) -> bool:
    return run.tags.get(names.LEDGER_TAG) == names.MISSING


def _why_red(run: dg.DagsterRun) -> str:
    if names.LEDGER_TAG in run.tags:
        return f"the ledger could not be written. {NOT_WRITTEN}"
    return f"the run ended {run.status.value}; see its log"


def _stopped(run: dg.DagsterRun) -> bool:
    """Whether somebody ended it: in the UI, or by a signal, which Dagster calls a failure."""
    return (
        run.status is dg.DagsterRunStatus.CANCELED
        or run.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.UNEXPECTED_TERMINATION.value
    )


def _retain(instance: dg.DagsterInstance, run: dg.DagsterRun, report: PassReport, status: str) -> str | None:
    """In the ledger, too: what failed before it was planned, and a run whose process is gone, have nobody else.

    Why that could not be done; None when it was.
    """
    ledger = Recorder(ledger_url(instance))
    begin_pass(ledger, run, dry_run=report.status is PassStatus.DRY_RUN)
    _retain_shards(ledger, instance, run.run_id)
    for target in report.targets:
        ledger.record_target(run.run_id, target)
    ledger.close_pass(run.run_id, status, report.reason)
    trouble = ledger.settle()
    ledger.close()
    return trouble


def _retain_shards(ledger: Recorder, instance: dg.DagsterInstance, run_id: str) -> None:
    """What the run's process knew and could not write down, because the ledger was away until its end."""
    kept = ledger.ask(lambda opened: opened.pass_of(run_id))
    targets = {row.target for row in kept.targets} if kept else set()
    shards = {(row.target, row.shard) for row in kept.shards if row.stop_reason not in {None, LOST}} if kept else set()
    for target, plan, outcome in plans_and_outcomes(instance, run_id):
        if plan is not None and target not in targets:
            ledger.record_plan(run_id, plan)
        if outcome is not None and (target, outcome.shard) not in shards:
            ledger.record_shard(run_id, outcome)


def write_down_late(instance: dg.DagsterInstance, targets_by_pass: Mapping[str, Sequence[Target]]) -> None:
    """Put into the ledger what it lacks of runs that ended while it was away, if it is back."""
    lacked = dg.RunsFilter(tags={names.LEDGER_TAG: names.MISSING}, statuses=_ENDED)
    for run in instance.get_runs(lacked, limit=MOST_LATE):
        pass_name = run.tags.get(names.PASS_TAG, "")
        close_pass(instance, run.run_id, pass_name, targets_by_pass.get(pass_name, ()))
        now = instance.get_run_by_id(run.run_id)
        if now is None or _lacked(now):
            return


def fail_lost_runs(instance: dg.DagsterInstance) -> None:
    """End the runs of this machine whose process is gone: they would be shown as running, and keep their places."""
    for run in instance.get_runs(dg.RunsFilter(statuses=_RUNNING)):
        if names.PASS_TAG not in run.tags or not gone(instance, run):
            continue
        # It may have ended between the list and the look at its process, and well.
        now = instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished:
            instance.report_run_failed(run, GONE)
            # Where no daemon runs nobody else gives them back, and sixteen such runs would hold up every later one.
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ledger = Recorder(ledger_url(instance))
            ledger.mark_lost(run.run_id, GONE)
            ledger.close()


def closing_sensors(
    targets_by_pass: Mapping[str, Sequence[Target]], jobs: Sequence[dg.JobDefinition], prefix: str = ""
) -> list[dg.SensorDefinition]:
    """Close failed and cancelled passes as the daemon sees them."""

    def closing(name: str, status: dg.DagsterRunStatus) -> dg.SensorDefinition:
        @dg.run_status_sensor(
            name=f"{prefix}{name}",
            run_status=status,
            monitored_jobs=list(jobs),
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Puts the outcome of a pass that did not end green on its run: status, deleted, survivors.",
        )
        def sensor(context: dg.RunStatusSensorContext) -> dg.SkipReason:
            run = context.dagster_run
            pass_name = run.tags.get(names.PASS_TAG, "")
            report = close_pass(context.instance, run.run_id, pass_name, targets_by_pass.get(pass_name, ()))
            context.log.warning("pass %s ended %s (run %s)", pass_name, report.status, run.run_id)
            return dg.SkipReason(f"pass {pass_name} ended {report.status}")

        return sensor

    return [
        closing("close_failed_passes", dg.DagsterRunStatus.FAILURE),
        closing("close_cancelled_passes", dg.DagsterRunStatus.CANCELED),
    ]
