"""What `cleanup-pipeline check` says of a target, on the page of each run."""

import dagster as dg

from cleanup_pipeline.dagster_defs.names import Metadata
from cleanup_pipeline.engine.checkup import looked_over
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.reporting.markdown import checkup_table
from cleanup_pipeline.stores.base import Store


def checkup_metadata(store: Store, target: Target, plan: Plan) -> Metadata:
    """Shown on the `scan` step beside the plan; nothing where no store was asked. Never a reason to fail."""
    if plan.skipped is not None:
        return {}
    findings = looked_over(store, target, plan.findings)
    return {
        "checkup": dg.MetadataValue.md(checkup_table(findings)),
        "warnings": sum(each.severity is not Severity.INFO for each in findings),
    }
