"""When a pass starts by itself.

Any interval of whole minutes is exact: the cron ticks at the greatest step that the interval and a day share, and a
tick that is not a multiple of the interval since the epoch is passed over.
"""

from datetime import timedelta
from math import gcd

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.process import died_here
from cleanup_pipeline.model.durations import format_duration

DAY_MINUTES = 24 * 60

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def cron_of(every: timedelta) -> str:
    """The cron string whose ticks hold every multiple of the interval. Raises ValueError below a minute."""
    minutes = int(every.total_seconds()) // 60
    if minutes < 1:
        raise ValueError("an interval is at least one minute")
    step = gcd(minutes, DAY_MINUTES)
    if step == DAY_MINUTES:
        return "0 0 * * *"
    if step % 60 == 0:
        return f"0 */{step // 60} * * *" if step > 60 else "0 * * * *"
    if 60 % step == 0:
        return f"*/{step} * * * *" if step > 1 else "* * * * *"
    # 45 or 90 minutes: no cron field can step by it, so tick at what it shares with an hour.
    shared = gcd(step, 60)
    return f"*/{shared} * * * *"


def is_due(tick: float, every: timedelta) -> bool:
    """Whether a tick (epoch seconds) is a multiple of the interval."""
    return int(tick) // 60 % (int(every.total_seconds()) // 60) == 0


def pass_schedule(
    pass_name: str, every: timedelta, job: dg.JobDefinition, *, running: bool, enabled: bool = True
) -> dg.ScheduleDefinition:
    """Starts the job of a pass at its interval, unless the last one has not ended or the pass is switched off.

    `running` is only how Dagster starts out: a schedule that somebody switched in the UI keeps that for ever.
    """

    def evaluate(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if not enabled:
            return dg.SkipReason("cleanup is switched off (enabled: false)")
        tick = context.scheduled_execution_time
        if not is_due(tick.timestamp(), every):
            return dg.SkipReason(f"runs every {format_duration(every)}; {tick:%H:%M} UTC is not one of its times")
        unfinished = context.instance.get_run_records(dg.RunsFilter(job_name=job.name, statuses=_UNFINISHED))
        alive = [record.dagster_run for record in unfinished if not died_here(record.dagster_run.tags)]
        if alive:
            run = alive[0]
            return dg.SkipReason(f"run {run.run_id} of this pass is still {run.status.value.lower()}")
        return dg.RunRequest(run_key=None, tags={names.PASS_TAG: pass_name})

    return dg.ScheduleDefinition(
        name=f"{names.job_name(pass_name)}_schedule",
        cron_schedule=cron_of(every),
        execution_timezone="UTC",
        job=job,
        execution_fn=evaluate,
        description=f"Starts pass `{pass_name}` every {format_duration(every)}, unless it is still running.",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
    )
