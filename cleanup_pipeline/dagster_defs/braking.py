"""Brakes in a run: a plan is judged, what holds it back is written down and told, and a plan that may go on remembered.

Does not belong here: what is out of the ordinary (engine/brakes.py), who let it go (ledger/braking.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.telling import tell
from cleanup_pipeline.engine.brakes import explained
from cleanup_pipeline.engine.looks import look_of, skew_of
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.braking import Held
from cleanup_pipeline.ledger.judging import Judged, judged
from cleanup_pipeline.model.brake import Brake, BrakeName
from cleanup_pipeline.model.outcome import PassReport
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.stores.base import Store

EVENT = "target_braked"
_MOST_KNOWN = 100
_skews: dict[tuple[str, str], float | None] = {}
"""By run and store, so that a store that is away keeps a run waiting once and not for each of its targets."""


@dataclass(frozen=True, slots=True)
class Braking:
    """What the ops of a target need for its brakes."""

    stores: Sequence[str] = ()
    """All stores of the pass."""
    notifications: NotificationSettings | None = None


def braked_plan(
    context: dg.OpExecutionContext,
    ledger: Recorder,
    target: Target,
    plan: Plan,
    stores: Mapping[str, Store],
    of: Braking,
) -> Plan:
    """The plan, with the brakes that hold it back; they are on record and told of by then.

    Nothing is written on a dry run. Never raises for a ledger that is away.
    """
    now = datetime.now(UTC)
    look = look_of(plan, _skews_of(context.run_id, stores))
    result = judged(ledger.ask, target, plan, look, now)
    if plan.dry_run or plan.skipped is not None:
        return result.plan
    if not result.known:
        result = _as_last_time(context, target, result)
    held = ledger.ask(
        lambda opened: opened.brakes.saw(context.run_id, look, target.name, result.found, result.unjudged, now)
    )
    if result.plan.braked:
        _tell(context, result.plan, held, of, now)
    else:
        ledger.ask(lambda opened: opened.brakes.went_ahead(context.run_id, target.name, plan.rule, look, now))
    return result.plan


def message(plan: Plan) -> str:
    """Why a target was not deleted from, and the one command that lets it go on. One line."""
    return (
        f"targets.{plan.target}: braked, nothing was deleted: {'; '.join(explained(plan.brakes))};"
        f" if all is well, `cleanup-pipeline release-brake {plan.target}` lets the next pass go on"
    )


def _skews_of(run_id: str, stores: Mapping[str, Store]) -> dict[str, float]:
    if len(stores) < 2:
        return {}
    if len(_skews) > _MOST_KNOWN:
        _skews.clear()
    for name, store in stores.items():
        if (run_id, name) not in _skews:
            _skews[run_id, name] = skew_of(store)
    known = {name: _skews[run_id, name] for name in stores}
    return {name: skew for name, skew in known.items() if skew is not None}


def _as_last_time(context: dg.OpExecutionContext, target: Target, result: Judged) -> Judged:
    """A ledger that is away must be no way past a brake: what held the target in the last run still does."""
    of_job = dg.RunsFilter(job_name=context.job_name)
    for run in context.instance.get_runs(of_job, limit=20):
        if run.run_id == context.run_id or names.STATUS_TAG not in run.tags or names.DRY_RUN_TAG in run.tags:
            continue
        if target.name not in run.tags.get(names.BRAKED_TAG, "").split():
            return result
        what = f"it was braked in run {run.run_id[:8]}, and the ledger does not say whether it was let go"
        brake = Brake(BrakeName.UNRELEASED, what, "bring the ledger back (CLEANUP_LEDGER_URL)")
        return replace(result, plan=replace(result.plan, brakes=(*result.plan.brakes, brake)))
    return result


def _tell(context: dg.OpExecutionContext, plan: Plan, held: Sequence[Held] | None, of: Braking, now: datetime) -> None:
    names_ = {brake.name for brake in plan.brakes}
    text = message(plan)
    # An id stays as long as a brake sees the same: so it is told of once. Without a ledger, once a day.
    known = [each.id for each in held or () if each.brake.name in names_]
    key = " ".join((EVENT, plan.target, *(known or [f"{now:%Y-%m-%d}", *sorted(names_)])))
    if of.notifications is None:
        context.log.error(text)
        return
    tell(ledger_url(context.instance), of.notifications, EVENT, text, key, context.log)


def braked_tags(report: PassReport) -> dict[str, str]:
    """What the tags of a run say of brakes: the targets that were held, and whether nothing else was wrong."""
    held = [each.target for each in report.targets if each.stop_reason is StopReason.BRAKED]
    if not held:
        return {}
    return {names.BRAKED_TAG: " ".join(held), **({names.ONLY_BRAKED_TAG: "true"} if report.only_braked else {})}
