"""Shard outcomes folded into the report of a target, targets into the report of a pass.

The same functions serve the `report` and `summarize` ops and whoever closes a pass that they never got to see.
"""

from collections.abc import Sequence
from dataclasses import replace

from cleanup_pipeline.model.members import add_up
from cleanup_pipeline.model.outcome import PassReport, ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Plan, Storage
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import PassStatus, StopReason

# When shards ended for different reasons the target shows the worst, in this order.
_WORST_FIRST = (
    StopReason.CANARY,
    StopReason.ERROR,
    StopReason.BRAKED,
    StopReason.TERMINATED,
    StopReason.LEASE_LOST,
    StopReason.PAUSED,
    StopReason.GOVERNOR,
    StopReason.DEADLINE,
    StopReason.ROW_LIMIT,
    StopReason.EXHAUSTED,
    StopReason.SKIPPED,
)


def fold_target(
    plan: Plan,
    outcomes: Sequence[ShardOutcome],
    survivors: int | None,
    error: str | None = None,
    storage_after: Storage | None = None,
    vacuum_seconds: float | None = None,
) -> TargetReport:
    """The report of a target that was planned. `survivors` None means that nobody could count them."""
    tally = sum((outcome.tally for outcome in outcomes), Tally())
    census = plan.census
    seconds = plan.seconds + sum(outcome.seconds for outcome in outcomes)
    deleting = sum(outcome.seconds for outcome in outcomes)
    stop_reason = _stop_reason(plan, outcomes)
    error = error or next((outcome.error for outcome in outcomes if outcome.error), None)
    report = TargetReport(
        target=plan.target,
        store=plan.store,
        store_type=plan.store_type,
        kind=plan.kind,
        strategy=None if plan.skipped else plan.work.strategy,
        why=plan.work.why,
        stop_reason=stop_reason,
        cutoff=plan.cutoff,
        scanned=_scanned(plan, tally),
        expired_found=census.expired if census.exact else None,
        deleted=tally.deleted,
        kept_live=census.live if census.exact else None,
        without_expiry=census.without_expiry if census.exact else None,
        unparsable=census.unparsable if census.exact else None,
        survivors=_survivors(plan, tally.deleted, survivors),
        repaired=tally.repaired,
        children=tally.children,
        bytes_freed=tally.bytes_freed,
        batches=tally.batches,
        largest_batch=tally.largest_batch,
        retries=tally.retries,
        parked=tally.parked,
        slowed=tally.slowed,
        paused_seconds=tally.paused_seconds,
        waited_seconds=tally.waited_seconds,
        cpu_seconds=sum(used) if (used := [o.cpu_seconds for o in outcomes if o.cpu_seconds is not None]) else None,
        peak_rss=max((o.peak_rss for o in outcomes if o.peak_rss is not None), default=None),
        seconds=seconds,
        rate=tally.deleted / deleting if tally.deleted and deleting > 0 else None,
        error=error,
        findings=plan.findings,
        details=census.details,
        storage_before=plan.storage,
        storage_after=storage_after,
        vacuum_seconds=vacuum_seconds,
        members=add_up(outcome.members for outcome in outcomes if outcome.members is not None),
    )
    note = next((outcome.note for outcome in outcomes if outcome.note and outcome.note != str(outcome.members)), None)
    held = any(outcome.stop_reason is StopReason.SKIPPED for outcome in outcomes)
    if error or (held and stop_reason in {StopReason.EXHAUSTED, StopReason.SKIPPED}):
        # What another instance has taken over is its to finish, and its to be red about.
        return replace(report, why=note or "") if not error and stop_reason is StopReason.SKIPPED else report
    return _judged(report, note, plan.approval.plan if plan.approval else None)


def _survivors(plan: Plan, deleted: int, counted: int | None) -> int | None:
    """What was expired when the pass began, and is left."""
    expired = plan.census.expired if plan.census.exact else None
    if plan.dry_run and expired is not None:
        return expired
    if counted is None or expired is None or not (plan.judged_by_others or plan.work.undated):
        return counted
    # What died since the pass began, by the work of another target or with the record it points to, is the next one's.
    return min(counted, max(0, expired - deleted))


