"""A pass in this process, on a Dagster instance: what the command line and the tests run.

The run is a run like any other: on the instance, in the UI, to be re-executed from there.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, REPOSITORY_LABEL_TAG, ROOT_RUN_ID_TAG

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.again import Again
from cleanup_pipeline.dagster_defs.closing import close_pass, fail_lost_runs, write_down_late
from cleanup_pipeline.dagster_defs.places import place_of_pass, place_of_run
from cleanup_pipeline.dagster_defs.process import process_tags
from cleanup_pipeline.dagster_defs.storage import agrees, is_shared, look_at_database
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.execution import CELERY


@contextmanager
def instance_at(home: Path, *, output: bool = False) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance whose dagster.yaml is in `home`; its relative folders are relative to the working folder.

    `output`: with what keeps the output of runs, for whoever starts none. Raises LedgerError where its database is
    away, or is not the one that the variable names.
    """
    look_at_database()
    os.environ["DAGSTER_HOME"] = str(home.resolve())
    # Four processes a run copy its output to a file. They are in the terminal's process group too, and on Ctrl-C two
    # of them print a traceback each.
    none = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    reference = InstanceRef.from_dir(str(home.resolve()), overrides={} if output else {"compute_logs": none})
    with dg.DagsterInstance.from_ref(reference) as instance:
        agrees(instance)
        yield instance


def run_pass(
    settings: Settings,
    pass_name: str,
    *,
    instance: dg.DagsterInstance,
    dry_run: bool = False,
    plan: str = "",
    tags: Mapping[str, str] | None = None,
    again: dg.ReexecutionOptions | None = None,
) -> PassReport:
    """Run a pass to its end and report. Never raises for what goes wrong in a target: the report says it.

    Raises LedgerError where its executor needs an instance or a broker that others reach, and there is none.

    `settings` must be those that definitions.py loads. `plan` is an earlier one to carry out.
    `tags` more of them, such as a partition's; `again` makes it a re-execution.
    """
    targets = settings.targets_of(pass_name)
    if not settings.enabled or not settings.passes[pass_name].enabled:
        return PassReport(
            pass_name, PassStatus.SKIPPED, None, 0.0, (), reason="cleanup is switched off (enabled: false)"
        )
    if not targets:
        return PassReport(pass_name, PassStatus.SKIPPED, None, 0.0, (), reason="no target belongs to this pass")
    is_shared(instance, settings.execution.executor)
    if settings.execution.executor == CELERY:
        from cleanup_pipeline.dagster_defs.celery_executor import reach_broker, worker_app

        # Else the run would fail without a word of why, in a log.
        reach_broker(worker_app(settings.execution))
    job = dg.build_reconstructable_job("cleanup_pipeline.definitions", "job_for", (pass_name,))
    fail_lost_runs(instance)
    write_down_late(instance, {name: settings.targets_of(name) for name in settings.passes})
    all_tags = {
        names.PASS_TAG: pass_name,
        # The grid of partitions shows no run without it.
        REPOSITORY_LABEL_TAG: place_of_pass(instance, pass_name).label,
        **process_tags(),
        **({names.DRY_RUN_TAG: "true"} if dry_run else {}),
        **({names.APPLIES_TAG: plan, names.PLAN_TAG: plan} if plan else {}),
    }
    with dg.execute_job(
        job,
        instance=instance,
        run_config={
            "resources": {names.OPTIONS: {"config": {"dry_run": dry_run, "plan": plan}}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags={**all_tags, **(tags or {})},
        reexecution_options=again,
        raise_on_error=False,
    ) as result:
        run_id = result.run_id
    return close_pass(instance, run_id, pass_name, targets)


def repeat_run(settings: Settings, run: dg.DagsterRun, again: Again, *, instance: dg.DagsterInstance) -> PassReport:
    """Repeat these steps of a red run, as a run of its own with the same window, and report on the whole pass."""
    if not run.is_finished:
        # Dagster takes only what has ended for a parent.
        fail_lost_runs(instance)
    handed_on = (names.PARTITION_TAG, names.PARTITION_SET_TAG, names.BACKFILL_TAG)
    return run_pass(
        settings,
        run.tags[names.PASS_TAG],
        instance=instance,
        dry_run=run.tags.get(names.DRY_RUN_TAG) == "true",
        plan=run.tags.get(names.APPLIES_TAG, ""),
        tags={
            **{tag: run.tags[tag] for tag in handed_on if tag in run.tags},
            REPOSITORY_LABEL_TAG: place_of_run(run).label,
            # As the UI does it: its lists know a re-execution by these.
            PARENT_RUN_ID_TAG: run.run_id,
            ROOT_RUN_ID_TAG: run.root_run_id or run.run_id,
        },
        again=dg.ReexecutionOptions(run.run_id, again.steps),
    )
