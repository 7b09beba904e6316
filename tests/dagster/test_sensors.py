"""Windows that were missed, passes that failed, targets that never get done: on real instances and ledgers."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.dagster_defs.missed import TIMES
from cleanup_pipeline.dagster_defs.sensors import A_TICK, launch_failed, launch_missed, report_unfinished
from cleanup_pipeline.dagster_defs.windows import partition_tags, windows_of
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.model.outcome import TargetReport
from cleanup_pipeline.model.words import StopReason, StoreType
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.settings import PassSettings

HOURLY = PassSettings("sessions", timedelta(hours=1))
NOON = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
JOB = "clean_sessions"


def key(hours_ago: int) -> str:
    """The window that ended so many whole hours ago."""
    return f"{NOON - timedelta(hours=hours_ago + 1):%Y-%m-%dT%H:%M}"


def missed(instance: dg.DagsterInstance, cursor: str | None, now: datetime) -> tuple[list[str | None], str]:
    windows = {"sessions": windows_of(HOURLY, NOON - timedelta(days=1))}
    result = launch_missed(instance, [HOURLY], windows, cursor, now)
    requests: Sequence[Any] = result.run_requests or []
    assert all(request.tags[names.SCHEDULED_TAG] == "sessions" for request in requests)
    assert all(request.tags[names.PARTITION_TAG] == request.partition_key for request in requests)
    return [request.partition_key for request in requests], str(result.cursor)


def ran(instance: dg.DagsterInstance, partition: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    return create_run_for_test(
        instance,
        job_name=JOB,
        status=status,
        tags={**partition_tags(JOB, partition), names.PASS_TAG: "sessions", **tags},
    )


def test_what_was_due_while_nobody_was_there_is_started_the_newest_first(instance: dg.DagsterInstance) -> None:
    # A new installation has a thousand windows behind it: none of them was missed.
    requests, cursor = missed(instance, None, NOON - timedelta(hours=7, minutes=-5))
    assert requests == [] and json.loads(cursor) == {"sessions": key(7)}
    # Six hours later; the schedule itself takes care of what has just ended.
    assert missed(instance, cursor, NOON + timedelta(minutes=1))[0] == [key(1), key(2), key(3)]
    requests, _ = missed(instance, cursor, NOON + timedelta(minutes=5))
    assert requests == [key(0), key(1), key(2)] and len(requests) == A_TICK
    for number, status in enumerate(
        (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
    ):
        ran(instance, key(number), status)
    assert missed(instance, cursor, NOON + timedelta(minutes=5))[0] == [key(3), key(4), key(5)]
    for number in (3, 4, 5, 6):
        ran(instance, key(number), dg.DagsterRunStatus.SUCCESS)
    assert missed(instance, cursor, NOON + timedelta(minutes=5))[0] == []


def test_missed_windows_do_not_pile_up_behind_a_pass_that_takes_longer_than_its_interval(
    instance: dg.DagsterInstance,
) -> None:
    _, cursor = missed(instance, None, NOON - timedelta(hours=7, minutes=-5))
    five_past = NOON + timedelta(minutes=5)
    started = ran(instance, key(6), dg.DagsterRunStatus.STARTED, **failing())
    assert missed(instance, cursor, five_past)[0] == [key(0), key(1)]
    for number in (0, 1):
        ran(instance, key(number), dg.DagsterRunStatus.NOT_STARTED, **failing())
    assert missed(instance, cursor, five_past)[0] == []
    instance.report_run_failed(started)
    assert missed(instance, cursor, five_past)[0] == [key(2)]


def test_a_schedule_that_somebody_switched_off_misses_nothing(instance: dg.DagsterInstance) -> None:
    _, cursor = missed(instance, None, NOON - timedelta(hours=7, minutes=-5))
    repository = RemoteRepositoryOrigin(InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x")), "r")
    origin = RemoteInstigatorOrigin(repository, f"{JOB}_schedule")
    state = InstigatorState(
        origin, InstigatorType.SCHEDULE, InstigatorStatus.STOPPED, ScheduleInstigatorData("0 * * * *")
    )
    instance.add_instigator_state(state)
    requests, cursor = missed(instance, cursor, NOON + timedelta(minutes=5))
    assert requests == []
    instance.update_instigator_state(state.with_status(InstigatorStatus.RUNNING))
    assert missed(instance, cursor, NOON + timedelta(minutes=10))[0] == []
    assert missed(instance, cursor, NOON + timedelta(hours=1, minutes=5))[0] == [key(-1)]


def failing(every_attempt: str | None = None) -> dict[str, str]:
    return {names.SCHEDULED_TAG: "sessions"} | ({names.ATTEMPT_TAG: every_attempt} if every_attempt else {})


def test_a_pass_that_failed_is_tried_again_later_and_later_and_then_given_up_once(instance: dg.DagsterInstance) -> None:
    of_pass = replace(HOURLY, retries=2, retry_after=timedelta(minutes=1))

    def again(minutes: float) -> tuple[list[Any], list[str]]:
        result, given_up = launch_failed(instance, [of_pass], datetime.now(UTC) + timedelta(minutes=minutes))
        return list(result.run_requests or []), given_up

    assert again(60) == ([], [])
    # What a person started is that person's to start again.
    ran(instance, key(1), dg.DagsterRunStatus.FAILURE)
    assert again(60) == ([], [])
    first = ran(instance, key(0), dg.DagsterRunStatus.STARTED, **failing())
    assert again(60) == ([], [])
    instance.report_run_failed(first)
    assert again(0.5) == ([], [])
    [request], given_up = again(1.1)
    assert given_up == [] and request.partition_key == key(0) and request.run_key == f"again/{first.run_id}"
    assert (request.tags[names.ATTEMPT_TAG], request.tags[names.RETRY_OF_TAG]) == ("1", first.run_id)
    second = ran(instance, key(0), dg.DagsterRunStatus.STARTED, **failing("1"))
    instance.report_run_failed(second)
    assert again(3.5) == ([], [])
    [request], _ = again(4.1)
    assert request.tags[names.ATTEMPT_TAG] == "2"
    third = ran(instance, key(0), dg.DagsterRunStatus.STARTED, **failing("2"))
    instance.report_run_failed(third)
    requests, given_up = again(600)
    assert requests == [] and len(given_up) == 1
    assert given_up[0].startswith(f"pass sessions failed 3 times, the last time in run {third.run_id};")
    assert again(600) == ([], [])
    # The next window is another matter.
    ran(instance, key(0), dg.DagsterRunStatus.SUCCESS, **failing())
    assert again(600) == ([], [])


def test_a_pass_whose_next_window_comes_before_it_is_given_up_is_told_of_as_well(instance: dg.DagsterInstance) -> None:
    """Every minute: the schedule's next run comes before the second repetition, and each is a first attempt."""
    of_pass = replace(HOURLY, every=timedelta(minutes=1), retries=2, retry_after=timedelta(minutes=1))

    def fails(hours_ago: int) -> list[str]:
        instance.report_run_failed(ran(instance, key(hours_ago), dg.DagsterRunStatus.STARTED, **failing()))
        return launch_failed(instance, [of_pass], datetime.now(UTC))[1]

    assert [fails(9), fails(8)] == [[], []]
    [told] = fails(7)
    assert told.startswith("pass sessions failed 3 times") and "not told again before it succeeds" in told
    assert [fails(n) for n in (6, 5, 4, 3)] == [[]] * 4
    ran(instance, key(2), dg.DagsterRunStatus.SUCCESS, **failing())
    assert [fails(1), fails(0)] == [[], []]
    assert len(fails(-1)) == 1


