"""Intervals as cron, and a pass that is already running."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.schedules import cron_string_iterator

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.process import process_tags
from cleanup_pipeline.dagster_defs.windows import cron_of, is_due
from cleanup_pipeline.settings import Settings
from tests.dagster.conftest import SETTINGS, settings_from

START = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize("minutes", [1, 2, 5, 7, 15, 25, 30, 45, 59, 60, 90, 120, 180, 420, 480, 720, 1440, 2880])
def test_ticks_that_are_due_are_exactly_the_multiples(minutes: int) -> None:
    every = timedelta(minutes=minutes)
    ticks = cron_string_iterator(START.timestamp(), cron_of(every), "UTC")
    due = []
    for tick in ticks:
        if tick >= START + timedelta(days=5):
            break
        if is_due(tick, every):
            due.append(tick.timestamp())
    step = minutes * 60
    first = -(-START.timestamp() // step) * step
    assert due == list(range(int(first), int((START + timedelta(days=5)).timestamp()), step))


def test_less_than_a_minute_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one minute"):
        cron_of(timedelta(seconds=30))


def evaluate(settings: Settings, instance: dg.DagsterInstance, when: datetime) -> dg.RunRequest | dg.SkipReason:
    schedule = build_defs(settings).resolve_schedule_def("clean_sessions_schedule")
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=when)
    data = schedule.evaluate_tick(context)
    return data.run_requests[0] if data.run_requests else dg.SkipReason(data.skip_message)


def test_a_pass_that_is_running_is_not_started_again(settings: Settings, instance: dg.DagsterInstance) -> None:
    job = build_defs(settings).resolve_job_def("clean_sessions")
    assert isinstance(evaluate(settings, instance, START), dg.RunRequest)
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    skipped = evaluate(settings, instance, START)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == f"run {run.run_id} of this pass is still started"


def test_another_pass_that_is_running_does_not_matter(settings: Settings, instance: dg.DagsterInstance) -> None:
    other = build_defs(settings).resolve_job_def("clean_verification_tokens")
    instance.create_run_for_job(other, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(evaluate(settings, instance, START), dg.RunRequest)


@pytest.mark.parametrize(
    ("text", "running"),
    [
        (SETTINGS, {"clean_sessions_schedule", "report_schedule"}),
        (SETTINGS.replace("pause: 0s", "pause: 0s, enabled: false"), {"report_schedule"}),
        (SETTINGS + "passes: {sessions: {enabled: false}}\n", {"report_schedule"}),
    ],
    ids=["on", "switched off", "this pass switched off"],
)
def test_schedules_are_on_where_there_is_something_to_do(
    text: str, running: set[str], tmp_path: Path, postgres_url: str
) -> None:
    defs = build_defs(settings_from(text, tmp_path, postgres_url))
    on = {s.name for s in defs.schedules or [] if s.default_status is dg.DefaultScheduleStatus.RUNNING}
    # What bounds history does so whether or not anything is cleaned.
    assert on == {*running, "prune_history_schedule", "prune_kept_schedule"}


def test_default_intervals_are_the_briefs(settings: Settings) -> None:
    crons = {s.name: s.cron_schedule for s in build_defs(settings).schedules or []}
    assert crons == {
        "clean_sessions_schedule": "0 * * * *",
        "clean_verification_tokens_schedule": "*/30 * * * *",
        "report_schedule": "15 5 * * *",
        "prune_history_schedule": "10 3 * * *",
        "prune_kept_schedule": "40 3 * * *",
    }


def test_a_schedule_that_was_switched_on_by_hand_still_skips(
    tmp_path: Path, postgres_url: str, instance: dg.DagsterInstance
) -> None:
    settings = settings_from(SETTINGS.replace("pause: 0s", "pause: 0s, enabled: false"), tmp_path, postgres_url)
    skipped = evaluate(settings, instance, START)
    assert isinstance(skipped, dg.SkipReason) and "switched off" in str(skipped.skip_message)


def test_a_run_whose_process_was_killed_does_not_hold_its_pass(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    job = build_defs(settings).resolve_job_def("clean_sessions")
    alive = process_tags()
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={**alive, "cleanup/pid_started": "1.00"})
    assert isinstance(evaluate(settings, instance, START), dg.RunRequest)
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=alive)
    assert isinstance(evaluate(settings, instance, START), dg.SkipReason)
