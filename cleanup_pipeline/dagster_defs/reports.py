"""The job `report`: once a day the ledger's figures, in the run's metadata, on an asset that plots them, and in a file.

The asset's events belong to no run, so that its history stays when runs are deleted. Does not belong here: what is in a
report (reporting/report).
"""

import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.names import Metadata
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import LedgerError, open_ledger

JOB = "report"
FOLDER = "reports"
KEPT = 30
"""Files; the oldest go."""
EVERY_DAY = "15 5 * * *"
DAYS = 30
ASSET = dg.AssetKey(["cleanup", "report"])
"""Its page plots the reports. No target may have that name (settings)."""


class ReportOptions(dg.Config):
    """What a person may choose when launching the report by hand."""

    days: int = DAYS
    """How many UTC days, today's included."""
    by: str = "target"
    """target, kind, store or pass."""


def report_asset(prefix: str = "") -> dg.AssetSpec:
    """The asset."""
    job = f"{prefix}{JOB}"
    return dg.AssetSpec(
        key=ASSET,
        group_name=job,
        description=f"How much was removed in the last {DAYS} days, what failed and what is left. Job `{job}` writes it"
        " once a day; **Plots** shows how it goes.",
    )


def report_job(prefix: str = "", resources: Mapping[str, dg.ResourceDefinition] | None = None) -> dg.JobDefinition:
    """A run makes one report. `prefix` is before the names of job and op."""

    @dg.op(name=f"{prefix}Report", description="Adds up what all passes did, and writes the report.", out=dg.Out(str))
    def make(context: dg.OpExecutionContext, config: ReportOptions) -> str:
        today = datetime.now(UTC).date()
        try:
            metadata, file = _reported(context.instance, config, today)
        except LedgerError as fault:
            raise dg.Failure(str(fault), allow_retries=False) from None
        context.instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=ASSET, metadata=metadata))
        context.add_output_metadata(metadata)
        return file

    @dg.job(
        name=f"{prefix}{JOB}",
        resource_defs=resources,
        executor_def=dg.in_process_executor,
        tags={names.UPKEEP_TAG: JOB, "dagster/priority": "-1"},
        description=f"How much was removed in the last {DAYS} days, what failed and what is left. Deletes nothing. The"
        " tables are on the page of its run, which names an HTML file, too.",
    )
    def job() -> None:
        make.alias(JOB)()

    return job


def report_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Once a day."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=EVERY_DAY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Starts job `{job.name}` once a day.",
    )


def _reported(instance: dg.DagsterInstance, config: ReportOptions, today: date) -> tuple[dict[str, Any], str]:
    # pandas takes half a second and 40 MB: no pass pays for it.
    from cleanup_pipeline.reporting.report.build import build_report
    from cleanup_pipeline.reporting.report.page import as_html
    from cleanup_pipeline.reporting.statistics import BY

    by = next((one for one in BY if one == config.by), None)
    if by is None:
        raise dg.Failure(f"by: found {config.by}, expected one of {', '.join(BY)}", allow_retries=False)
    url = ledger_url(instance)
    ledger = open_ledger(url)
    try:
        ledger.seal()
        report = build_report(ledger, today - timedelta(days=max(1, config.days) - 1), today, by=by)
    finally:
        ledger.close()
    file = keep(reports_folder(instance, url), f"cleanup-{today}.html", as_html(report))
    return {**report_figures(report), "file": dg.MetadataValue.path(str(file))}, str(file)


def report_figures(report: Any) -> Metadata:
    """Numbers, which the asset's page plots, and tables."""
    from cleanup_pipeline.reporting.report.page import pictures
    from cleanup_pipeline.reporting.report.text import failures_table, groups_table, headline_table, targets_table

    line, ahead = report.total.line, report.total.outlook
    numbers: dict[str, int | float | None] = {
        "deleted": line.deleted,
        "at_most": line.at_most,
        "bytes_freed": line.bytes_freed,
        "operations": line.operations,
        "failed": line.failed,
        "failed_share": line.failed_share,
        "p50_seconds": line.p50_seconds,
        "p95_seconds": line.p95_seconds,
        "backlog": ahead.backlog,
        "backlog_per_day": ahead.per_day,
        "keep_up": ahead.keep_up,
        "oldest_survivor_seconds": report.oldest_survivor_seconds,
    }
    charts = {f"chart_{name}": dg.MetadataValue.md(_image(name, svg)) for name, svg in pictures(report).items()}
    return {
        **{name: number for name, number in numbers.items() if number is not None},
        **charts,
        "headline": dg.MetadataValue.md(headline_table(report)),
        "groups": dg.MetadataValue.md(groups_table(report)),
        "targets": dg.MetadataValue.md(targets_table(report)),
        **({"went_wrong": dg.MetadataValue.md(failures_table(report))} if report.failures else {}),
    }


def _image(name: str, svg: str) -> str:
    """Dagster's pages show images in Markdown, also such that hold all of themselves."""
    return f"![{name}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def reports_folder(instance: dg.DagsterInstance, url: str) -> Path:
    """Next to the ledger's file; of a ledger that is none, in Dagster's own folder."""
    file = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else ""
    return (Path(file).parent if file else Path(instance.root_directory)) / FOLDER


def keep(folder: Path, name: str, text: str) -> Path:
    """Write a report, for its owner's eyes, and delete the oldest beyond KEPT."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file, new = folder / name, folder / f".{name}.{os.getpid()}"
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(file)
    kept: Sequence[Path] = sorted(folder.glob("cleanup-????-??-??.html"))
    for old in kept[:-KEPT]:
        old.unlink(missing_ok=True)
    return file.resolve()
