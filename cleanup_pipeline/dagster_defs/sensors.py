"""What the daemon looks after between the schedules: windows that were missed, passes that failed or never get done.

Does not belong here: judging (missed.py), the end of a pass (closing.py).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.closing import fail_lost_runs, write_down_late
from cleanup_pipeline.dagster_defs.events import observation
from cleanup_pipeline.dagster_defs.missed import (
    TIMES,
    failed_pass,
    left_unfinished,
    missed_windows,
    not_on_record,
    retry_at,
    unfinished_runs,
)
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.schedules import schedule_name
from cleanup_pipeline.dagster_defs.telling import tell
from cleanup_pipeline.dagster_defs.windows import Windows, last_complete, partition_tags
from cleanup_pipeline.ledger import LedgerError, open_ledger
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings.history import KEEP_RUNS
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.settings.settings import PassSettings

A_TICK = 3
"""Most scheduled runs of one pass that wait or go when missed windows are launched."""
EVERY_SECONDS = 30


def watching_sensors(
    passes: Sequence[PassSettings],
    windows: Mapping[str, Windows],
    jobs: Mapping[str, dg.JobDefinition],
    targets_by_pass: Mapping[str, Sequence[Target]],
    notifications: NotificationSettings,
    keep_runs: timedelta = KEEP_RUNS,
    prefix: str = "",
) -> list[dg.SensorDefinition]:
    """The sensors over `passes`, which are those that are switched on and have targets."""
    if not passes:
        return []
    of_jobs = [jobs[of_pass.name] for of_pass in passes]

    @dg.sensor(
        name=f"{prefix}missed_windows",
        jobs=of_jobs,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts windows that no run was made for, because the daemon was away: the newest first,"
        f" while fewer than {A_TICK} of the pass wait or go.",
    )
    def missed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return launch_missed(context.instance, passes, windows, context.cursor, datetime.now(UTC), keep_runs)

    @dg.sensor(
        name=f"{prefix}failed_passes",
        jobs=of_jobs,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts a scheduled pass that failed again, after a growing delay, and says once that it gave up.",
    )
    def failed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        fail_lost_runs(context.instance)
        write_down_late(context.instance, targets_by_pass)
        result, given_up = launch_failed(context.instance, passes, datetime.now(UTC))
        for line in given_up:
            tell(ledger_url(context.instance), notifications, "pass_given_up", line, line, context.log)
        return result

    @dg.sensor(
        name=f"{prefix}unfinished_targets",
        minimum_interval_seconds=2 * EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Says so when a target was left with expired records {TIMES} times in a row.",
    )
    def unfinished(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        targets = [target.name for of_pass in passes for target in targets_by_pass[of_pass.name]]
        url = ledger_url(context.instance)
        try:
            result = report_unfinished(url, targets, context.cursor)
        except LedgerError as fault:
            return dg.SkipReason(str(fault))
        for event in result.asset_events:
            line, run_id = (str(event.metadata[name].value) for name in ("unfinished", "run"))
            tell(url, notifications, "target_unfinished", line, f"{line} {run_id}", context.log)
        return result

    return [missed, failed, unfinished]


def launch_missed(
    instance: dg.DagsterInstance,
    passes: Sequence[PassSettings],
    windows: Mapping[str, Windows],
    cursor: str | None,
    now: datetime,
    keep_runs: timedelta = KEEP_RUNS,
) -> dg.SensorResult:
    """Runs for what was missed since this was first asked. `cursor` says, by pass, which window that was."""
    anchors: dict[str, str] = json.loads(cursor) if cursor else {}
    stopped = _stopped_schedules(instance)
    requests = []
    for of_pass in passes:
        of_windows = windows[of_pass.name]
        last = last_complete(of_windows, now)
        if last is None:
            continue
        if of_pass.name not in anchors or schedule_name(of_pass.name) in stopped:
            # What was due before anybody asked for it, or while somebody had it switched off, was not missed.
            anchors[of_pass.name] = last
            continue
        keys = missed_windows(instance, of_pass, of_windows, anchors[of_pass.name], now, keep_runs)
        keys = not_on_record(ledger_url(instance), of_pass.name, of_windows, keys)
        room = max(0, A_TICK - unfinished_runs(instance, of_pass.name)) if keys else 0
        requests += [_request(of_pass.name, key, run_key=f"missed/{of_pass.name}/{key}") for key in keys[:room]]
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(anchors))


def launch_failed(
    instance: dg.DagsterInstance, passes: Sequence[PassSettings], now: datetime
) -> tuple[dg.SensorResult, list[str]]:
    """Runs for the passes whose time to be tried again has come, and a line for each that is given up, only once."""
    requests, given_up = [], []
    for of_pass in passes:
        failed = failed_pass(instance, of_pass.name)
        if failed is None or names.GIVEN_UP_TAG in failed.run.tags or names.ONLY_BRAKED_TAG in failed.run.tags:
            continue
        due = retry_at(failed, of_pass)
        if due is None:
            instance.add_run_tags(failed.run.run_id, {names.GIVEN_UP_TAG: "true"})
            if failed.told:
                continue
            given_up.append(
                f"pass {of_pass.name} failed {failed.in_a_row} times, the last time in run {failed.run.run_id}; it"
                " is left red until its next window comes, and you are not told again before it succeeds."
                f" `cleanup-pipeline retry {failed.run.run_id[:8]}` repeats what is missing"
            )
        elif due <= now:
            key = failed.run.tags.get(names.PARTITION_TAG)
            tags = {names.ATTEMPT_TAG: str(failed.attempt + 1), names.RETRY_OF_TAG: failed.run.run_id}
            requests.append(_request(of_pass.name, key, run_key=f"again/{failed.run.run_id}", tags=tags))
    return dg.SensorResult(run_requests=requests), given_up


def report_unfinished(url: str, targets: Sequence[str], cursor: str | None) -> dg.SensorResult:
    """An observation for each target that is newly left unfinished too often. `cursor` is what was said already.

    Raises LedgerError.
    """
    said: list[str] = json.loads(cursor) if cursor else []
    ledger = open_ledger(url)
    try:
        found = left_unfinished(ledger, targets)
    finally:
        ledger.close()
    events = [
        observation(target, {"unfinished": _unfinished(target, left), "run": run_id})
        for target, (run_id, left) in found.items()
        if target not in said
    ]
    return dg.SensorResult(asset_events=events, cursor=json.dumps(sorted(found)))


def _unfinished(target: str, left: int | None) -> str:
    count = "an unknown number of" if left is None else f"{left:,}"
    return (
        f"targets.{target}: {TIMES} passes in a row left expired records, the last one {count}; raise operation_timeout"
        " or row_limit, lower pause, or run passes more often"
    )


def _request(pass_name: str, key: str | None, *, run_key: str, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    job = names.job_name(pass_name)
    # Behind those of the schedule itself.
    common = {names.PASS_TAG: pass_name, names.SCHEDULED_TAG: pass_name, "dagster/priority": "0"}
    window = partition_tags(job, key) if key else {}
    return dg.RunRequest(run_key=run_key, job_name=job, partition_key=key, tags={**common, **window, **(tags or {})})


def _stopped_schedules(instance: dg.DagsterInstance) -> set[str]:
    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    return {state.instigator_name for state in states if state.status is InstigatorStatus.STOPPED}
