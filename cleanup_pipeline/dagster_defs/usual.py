"""What a pass usually removes, from the ledger, beside what it removed, as metadata. No reason to fail."""

from cleanup_pipeline.dagster_defs.names import Metadata
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.latest import usual, usual_of_pass
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.reporting.usual import pass_beside_usual, target_beside_usual


def of_target(ledger: Recorder, report: TargetReport, plan: Plan, run_id: str) -> Metadata:
    """For the `report` step and the target's asset."""
    before = ledger.ask(lambda opened: usual(opened, report.target, run_id))
    return _metadata(target_beside_usual(report, before, plan.census.oldest_expired), before)


def of_pass(ledger: Recorder, report: PassReport, run_id: str) -> Metadata:
    """For the `summarize` step."""
    before = ledger.ask(lambda opened: usual_of_pass(opened, report.pass_name, run_id))
    return _metadata(pass_beside_usual(report, before), before)


def _metadata(line: str | None, usual_deleted: float | None) -> Metadata:
    if line is None:
        return {}
    return {"beside_usual": line, **({} if usual_deleted is None else {"usual_deleted": usual_deleted})}
