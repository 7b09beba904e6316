"""Steps by Celery: dagster-celery's executor, with an eye on workers that are gone.

By itself it waits for ever for a step whose worker was killed: Celery acknowledges a task when it begins, and nobody
else is told of it again. That is right for deleting (a step is never done twice), and so this asks the workers whether
they still know of the steps that began; a step that none of them knows has failed, and the pass goes on without it.

Broker and backend are read where they are needed and are in no configuration, which Dagster would show.
"""

import os
from collections.abc import Iterator
from time import monotonic
from typing import Any

import dagster as dg
from celery import Celery
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.execution.retries import RetryMode
from dagster._serdes import serialize_value
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.executor import CeleryExecutor, _submit_task
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task
from dagster_shared.error import SerializableErrorInfo

from cleanup_pipeline.dagster_defs.process import tag_process
from cleanup_pipeline.dagster_defs.storage import is_shared
from cleanup_pipeline.ledger import LedgerError
from cleanup_pipeline.ledger.connect import one_line
from cleanup_pipeline.settings.execution import BROKER, CELERY, Execution, celery_urls

PING_SECONDS = 2.0
"""How long workers may take to say what they are at."""
_RESULTS_SECONDS = 25 * 3600
"""How long a result waits to be fetched: longer than a run may take (`jobs.longest_run`)."""
_UNSEEN_SECONDS = 600
"""After which a task that a worker took and never began goes to another one."""


def configuration(execution: Execution) -> dict[str, Any]:
    """Celery's settings, the same for those who hand out steps and for workers."""
    return {
        "task_default_queue": execution.queue,
        # Says which worker has a task; without it nobody could be asked for.
        "task_track_started": True,
        "result_expires": _RESULTS_SECONDS,
        "broker_connection_retry_on_startup": True,
        # A task that waits behind another one of the same worker would wait while others are idle.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "broker_transport_options": {
            "max_retries": execution.broker_retries,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 1.0,
            "visibility_timeout": _UNSEEN_SECONDS,
        },
    }


def worker_app(execution: Execution) -> Celery:
    """What a worker runs. Raises LookupError: no broker is named."""
    app: Celery = make_app(_executor(execution).app_args())
    create_task(app)
    return app


def reach_broker(app: Celery) -> None:
    """One connection to the broker. Raises LedgerError, which never shows its URL."""
    try:
        app.connection_for_write().ensure_connection(max_retries=1, timeout=5).release()
    except Exception as fault:  # noqa: BLE001 - whatever the broker's driver raises
        said = f"{BROKER}: the broker cannot be reached ({type(fault).__name__}); see to it that it runs"
        raise LedgerError(said) from None


def celery_executor(execution: Execution) -> dg.ExecutorDefinition:
    """The executor as a job has it. Connects to nothing."""

    @dg.executor(name=CELERY, requirements=dg.multiple_process_executor_requirements())
    def made(_: dg.InitExecutorContext) -> dg.Executor:
        return _executor(execution)

    return made


def _executor(execution: Execution) -> "WatchingExecutor":
    broker, backend = celery_urls(os.environ)
    executor = WatchingExecutor(RetryMode.ENABLED, broker, backend, config_source=configuration(execution))
    executor.lost_after = execution.lost_after.total_seconds()
    return executor


class WatchingExecutor(CeleryExecutor):  # type: ignore[misc]
    """Hands out steps, and asks after them."""

    lost_after = 30.0
    """Seconds for which no worker may know of a step that began."""

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[DagsterEvent]:
        """The events of the run, as they come."""
        is_shared(plan_context.instance, CELERY)
        # Steps have other processes; when this one is gone, nobody hands out any more.
        tag_process(plan_context.instance, plan_context.dagster_run, own_steps=False)
        watch = _Watch(self.lost_after)

        def submit(app: Celery, context: Any, step: Any, *more: Any) -> "_Handed":
            return _Handed(_submit_task(app, context, step, *more), watch.of(app), context, step)

        yield from core_celery_execution_loop(plan_context, execution_plan, step_execution_fn=submit)


class _Watch:
    """When each step that began was last known to a worker."""

    def __init__(self, lost_after: float) -> None:
        self._lost_after = lost_after
        self._every = min(5.0, lost_after / 3)
        self._app: Celery | None = None
        self._known: dict[str, float] = {}
        self._hosts: dict[str, str] = {}
        self._again = 0.0

    def of(self, app: Celery) -> "_Watch":
        self._app = app
        return self

    def is_lost(self, result: AsyncResult) -> bool:
        """Whether a worker began it, and none has known of it for a while."""
        task, info = str(result.id), result.info
        if result.state == "STARTED" and isinstance(info, dict):
            self._known.setdefault(task, monotonic())
            self._hosts[task] = str(info.get("hostname"))
        if task not in self._known:
            return False
        self._ask()
        return monotonic() - self._known[task] > self._lost_after

    def forget(self, result: AsyncResult) -> None:
        self._known.pop(str(result.id), None)
        self._hosts.pop(str(result.id), None)

    def _ask(self) -> None:
        if self._app is None or monotonic() < self._again:
            return
        hosts = sorted(set(self._hosts.values()))
        # As many answers as there are hosts end the waiting.
        asked = self._app.control.inspect(destination=hosts, timeout=PING_SECONDS, limit=len(hosts))
        answered = asked.active() or {}
        now = monotonic()
        for tasks in answered.values():
            self._known |= {task["id"]: now for task in tasks if task["id"] in self._known}
        self._again = now + self._every


class _Handed:
    """A step that was handed out, as dagster-celery's loop wants it: `ready`, `get`, `revoke`."""

    def __init__(self, result: AsyncResult, watch: _Watch, context: Any, step: Any) -> None:
        self._result, self._watch, self._context, self._step = result, watch, context, step
        self._lost = False

    def ready(self) -> bool:
        """Whether it ended, or its worker is gone."""
        if self._result.ready():
            self._watch.forget(self._result)
            return True
        # One that ended between the two questions is known to no worker either.
        self._lost = self._watch.is_lost(self._result) and not self._result.ready()
        return self._lost or bool(self._result.ready())

    def get(self) -> list[str]:
        """Its events, serialized; of one that is lost, or never got as far as its own, that it failed."""
        self._watch.forget(self._result)
        said = "no worker knows of this step any more: its process was killed, or lost its host or its broker"
        if self._lost:
            # Handed to nobody again, also should the broker find it.
            self._result.revoke()
        else:
            try:
                events: list[str] = self._result.get()
                return events
            except TaskRevokedError:
                raise
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is one step's, and others go on
                said = f"its worker could not do this step: {type(fault).__name__}: {one_line(str(fault))[:300]}"
        said += f"; `cleanup-pipeline retry {self._context.dagster_run.run_id}` repeats what is missing"
        error = SerializableErrorInfo(said, [], None)
        context = self._context.for_step(self._step)
        data = StepFailureData(error=error, user_failure_data=None)  # type: ignore[no-untyped-call]
        return [serialize_value(DagsterEvent.step_failure_event(context, data))]

    def revoke(self) -> None:
        """The run is being ended: workers see that in the instance, and end their batch."""
        instance, run = self._context.instance, self._context.dagster_run
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status is dg.DagsterRunStatus.STARTED:
            instance.report_run_canceling(run)
        self._result.revoke()
