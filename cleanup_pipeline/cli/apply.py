"""`cleanup-pipeline apply`: removes what one plan covers, once, in this process."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.plan_records import ledger, one_plan
from cleanup_pipeline.cli.progress import progress
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.sending import send_metrics
from cleanup_pipeline.cli.show import complain, console, show_report
from cleanup_pipeline.cli.show_plans import show_drift
from cleanup_pipeline.cli.stopping import raise_if_interrupted
from cleanup_pipeline.ledger.plans import PlanRow, PlanTarget
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.outline import Drift
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.reporting.words import number
from cleanup_pipeline.settings import Settings


def apply(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", autocompletion=completing.plans, help="A plan's id, or its first letters.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what became of it since; delete nothing, and leave it open.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Remove what a plan covers and nothing else: once, and only while the plan is good.

    Records that died or came after the plan was made stay; each is judged again as it goes. Says what became of what
    was planned: gone before, revived, new. It is your word for this one pass, also for targets in mode dry_run.
    Exits with 1 when something failed or is left, with 2 when the plan cannot be applied.

    \b
    Examples:
      cleanup-pipeline apply 3f2a9c0b11
      cleanup-pipeline apply 3f2a --dry-run
    """
    settings = settings_for(settings_file)
    with ledger(usage=True) as opened:
        row = one_plan(opened, plan)
    _refuse(row, settings)
    passes = [name for name in settings.passes if any(each.pass_name == name for each in _open(row))]
    # Dagster takes a second to import: what cannot be applied is told before.
    from cleanup_pipeline.dagster_defs.events import plans_and_outcomes
    from cleanup_pipeline.dagster_defs.launch import instance_at, run_pass
    from cleanup_pipeline.reporting.codec import dump, pass_document

    reports: list[PassReport] = []
    drifts: dict[str, Drift] = {}
    with instance_at(dagster_home()) as instance:
        for name in passes:
            with progress(quiet=as_json):
                report = run_pass(settings, name, instance=instance, dry_run=dry_run, plan=row.id)
            reports.append(_about(report, row))
            if report.run_id is not None:
                for target, planned, _ in plans_and_outcomes(instance, report.run_id):
                    if planned is not None and planned.approval is not None and planned.approval.drift is not None:
                        drifts[target] = planned.approval.drift
            send_metrics(settings, instance)
            raise_if_interrupted(instance, report.run_id)
    left = [] if dry_run else _left(reports, row)
    if as_json:
        drift = {name: dump(each) for name, each in drifts.items()}
        typer.echo(json.dumps({"plan": row.id, "passes": [pass_document(each) for each in reports], "drift": drift}))
    else:
        _show(reports, drifts)
    for one in left:
        was = "" if one.expired is None else f", and the {number(one.expired)} records that were planned are left"
        complain(
            f"✗ {one.target}: the plan was not applied to it{was}; it stays open for that until"
            f" {row.expires_at:%Y-%m-%d %H:%M} UTC"
        )
    if left or any(each.status in {PassStatus.FAILED, PassStatus.PARTIAL} for each in reports):
        raise typer.Exit(1)


def _refuse(row: PlanRow, settings: Settings) -> None:
    """Raises UsageError for a plan that cannot be applied as a whole."""
    now = datetime.now(UTC)
    if row.run_id is not None:
        raise UsageError(f"plan {row.id} is that of a pass, run {row.run_id[:8]}, which carried it out itself")
    if not _open(row):
        done = [each for each in row.targets if each.applied_at is not None]
        if not done:
            raise UsageError(f"plan {row.id} has nothing to apply; `cleanup-pipeline plan --show {row.id}` says why")
        at, run_id = max((each.applied_at or now, each.applied_run or "") for each in done)
        raise UsageError(
            f"plan {row.id} was applied already, at {at:%Y-%m-%d %H:%M:%S} UTC in run {run_id[:8]}; make a new plan"
        )
    if now >= row.expires_at:
        raise UsageError(f"plan {row.id} was good until {row.expires_at:%Y-%m-%d %H:%M} UTC; make a new plan")
    known = {target.name: target.pass_name for target in settings.targets}
    gone = [each.target for each in _open(row) if known.get(each.target) != each.pass_name]
    if gone:
        raise UsageError(
            f"plan {row.id}: {', '.join(gone)} is not in the settings any more, or in another pass; make a new plan"
        )


def _open(row: PlanRow) -> list[PlanTarget]:
    return [each for each in row.targets if each.may_apply and each.applied_at is None]


def _about(report: PassReport, row: PlanRow) -> PassReport:
    """The report without the targets of the pass that the plan is not about."""
    names = {each.target for each in row.targets}
    own = tuple(each for each in report.targets if each.target in names or each.stop_reason is not StopReason.SKIPPED)
    return replace(report, targets=own)


def _left(reports: list[PassReport], row: PlanRow) -> list[PlanTarget]:
    """What of the plan nobody touched, because it was paused, say: the plan is as good for it as before."""
    skipped = {each.target for report in reports for each in report.targets if each.stop_reason is StopReason.SKIPPED}
    return [each for each in _open(row) if each.target in skipped]


def _show(reports: list[PassReport], drifts: Mapping[str, Drift]) -> None:
    out = console()
    for report in reports:
        show_report(out, report)
    for name, drift in drifts.items():
        show_drift(out, drift, name)
