"""Steps that run in a process of their own, perhaps on another machine than the run: what only the instance can tell.

Does not belong here: which process a run is in (process.py).
"""

import os
import platform
from collections.abc import Callable
from time import monotonic

import dagster as dg

from cleanup_pipeline.dagster_defs.switches import LOOK_SECONDS
from cleanup_pipeline.settings.execution import ELSEWHERE

TWICE = "another worker began this step already, and no shard is begun twice in a run"
_ON = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)


def process_name() -> str:
    """This process, for a person who asks which worker did something: host and id."""
    return f"{platform.node()}:{os.getpid()}"


def _is_elsewhere(context: dg.OpExecutionContext) -> bool:
    return context.job_def.executor_def.name in ELSEWHERE


def run_ended(context: dg.OpExecutionContext) -> Callable[[], bool]:
    """Whether the run was ended, or is being ended, without this step: no signal gets here from where that was asked.

    Asks the instance once a second at most. Never of a step that is in the run's own process or a child of it.
    """
    if not _is_elsewhere(context):
        return lambda: False
    instance, run_id = context.instance, context.run_id
    found, again = False, 0.0

    def asked() -> bool:
        nonlocal found, again
        if not found and monotonic() >= again:
            run = instance.get_run_by_id(run_id)
            # A run that was deleted has nobody to write to either.
            found = run is None or run.status not in _ON
            again = monotonic() + LOOK_SECONDS
        return found

    return asked


def begun_before(context: dg.OpExecutionContext) -> bool:
    """Whether this step began in this run before: a broker that lost sight of a worker hands a step out twice.

    What the first one removed is on record under its shard; the second one would write over it.
    """
    if not _is_elsewhere(context):
        return False
    key = context.get_step_execution_context().step.key
    entries = context.instance.all_logs(context.run_id, of_type=dg.DagsterEventType.STEP_START)
    return sum(1 for entry in entries if entry.dagster_event and entry.dagster_event.step_key == key) > 1
