"""What canaries make of a plan's figures and of a report. Asks neither a store nor a ledger."""

from collections.abc import Sequence
from dataclasses import replace

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.model.canary import Canary, due
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.plan import Census, Finding, Plan
from cleanup_pipeline.model.words import Severity, StopReason

Said = tuple[StopReason | None, str]
"""Why a target is red for its canaries; without a reason what is not known of them."""


def canary_tags(report: PassReport) -> dict[str, str]:
    """What the tags of a run say of canaries: the targets whose own are missing."""
    stopped = [each.target for each in report.targets if each.stop_reason is StopReason.CANARY]
    return {names.CANARY_TAG: " ".join(stopped)} if stopped else {}


def with_verdict(report: TargetReport, said: Said | None) -> TargetReport:
    """A report that is red for its canaries, too, or has a finding about them."""
    if said is None:
        return report
    reason, error = said
    if reason is None:
        return replace(report, findings=(*report.findings, Finding(Severity.INFO, error, code="canaries.unknown")))
    if report.error is not None and reason is not StopReason.CANARY:
        return report
    return replace(report, stop_reason=report.stop_reason if reason is StopReason.EXHAUSTED else reason, error=error)


def is_expired(canary: Canary, plan: Plan) -> bool:
    """Whether a pass takes a canary for dead."""
    return due(canary, plan.cutoff, plan.since)


def without(plan: Plan, several: Sequence[Canary]) -> Census:
    """A plan's census less canaries that were in the store when it was taken."""
    census = plan.census
    known = {"live": census.live, "expired": census.expired}
    known |= {"without_expiry": census.without_expiry, "unparsable": census.unparsable}
    for each in several:
        if each.dies_at is None:
            state = str(each.kind)
        elif plan.since is not None and each.dies_at < plan.since:
            continue
        else:
            state = "expired" if is_expired(each, plan) else "live"
        count = known[state]
        known[state] = None if count is None else max(0, count - 1)
    return replace(
        census,
        live=known["live"],
        expired=known["expired"],
        without_expiry=known["without_expiry"],
        unparsable=known["unparsable"],
    )
