"""A pass in this process, on a Dagster instance: what the command line and the tests run.

The run is a run like any other: on the instance, in the UI, to be re-executed from there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.process import process_tags
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.settings import Settings


@contextmanager
def instance_at(home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance whose dagster.yaml is in `home`; its relative folders are relative to the working folder."""
    os.environ["DAGSTER_HOME"] = str(home.resolve())
    # Four processes a run copy its output to a file. They are in the terminal's process group too, and on Ctrl-C two
    # of them print a traceback each.
    output = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    reference = InstanceRef.from_dir(str(home.resolve()), overrides={"compute_logs": output})
    with dg.DagsterInstance.from_ref(reference) as instance:
        yield instance


def run_pass(settings: Settings, pass_name: str, *, instance: dg.DagsterInstance, dry_run: bool = False) -> PassReport:
    """Run a pass to its end and report. Never raises for what goes wrong in a target: the report says it.

    `settings` must be those that definitions.py loads.
    """
    targets = settings.targets_of(pass_name)
    if not settings.enabled or not settings.passes[pass_name].enabled:
        return PassReport(
            pass_name, PassStatus.SKIPPED, None, 0.0, (), reason="cleanup is switched off (enabled: false)"
        )
    if not targets:
        return PassReport(pass_name, PassStatus.SKIPPED, None, 0.0, (), reason="no target belongs to this pass")
    job = dg.build_reconstructable_job("cleanup_pipeline.definitions", "job_for", (pass_name,))
    tags = {names.PASS_TAG: pass_name, **process_tags(), **({names.DRY_RUN_TAG: "true"} if dry_run else {})}
    with dg.execute_job(
        job,
        instance=instance,
        run_config={
            "resources": {names.OPTIONS: {"config": {"dry_run": dry_run}}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags=tags,
        raise_on_error=False,
    ) as result:
        run_id = result.run_id
    return close_pass(instance, run_id, pass_name, targets)
