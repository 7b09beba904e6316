"""When a pass starts by itself.

Any interval of whole minutes is exact: the cron ticks at the greatest step that the interval and a day share, and a
tick that is not a multiple of the interval since the epoch is passed over.
"""

from zoneinfo import ZoneInfo

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.process import gone
from cleanup_pipeline.dagster_defs.windows import Windows, cron_of, is_due, last_complete, of_backfill, partition_tags
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.settings.settings import PassSettings

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def schedule_name(pass_name: str) -> str:
    """The schedule of a pass."""
    return f"{names.job_name(pass_name)}_schedule"


def pass_schedule(
    of_pass: PassSettings, windows: Windows, job: dg.JobDefinition, *, running: bool, enabled: bool = True
) -> dg.ScheduleDefinition:
    """Starts the job of a pass on its last complete window, unless the last one has not ended or the pass is off.

    The runs of a backfill do not hold it up: they keep to windows of their own.

    `running` is only how Dagster starts out: a schedule that somebody switched in the UI keeps that for ever.
    """

    pass_name, every = of_pass.name, of_pass.every

    def evaluate(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if not enabled:
            return dg.SkipReason("cleanup is switched off (enabled: false)")
        tick = context.scheduled_execution_time.astimezone(ZoneInfo(of_pass.timezone))
        if not is_due(tick, every):
            return dg.SkipReason(f"runs every {format_duration(every)}; {tick:%H:%M %Z} is not one of its times")
        key = last_complete(windows, tick)
        if key is None:
            return dg.SkipReason(f"its first window, which begins at {windows.start:%Y-%m-%d %H:%M %Z}, has not ended")
        unfinished = context.instance.get_run_records(dg.RunsFilter(job_name=job.name, statuses=UNFINISHED))
        runs = [record.dagster_run for record in unfinished]
        alive = [run for run in runs if not gone(context.instance, run) and not of_backfill(context.instance, run)]
        if alive:
            run = alive[0]
            return dg.SkipReason(f"run {run.run_id} of this pass is still {run.status.value.lower()}")
        tags = {names.PASS_TAG: pass_name, names.SCHEDULED_TAG: pass_name, "dagster/priority": "1"}
        return dg.RunRequest(run_key=None, partition_key=key, tags={**tags, **partition_tags(job.name, key)})

    return dg.ScheduleDefinition(
        name=schedule_name(pass_name),
        cron_schedule=cron_of(every),
        execution_timezone=of_pass.timezone,
        job=job,
        execution_fn=evaluate,
        description=f"Starts pass `{pass_name}` every {format_duration(every)}, unless it is still running.",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
    )
