"""Settings in, Definitions out: the one place where the Dagster side is put together.

Tests and other projects replace parts through the arguments, never by patching.
"""

from collections.abc import Mapping

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.alerting import alerts_sensor
from cleanup_pipeline.dagster_defs.assets import target_asset
from cleanup_pipeline.dagster_defs.checks import witnessing
from cleanup_pipeline.dagster_defs.closing import closing_sensors
from cleanup_pipeline.dagster_defs.executors import executor_of
from cleanup_pipeline.dagster_defs.jobs import pass_job
from cleanup_pipeline.dagster_defs.metrics import metrics_sensors
from cleanup_pipeline.dagster_defs.pruning import pruning_job, pruning_schedule
from cleanup_pipeline.dagster_defs.reports import report_asset, report_job, report_schedule
from cleanup_pipeline.dagster_defs.resources import PassOptions, ledger_resource, store_resource
from cleanup_pipeline.dagster_defs.schedules import pass_schedule
from cleanup_pipeline.dagster_defs.sensors import watching_sensors
from cleanup_pipeline.dagster_defs.step_storage import IO_MANAGER, step_storage_resource
from cleanup_pipeline.dagster_defs.windows import windows_of
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.settings.execution import LOCAL
from cleanup_pipeline.settings.load import ENVIRONMENT
from cleanup_pipeline.stores.open import Opener, open_store


def build_defs(
    settings: Settings,
    *,
    opener: Opener = open_store,
    resource_overrides: Mapping[str, dg.ResourceDefinition] | None = None,
    executor: dg.ExecutorDefinition | None = None,
) -> dg.Definitions:
    """Jobs, schedules, sensors, assets and resources for these settings. Connects to nothing."""
    resources: dict[str, dg.ResourceDefinition] = {
        names.resource_key(name): store_resource(config, opener) for name, config in settings.stores.items()
    }
    resources[names.OPTIONS] = PassOptions().get_resource_definition()
    resources[names.LEDGER] = ledger_resource()
    resources.update(resource_overrides or {})
    if settings.execution.step_storage != LOCAL:
        resources.setdefault(IO_MANAGER, step_storage_resource(settings.execution.step_storage))
    executor = executor or executor_of(settings)
    targets_by_pass = {name: settings.targets_of(name) for name in settings.passes}
    on = {name: settings.enabled and of_pass.enabled for name, of_pass in settings.passes.items()}
    windows = {name: windows_of(of_pass) for name, of_pass in settings.passes.items()}
    source = None if settings.source == ENVIRONMENT else settings.source
    jobs = {
        name: pass_job(
            name,
            targets,
            resources,
            executor,
            enabled=on[name],
            windows=windows[name],
            source=source,
            notifications=settings.notifications,
            plans=settings.plans,
        )
        for name, targets in targets_by_pass.items()
    }
    schedules = [
        pass_schedule(
            of_pass, windows[name], jobs[name], enabled=on[name], running=on[name] and bool(targets_by_pass[name])
        )
        for name, of_pass in settings.passes.items()
    ]
    watched = [of_pass for name, of_pass in settings.passes.items() if on[name] and targets_by_pass[name]]
    report = report_job()
    checking = witnessing(list(settings.passes.values()), targets_by_pass, jobs, on)
    pruning = pruning_job(settings.history, settings.execution.step_storage)
    return dg.Definitions(
        assets=[*(target_asset(target) for target in settings.targets), report_asset()],
        asset_checks=checking.checks,
        jobs=[*jobs.values(), *checking.jobs, report, pruning],
        schedules=[*schedules, report_schedule(report), pruning_schedule(pruning)],
        sensors=[
            *closing_sensors(targets_by_pass, list(jobs.values())),
            *watching_sensors(
                watched, windows, jobs, targets_by_pass, settings.notifications, settings.history.keep_runs
            ),
            *checking.sensors,
            alerts_sensor(settings),
            *metrics_sensors(settings),
        ],
        resources=resources,
    )
