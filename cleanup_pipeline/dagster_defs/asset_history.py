"""What passes did to a target, on its asset, by events that belong to no run and so outlive it.

Does not belong here: what a run leaves in its own log (events.py), which goes with it.
"""

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.events import unreported
from cleanup_pipeline.dagster_defs.metadata import report_metadata
from cleanup_pipeline.dagster_defs.places import place_of_run
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.words import StopReason

RUN = "run"
"""Metadata: the run that the event is about. Its page is gone when the run is."""
_UNDONE = {StopReason.DRY_RUN, StopReason.SKIPPED}


def add_to_history(
    instance: dg.DagsterInstance, run: dg.DagsterRun, report: TargetReport, beside: names.Metadata | None = None
) -> None:
    """One materialization for this target and run. None of a dry run or a skipped target: it shows deletions only.

    `beside`: what else to say.

    For the step that reports, of which there is one in a run; whoever comes later has to look whether it is there.
    """
    if report.stop_reason in _UNDONE:
        return
    window = run.tags.get(names.PARTITION_TAG)
    place = place_of_run(run)
    about: names.Metadata = {
        RUN: dg.MetadataValue.dagster_run(run.run_id),
        "job": dg.MetadataValue.job(run.job_name, place.location, repository_name=place.repository),
        **({"window": window} if window else {}),
        **({"error": report.error} if report.error else {}),
    }
    event = dg.AssetMaterialization(
        names.asset_key(report.target), metadata={**report_metadata(report), **(beside or {}), **about}
    )
    instance.report_runless_asset_event(event)


def complete_history(instance: dg.DagsterInstance, run: dg.DagsterRun, report: PassReport) -> None:
    """Add what the run's own `report` steps could not: targets that lost records to it before it failed or ended."""
    missing = unreported(instance, run.run_id)
    for target in report.targets:
        if target.target in missing and target.deleted and not _is_there(instance, run, target.target):
            add_to_history(instance, run, target)


def _is_there(instance: dg.DagsterInstance, run: dg.DagsterRun, target: str) -> bool:
    record = instance.get_run_record_by_id(run.run_id)
    if record is None:
        return False
    # Whatever is about a run was written after the run was made, so there is little to look through.
    since = dg.AssetRecordsFilter(
        asset_key=names.asset_key(target), after_timestamp=record.create_timestamp.timestamp() - 1
    )
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(since, limit=100, cursor=cursor)
        for each in page.records:
            made = each.asset_materialization
            about = made.metadata.get(RUN) if made else None
            if about is not None and about.value == run.run_id:
                return True
        if not page.has_more:
            return False
        cursor = page.cursor