def test_a_target_that_is_left_unfinished_three_times_is_reported_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = open_ledger(url)
    cursor: str | None = None

    def end(number: int, reason: StopReason, survivors: int | None) -> list[Any]:
        nonlocal cursor
        ledger.begin_pass(f"r{number}", "sessions")
        report = TargetReport("web", "main", StoreType.POSTGRES, "session", "index_walk", reason, survivors=survivors)
        ledger.record_target(f"r{number}", report)
        result = report_unfinished(url, ["web", "other"], cursor)
        cursor = str(result.cursor)
        return [event.metadata["unfinished"].value for event in result.asset_events]

    assert TIMES == 3
    assert end(1, StopReason.DEADLINE, 500) == []
    assert end(2, StopReason.GOVERNOR, None) == []
    [told] = end(3, StopReason.ROW_LIMIT, 1_234)
    assert told.startswith("targets.web: 3 passes in a row left expired records, the last one 1,234;")
    assert end(4, StopReason.DEADLINE, 2) == []
    assert end(5, StopReason.EXHAUSTED, 0) == []
    assert [end(n, StopReason.DEADLINE, 7) for n in (6, 7)] == [[], []]
    assert len(end(8, StopReason.DEADLINE, 7)) == 1
    # Passes that left the target alone, being held, paused or outside its hours, have finished nothing either.
    assert end(9, StopReason.EXHAUSTED, 0) == []
    for number in (10, 20):
        assert end(number, StopReason.DEADLINE, 7) == []
        assert [end(number + n, StopReason.SKIPPED, None) for n in range(1, 10)] == [[]] * 9
    assert len(end(30, StopReason.DEADLINE, 7)) == 1
    assert end(31, StopReason.SKIPPED, None) == end(32, StopReason.DEADLINE, 7) == []
    ledger.close()


def test_sensors_are_there_only_where_something_runs(settings: Settings, tmp_path: Path) -> None:
    def named(of: Settings) -> set[str]:
        return {sensor.name for sensor in build_defs(of).get_repository_def().sensor_defs}

    watching = {"missed_windows", "failed_passes", "unfinished_targets"}
    assert watching <= named(settings)
    assert not watching & named(replace(settings, enabled=False))
