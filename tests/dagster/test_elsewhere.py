"""Steps in other processes than their run: lost ones, ones begun twice, and how they hear that the run ended."""

import os
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from celery.result import AsyncResult
from dagster._core.test_utils import create_run_for_test

from cleanup_pipeline.dagster_defs import celery_executor, elsewhere
from cleanup_pipeline.dagster_defs.celery_executor import _Watch, worker_app
from cleanup_pipeline.dagster_defs.elsewhere import begun_before, process_name, run_ended
from cleanup_pipeline.settings.execution import Execution

STEP = "web.delete[shard_0]"


def context(instance: dg.DagsterInstance, run: dg.DagsterRun, executor: str = "celery") -> Any:
    """What an op sees of its run."""
    return SimpleNamespace(
        instance=instance,
        run_id=run.run_id,
        job_def=SimpleNamespace(executor_def=SimpleNamespace(name=executor)),
        get_step_execution_context=lambda: SimpleNamespace(step=SimpleNamespace(key=STEP)),
    )


def begin(instance: dg.DagsterInstance, run: dg.DagsterRun, step: str = STEP) -> None:
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.STEP_START.value, job_name=run.job_name, step_key=step, message=""
    )
    instance.report_dagster_event(event, run_id=run.run_id)


def test_a_step_is_begun_once_in_a_run(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, job_name="clean_sessions", status=dg.DagsterRunStatus.STARTED)
    begin(instance, run, "web.delete[shard_1]")
    begin(instance, run)
    assert not begun_before(context(instance, run))
    begin(instance, run)
    assert begun_before(context(instance, run)) and begun_before(context(instance, run, "k8s"))
    # Where steps are processes of the run nobody hands them out a second time.
    assert not begun_before(context(instance, run, "multiprocess"))


@pytest.mark.parametrize("after", [dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.FAILURE, None])
def test_a_step_sees_that_its_run_ended(
    after: dg.DagsterRunStatus | None, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "LOOK_SECONDS", 0.0)
    run = create_run_for_test(instance, job_name="clean_sessions", status=dg.DagsterRunStatus.STARTED)
    ended, ours = run_ended(context(instance, run)), run_ended(context(instance, run, "in_process"))
    assert not ended() and not ours()
    if after is None:
        instance.delete_run(run.run_id)
    elif after is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceling(run)
    else:
        instance.report_run_failed(run)
    assert ended() and not ours()


def test_the_instance_is_not_asked_before_each_batch(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(elsewhere, "monotonic", lambda: now[0])
    run = create_run_for_test(instance, job_name="clean_sessions", status=dg.DagsterRunStatus.STARTED)
    ended = run_ended(context(instance, run))
    assert not ended()
    instance.report_run_failed(run)
    now[0] += elsewhere.LOOK_SECONDS / 2
    assert not ended()
    now[0] += elsewhere.LOOK_SECONDS / 2
    assert ended()


def test_a_step_that_began_and_that_no_worker_knows_is_lost(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANUP_CELERY_BROKER_URL", redis_url)
    monkeypatch.setattr(celery_executor, "PING_SECONDS", 0.1)
    now = [100.0]
    monkeypatch.setattr(celery_executor, "monotonic", lambda: now[0])
    app = worker_app(Execution("celery", "postgres"))
    watch = _Watch(30.0).of(app)
    waiting, began, done = (AsyncResult(name, app=app) for name in ("waiting", "began", "done"))
    assert not watch.is_lost(waiting) and not watch.is_lost(began)
    app.backend.store_result("began", {"pid": 1, "hostname": "gone@host"}, "STARTED")
    assert not watch.is_lost(began)
    now[0] += 30
    assert not watch.is_lost(began)
    now[0] += 1
    assert watch.is_lost(began)
    # One that nobody took yet waits for a worker, and one that ended is not asked after.
    assert not watch.is_lost(waiting)
    app.backend.store_result("done", [], "SUCCESS")
    assert done.ready() and not watch.is_lost(done)
    watch.forget(began)
    app.backend.store_result("began", [], "SUCCESS")
    assert not watch.is_lost(began)


def test_what_a_worker_is_told(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANUP_CELERY_BROKER_URL", redis_url)
    app = worker_app(Execution("celery", "postgres", queue="q", broker_retries=7))
    assert app.conf.task_default_queue == "q" and app.conf.broker_transport_options["max_retries"] == 7
    assert app.conf.worker_disable_prefetch and app.conf.task_track_started and not app.conf.task_acks_late
    assert list(app.conf.accept_content) == ["json"] and app.conf.task_serializer == "json"


def test_a_process_is_named_by_host_and_id() -> None:
    host, _, pid = process_name().rpartition(":")
    assert host and int(pid) == os.getpid()
