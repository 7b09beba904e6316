"""Which process a pass runs in, on the run's tags: a run whose process was killed stays STARTED in Dagster's eyes.

Dagster's own monitoring does not see that a host crashed and came back: such a run would keep its place in the queue
until `max_runtime_seconds`.
"""

import os
import platform
from collections.abc import Mapping

import dagster as dg
import psutil

HOST_TAG, PID_TAG, STARTED_TAG = "cleanup/host", "cleanup/pid", "cleanup/pid_started"


def process_tags(pid: int | None = None) -> dict[str, str]:
    """A process of this host, by host, id and start time: an id alone is given again to another. None: this one."""
    process = psutil.Process(pid)
    return {HOST_TAG: platform.node(), PID_TAG: str(process.pid), STARTED_TAG: f"{process.create_time():.2f}"}


def tag_process(instance: dg.DagsterInstance, run: dg.DagsterRun, *, own_steps: bool) -> None:
    """Say on a run which process it runs in, whatever its tags said. `own_steps`: each step has a child of that one."""
    tags = process_tags(os.getppid() if own_steps else None)
    if any(run.tags.get(name) != value for name, value in tags.items()):
        instance.add_run_tags(run.run_id, tags)


def gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process of a run was on this host and is gone. False when nobody can tell from here.

    A run that Dagster makes of a lost one inherits its tags, which name the dead process until its first step.
    """
    if not died_here(run.tags):
        return False
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return parent is None or any(run.tags.get(tag) != parent.tags.get(tag) for tag in (PID_TAG, STARTED_TAG))


def died_here(tags: Mapping[str, str]) -> bool:
    """Whether the process that these tags name was on this host and is gone."""
    if tags.get(HOST_TAG) != platform.node() or PID_TAG not in tags:
        return False
    try:
        process = psutil.Process(int(tags[PID_TAG]))
        return process.status() == psutil.STATUS_ZOMBIE or f"{process.create_time():.2f}" != tags.get(STARTED_TAG)
    except (psutil.NoSuchProcess, ValueError):
        return True
    except psutil.AccessDenied:
        return False
