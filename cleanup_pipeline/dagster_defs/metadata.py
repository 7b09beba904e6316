"""Plans and reports as Dagster metadata: numbers that the UI plots, and a table that people read.

Does not belong here: what the numbers mean (model/outcome.py) or how a table is laid out (reporting/markdown.py).
"""

from typing import Any

import dagster as dg

from cleanup_pipeline.dagster_defs.names import Metadata
from cleanup_pipeline.model.outcome import PassReport, ShardOutcome, TargetReport
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.reporting.markdown import brakes_table, findings_table, pass_table, plan_table, target_table
from cleanup_pipeline.reporting.plans import drift_table, outline_table, sample_table


def plan_metadata(plan: Plan) -> Metadata:
    """Shown on the `scan` step. What people read comes first: a run's page cuts off what is long."""
    return {
        "plan": dg.MetadataValue.md(plan_table(plan)),
        **_known(
            expired=plan.census.expired,
            live=plan.census.live,
            without_expiry=plan.census.without_expiry,
            unparsable=plan.census.unparsable,
        ),
        "strategy": plan.work.strategy,
        "shards": len(plan.work.shards),
        "cutoff": dg.MetadataValue.timestamp(plan.cutoff.timestamp()),
        **_plan_itself(plan),
        **({"brakes": dg.MetadataValue.md(brakes_table(plan.brakes))} if plan.brakes else {}),
        **({"findings": dg.MetadataValue.md(findings_table(plan.findings))} if plan.findings else {}),
    }


def _plan_itself(plan: Plan) -> Metadata:
    shown: dict[str, dg.MetadataValue[Any] | str | int | float] = dict(plan_reference(plan))
    if plan.outline is not None and (plan.outline.bands or plan.outline.notes or plan.estimate):
        shown["outline"] = dg.MetadataValue.md(outline_table(plan.outline, plan.estimate))
    if plan.outline is not None and plan.outline.sample:
        shown["near_the_line"] = dg.MetadataValue.md(sample_table(plan.outline.sample))
    if plan.approval is not None and plan.approval.drift is not None:
        shown["drift"] = dg.MetadataValue.md(drift_table(plan.approval.drift))
    return shown


def plan_reference(plan: Plan) -> Metadata:
    """Under which id the ledger has a plan; `cleanup-pipeline plan --show` shows it."""
    return {"plan_id": plan.id} if plan.id else {}


def shard_metadata(outcome: ShardOutcome) -> Metadata:
    """Shown on each `delete` step. Named apart from the report's, which the asset page plots beside them."""
    tally = outcome.tally
    return {
        "shard_deleted": tally.deleted,
        "shard_repaired": tally.repaired,
        "shard_batches": tally.batches,
        "shard_largest_batch": tally.largest_batch,
        "shard_retries": tally.retries,
        "shard_seconds": round(outcome.seconds, 3),
        "shard_paused_seconds": round(tally.paused_seconds, 3),
        "shard_stop_reason": (outcome.members is None and outcome.note) or str(outcome.stop_reason),
        **({"shard_members": str(outcome.members)} if outcome.members is not None else {}),
    }


def report_metadata(report: TargetReport) -> Metadata:
    """Shown on the `report` step and on the target's asset; the numbers are what the asset page plots.

    On a dry run nothing is called `deleted`: what would go is `expired_found`.
    """
    numbers: dict[str, int | None] = {
        "expired_found": report.expired_found,
        "kept_live": report.kept_live,
        "without_expiry": report.without_expiry,
        "unparsable": report.unparsable,
    }
    if report.stop_reason not in {StopReason.DRY_RUN, StopReason.SKIPPED}:
        numbers |= {
            "deleted": report.deleted,
            "repaired": report.repaired,
            "children": report.children,
            "survivors": report.survivors,
            "batches": report.batches,
            "largest_batch": report.largest_batch,
            "bytes_freed": report.bytes_freed,
            "retries": report.retries,
            "parked": report.parked,
            "slow_downs": sum(report.slowed.values()),
            "peak_rss_bytes": report.peak_rss,
            "table_bytes": report.storage_after.size_bytes if report.storage_after else None,
            "dead_records": report.storage_after.dead_records if report.storage_after else None,
        }
    return {
        "summary": dg.MetadataValue.md(target_table(report)),
        **_known(**numbers),
        **({"rate_per_second": round(report.rate, 1)} if report.rate is not None else {}),
        **({"cpu_seconds": round(report.cpu_seconds, 3)} if report.cpu_seconds is not None else {}),
        "seconds": round(report.seconds, 3),
        "stop_reason": str(report.stop_reason),
    }


def pass_metadata(report: PassReport) -> Metadata:
    """Shown on the `summarize` step."""
    return {
        "report": dg.MetadataValue.md(pass_table(report)),
        "status": str(report.status),
        "deleted": sum(target.deleted for target in report.targets),
        "repaired": sum(target.repaired for target in report.targets),
        "targets": len(report.targets),
        "seconds": round(report.seconds, 3),
    }


def _known(**numbers: int | None) -> dict[str, int]:
    return {name: number for name, number in numbers.items() if number is not None}
