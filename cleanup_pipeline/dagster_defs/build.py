"""Settings in, Definitions out: the one place where the Dagster side is put together.

Tests and other projects replace parts through the arguments, never by patching.
"""

from collections.abc import Mapping

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.alerting import alerts_sensor
from cleanup_pipeline.dagster_defs.asking import why_job
from cleanup_pipeline.dagster_defs.assets import target_asset
from cleanup_pipeline.dagster_defs.checks import witnessing
from cleanup_pipeline.dagster_defs.closing import closing_sensors
from cleanup_pipeline.dagster_defs.executors import executor_of
from cleanup_pipeline.dagster_defs.jobs import pass_job
from cleanup_pipeline.dagster_defs.keeping import keeping_resource, prune_kept_job, prune_kept_schedule
from cleanup_pipeline.dagster_defs.metrics import metrics_sensors
from cleanup_pipeline.dagster_defs.pruning import pruning_job, pruning_schedule, pruning_schedule_name
from cleanup_pipeline.dagster_defs.reports import report_asset, report_job, report_schedule
from cleanup_pipeline.dagster_defs.resources import PassOptions, ledger_resource, store_resource
from cleanup_pipeline.dagster_defs.schedules import pass_schedule
from cleanup_pipeline.dagster_defs.sensors import watching_sensors
from cleanup_pipeline.dagster_defs.step_storage import step_storage_resource
from cleanup_pipeline.dagster_defs.undoing import undo_job
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
    embedded: bool = False,
) -> dg.Definitions:
    """Jobs, schedules, sensors, assets and resources for these settings. Connects to nothing.

    `embedded`: to be merged with another project's, which may have names, resources and an IO manager of its own.
    """
    resources: dict[str, dg.ResourceDefinition] = {
        names.resource_key(name): store_resource(config, opener) for name, config in settings.stores.items()
    }
    resources[names.OPTIONS] = PassOptions().get_resource_definition()
    resources[names.LEDGER] = ledger_resource()
    resources[names.KEEPING] = keeping_resource(settings.removals, settings.quarantine)
    if embedded:
        # Dagster would put the project's in place of its default, and few can keep a plan.
        resources[names.IO_MANAGER] = dg.fs_io_manager
    if settings.execution.step_storage != LOCAL:
        resources[names.IO_MANAGER] = step_storage_resource(settings.execution.step_storage)
    resources.update(resource_overrides or {})
    # In our own location everything is bound at the top, where the UI lists it.
    prefix, brought = (names.EMBEDDED, resources) if embedded else ("", {})
    handing = {key: value for key, value in brought.items() if key == names.IO_MANAGER}
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
    watched = [of_pass for name, of_pass in settings.passes.items() if on[name] and targets_by_pass[name]]
    report = report_job(prefix, handing)
    checking = witnessing(list(settings.passes.values()), targets_by_pass, jobs, on, prefix, brought)
    kept = prune_kept_job(settings.removals, settings.quarantine, prefix, handing)
    schedules: list[dg.ScheduleDefinition] = [
        *(
            pass_schedule(
                of_pass, windows[name], jobs[name], enabled=on[name], running=on[name] and bool(targets_by_pass[name])
            )
            for name, of_pass in settings.passes.items()
        ),
        report_schedule(report),
        prune_kept_schedule(kept),
    ]
    sensors: list[dg.SensorDefinition] = [
        *closing_sensors(targets_by_pass, list(jobs.values()), prefix),
        *watching_sensors(
            watched, windows, jobs, targets_by_pass, settings.notifications, settings.history.keep_runs, prefix
        ),
        *checking.sensors,
        alerts_sensor(settings, prefix),
        *metrics_sensors(settings, prefix),
    ]
    ours = {each.name for each in schedules} | {each.name for each in sensors} | {pruning_schedule_name(prefix)}
    pruning = pruning_job(
        settings.history, settings.execution.step_storage, prefix, ours if embedded else None, handing
    )
    return dg.Definitions(
        assets=[*(target_asset(target, prefix) for target in settings.targets), report_asset(prefix)],
        asset_checks=checking.checks,
        jobs=[
            *jobs.values(),
            *checking.jobs,
            report,
            pruning,
            kept,
            undo_job(settings, opener, prefix, handing),
            why_job(settings, prefix, handing),
        ],
        schedules=[*schedules, pruning_schedule(pruning)],
        sensors=sensors,
        resources={} if embedded else resources,
    )
