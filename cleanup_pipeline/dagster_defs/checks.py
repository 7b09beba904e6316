"""The asset checks of a pass's targets, the job that runs them, and the sensors that start it behind each pass.

They are no part of the pass's own job: a pass must not judge itself, nor wait for its judge.
Does not belong here: looking and judging (witness.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.closing import close_pass
from cleanup_pipeline.dagster_defs.windows import of_backfill
from cleanup_pipeline.dagster_defs.witness import CHECKS, FRESHNESS, SURVIVOR, evaluations, witness
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import PassStatus
from cleanup_pipeline.settings.settings import PassSettings
from cleanup_pipeline.stores.base import Store

_NOT_BEGUN = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_SAYS = {
    SURVIVOR: "The oldest record that ought to be gone is younger than the objective.",
    FRESHNESS: "A pass cleaned the target without fault within two intervals.",
}

Job = dg.JobDefinition
UnresolvedJob = type(dg.define_asset_job("any"))


@dataclass(frozen=True, slots=True)
class Witnessing:
    """What `build_defs` puts together for the passes that have targets."""

    checks: Sequence[dg.AssetChecksDefinition]
    jobs: Sequence[UnresolvedJob]  # type: ignore[valid-type]
    sensors: Sequence[dg.SensorDefinition]


def witnessing(
    passes: Sequence[PassSettings],
    targets_by_pass: Mapping[str, Sequence[Target]],
    pass_jobs: Mapping[str, Job],
    on: Mapping[str, bool],
    prefix: str = "",
    resources: Mapping[str, dg.ResourceDefinition] | None = None,
) -> Witnessing:
    """Checks and a job for each pass with targets; sensors where some pass is on.

    `resources` are the stores where the checks bring them along, as they do into other projects; `prefix` is before
    their keys there, and before the sensors' names.
    """
    watched = [of_pass for of_pass in passes if targets_by_pass[of_pass.name]]
    checks = {
        of_pass.name: _checks(of_pass, targets_by_pass[of_pass.name], on[of_pass.name], prefix, resources or {})
        for of_pass in watched
    }
    jobs = {name: _job(name, of_pass) for name, of_pass in checks.items()}
    running = [name for name in jobs if on[name]]
    sensors = _sensors(running, pass_jobs, jobs, targets_by_pass, prefix) if running else []
    return Witnessing(list(checks.values()), list(jobs.values()), sensors)


def _checks(
    of_pass: PassSettings,
    targets: Sequence[Target],
    enabled: bool,
    prefix: str,
    resources: Mapping[str, dg.ResourceDefinition],
) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(check, asset=names.asset_key(target.name), description=_SAYS[check])
        for target in targets
        for check in CHECKS
    ]
    stores = {target.store: f"{prefix}{names.resource_key(target.store)}" for target in targets}
    brought = {key: resources[names.resource_key(store)] for store, key in stores.items() if resources}

    @dg.multi_asset_check(
        name=f"Witness_{of_pass.name}",
        specs=specs,
        can_subset=True,
        description=f"Looks at what pass `{of_pass.name}` ought to have left, by queries of its own. Deletes nothing.",
        required_resource_keys=set(stores.values()),
        resource_defs=brought,
    )
    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        chosen = context.selected_asset_check_keys
        run_id = context.run.tags.get(names.WITNESS_OF_TAG)
        for target in targets:
            wanted = {key.name for key in chosen if key.asset_key == names.asset_key(target.name)}
            if not wanted:
                continue
            store: Store = getattr(context.op_execution_context.resources, stores[target.store])
            judgement = witness(context.instance, store, target, of_pass, enabled=enabled, run_id=run_id)
            for found in evaluations(judgement):
                if found.check_name in wanted:
                    yield dg.AssetCheckResult(
                        asset_key=found.asset_key,
                        check_name=found.check_name,
                        passed=found.passed,
                        severity=found.severity,
                        description=found.description,
                        metadata=found.metadata,
                    )

    return look


def _job(pass_name: str, checks: dg.AssetChecksDefinition) -> UnresolvedJob:  # type: ignore[valid-type]
    return dg.define_asset_job(
        name=names.witness_job_name(pass_name),
        selection=dg.AssetSelection.checks(checks),
        description=f"The checks of the targets of pass `{pass_name}`. Started behind its runs; deletes nothing.",
        executor_def=dg.in_process_executor,
        # Behind passes that wait.
        tags={names.UPKEEP_TAG: "witness", "dagster/priority": "-1"},
    )


def _sensors(
    running: Sequence[str],
    pass_jobs: Mapping[str, Job],
    jobs: Mapping[str, UnresolvedJob],  # type: ignore[valid-type]
    targets_by_pass: Mapping[str, Sequence[Target]],
    prefix: str,
) -> list[dg.SensorDefinition]:
    def behind(name: str, status: dg.DagsterRunStatus) -> dg.SensorDefinition:
        @dg.run_status_sensor(
            name=f"{prefix}{name}",
            run_status=status,
            monitored_jobs=[pass_jobs[pass_name] for pass_name in running],
            request_jobs=[jobs[pass_name] for pass_name in running],
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Starts the checks of a pass's targets behind each of its runs; not behind dry runs and"
            " backfills, and not while the checks wait to begin already.",
        )
        def sensor(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
            run = context.dagster_run
            request = request_witness(context.instance, run)
            if isinstance(request, dg.RunRequest) and status is dg.DagsterRunStatus.FAILURE:
                # A result that is older than the latest event of its asset counts for nothing on the asset's page.
                pass_name = run.tags.get(names.PASS_TAG, "")
                close_pass(context.instance, run.run_id, pass_name, targets_by_pass.get(pass_name, ()))
            return request

        return sensor

    return [
        behind("witness_passes", dg.DagsterRunStatus.SUCCESS),
        behind("witness_failed_passes", dg.DagsterRunStatus.FAILURE),
    ]


def request_witness(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.RunRequest | dg.SkipReason:
    """The run of the checks behind a run of a pass, or why there is none."""
    pass_name = run.tags.get(names.PASS_TAG, "")
    if _is_dry(run):
        return dg.SkipReason("a dry run leaves what it found")
    if of_backfill(instance, run):
        return dg.SkipReason("a backfill keeps to its window")
    job = names.witness_job_name(pass_name)
    if instance.get_runs(dg.RunsFilter(job_name=job, statuses=_NOT_BEGUN), limit=1):
        return dg.SkipReason(f"a run of {job} is about to begin, and will see this")
    return dg.RunRequest(run_key=run.run_id, job_name=job, tags={names.WITNESS_OF_TAG: run.run_id})


def _is_dry(run: dg.DagsterRun) -> bool:
    config: Any = run.run_config
    options = config.get("resources", {}).get(names.OPTIONS, {}).get("config", {})
    tagged = run.tags.get(names.DRY_RUN_TAG) == "true" or run.tags.get(names.STATUS_TAG) == PassStatus.DRY_RUN
    return tagged or bool(options.get("dry_run"))
