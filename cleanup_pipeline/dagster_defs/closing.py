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
from cleanup_pipeline.dagster_defs.events import deleted_by_run, reports_of_run
from cleanup_pipeline.dagster_defs.ops import begin_pass, run_tags
from cleanup_pipeline.dagster_defs.process import gone
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.words import TERMINATED
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.reporting.fold import fold_pass

LOST = "lost: the process of this run is gone"
_RUNNING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_RED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


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
        report = replace(report, status=PassStatus.FAILED, reason=f"the run ended {run.status.value}; see its log")
    status = TERMINATED if _stopped(run) else str(report.status)
    instance.add_run_tags(run_id, {**run_tags(report, deleted_by_run(instance, run_id)), names.STATUS_TAG: status})
    _retain(instance, run, report, status)
    complete_history(instance, run, report)
    return report


def _stopped(run: dg.DagsterRun) -> bool:
    """Whether somebody ended it: in the UI, or by a signal, which Dagster calls a failure."""
    return (
        run.status is dg.DagsterRunStatus.CANCELED
        or run.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.UNEXPECTED_TERMINATION.value
    )


def _retain(instance: dg.DagsterInstance, run: dg.DagsterRun, report: PassReport, status: str) -> None:
    """In the ledger, too: what failed before it was planned, and a run whose process is gone, have nobody else."""
    ledger = Recorder(ledger_url(instance))
    begin_pass(ledger, run, dry_run=report.status is PassStatus.DRY_RUN)
    for target in report.targets:
        ledger.record_target(run.run_id, target)
    ledger.close_pass(run.run_id, status, report.reason)
    ledger.close()


def fail_lost_runs(instance: dg.DagsterInstance) -> None:
    """End the runs of this machine whose process is gone: they would be shown as running, and keep their places."""
    for run in instance.get_runs(dg.RunsFilter(statuses=_RUNNING)):
        if names.PASS_TAG not in run.tags or not gone(instance, run):
            continue
        # It may have ended between the list and the look at its process, and well.
        now = instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished:
            instance.report_run_failed(run, LOST)
            # Where no daemon runs nobody else gives them back, and sixteen such runs would hold up every later one.
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ledger = Recorder(ledger_url(instance))
            ledger.mark_lost(run.run_id, LOST)
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
