"""Which process a pass runs in, on the run's tags: a run whose process was killed stays STARTED in Dagster's eyes.

Dagster's own monitoring does not see that a host crashed and came back: such a run would keep its place in the queue
until `max_runtime_seconds`.
"""

import os
import platform
from collections.abc import Mapping

import psutil

HOST_TAG, PID_TAG, STARTED_TAG = "cleanup/host", "cleanup/pid", "cleanup/pid_started"


def process_tags() -> dict[str, str]:
    """This process, by host, id and start time: an id alone is given again to another."""
    started = psutil.Process().create_time()
    return {HOST_TAG: platform.node(), PID_TAG: str(os.getpid()), STARTED_TAG: f"{started:.2f}"}


def died_here(tags: Mapping[str, str]) -> bool:
    """Whether the run's process was on this host and is gone. False when nobody can tell from here."""
    if tags.get(HOST_TAG) != platform.node() or PID_TAG not in tags:
        return False
    try:
        process = psutil.Process(int(tags[PID_TAG]))
        return process.status() == psutil.STATUS_ZOMBIE or f"{process.create_time():.2f}" != tags.get(STARTED_TAG)
    except (psutil.NoSuchProcess, ValueError):
        return True
    except psutil.AccessDenied:
        return False