def _judged(report: TargetReport, note: str | None, applied: str | None = None) -> TargetReport:
    """A pass that left expired records behind did not do its work, whatever its steps say. `applied`: the plan that it
    carried out."""
    if report.stop_reason in {StopReason.DRY_RUN, StopReason.SKIPPED}:
        return report
    # What a plan was about is no matter of the next pass.
    again = (
        f"`cleanup-pipeline retry` goes on with plan {applied}, while it is good"
        if applied and not report.parked
        else None
    )
    remedy = again or _remedy(report)
    if report.survivors:
        return replace(
            report,
            error=f"targets.{report.target}: {report.survivors} expired records are left"
            f" (stopped: {note or report.stop_reason}); {remedy}",
        )
    if report.survivors is None:
        return replace(
            report,
            error=f"targets.{report.target}: how much is left is unknown (stopped: {note or report.stop_reason});"
            f" {remedy}",
        )
    return report


def _remedy(report: TargetReport) -> str:
    if report.parked:
        return f"{report.parked} of them cannot be removed, most likely because other records refer to them"
    match report.stop_reason:
        case StopReason.DEADLINE:
            return "the next pass goes on; raise operation_timeout or lower pause if it never catches up"
        case StopReason.ROW_LIMIT:
            return "the next pass goes on; raise row_limit if it never catches up"
        case StopReason.PAUSED:
            return "the next pass goes on once it is resumed"
        case StopReason.EXHAUSTED if report.survivors is None:
            return "counting took too long: raise census_timeout or operation_timeout, or index the expiry"
        case StopReason.EXHAUSTED:
            return "they were locked, refused by the store, or written while the pass ran; the next pass tries again"
        case _:
            return "the next pass tries again"


def _scanned(plan: Plan, tally: Tally) -> int | None:
    census = plan.census
    if tally.scanned and not census.exact:
        return tally.scanned
    parts = (census.live, census.expired, census.without_expiry, census.unparsable)
    return sum(n for n in parts if n is not None) if census.exact else None


def _stop_reason(plan: Plan, outcomes: Sequence[ShardOutcome]) -> StopReason:
    if plan.skipped:
        return StopReason.SKIPPED
    if plan.dry_run:
        return StopReason.DRY_RUN
    if plan.braked:
        return StopReason.BRAKED
    reasons = {outcome.stop_reason for outcome in outcomes}
    if len(outcomes) < len(plan.work.shards):
        return StopReason.ERROR if StopReason.ERROR in reasons else StopReason.TERMINATED
    return next((reason for reason in _WORST_FIRST if reason in reasons), StopReason.EXHAUSTED)


def unplanned(target: Target, error: str, seconds: float = 0.0) -> TargetReport:
    """The report of a target that scan could not plan. Every count is unknown."""
    return TargetReport(
        target=target.name,
        store=target.store,
        store_type=target.store_type,
        kind=target.kind,
        strategy=None,
        stop_reason=StopReason.ERROR,
        seconds=seconds,
        error=error,
    )


def fold_pass(pass_name: str, targets: Sequence[TargetReport], seconds: float, run_id: str | None = None) -> PassReport:
    """The report of a pass."""
    stopped = [t.target for t in targets if t.stop_reason is StopReason.CANARY]
    missing = f"canaries of {', '.join(stopped)} are missing: every target is paused" if stopped else None
    return PassReport(
        pass_name=pass_name,
        status=_status(targets),
        cutoff=min((t.cutoff for t in targets if t.cutoff is not None), default=None),
        seconds=seconds,
        targets=tuple(targets),
        run_id=run_id,
        reason=missing if targets else "no target belongs to this pass",
    )


def _status(targets: Sequence[TargetReport]) -> PassStatus:
    red = [t for t in targets if t.red]
    if red:
        done = [t for t in targets if not t.red and t.stop_reason is not StopReason.SKIPPED]
        worked = done or any(t.deleted for t in red)
        return PassStatus.PARTIAL if worked else PassStatus.FAILED
    active = [t for t in targets if t.stop_reason is not StopReason.SKIPPED]
    if not active:
        return PassStatus.SKIPPED
    if all(t.stop_reason is StopReason.DRY_RUN for t in active):
        return PassStatus.DRY_RUN
    return PassStatus.SUCCEEDED
