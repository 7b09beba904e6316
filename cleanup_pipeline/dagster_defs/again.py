"""Which steps of a run that did not end well are to be repeated.

Dagster's own "from failure" is right when a step failed. After a cancel or a crash it leaves out the shards that never
started, and repeats a report without the shards that stopped early. This looks at what every shard came to instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.events import plans_and_outcomes
from cleanup_pipeline.dagster_defs.grouping import covers
from cleanup_pipeline.dagster_defs.process import gone
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Mode, StopReason

_RECENT = 1000
"""Runs among which one is looked for by the beginning of its id."""
_RED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
# A run whose process was killed stays STARTED in Dagster's eyes.
_PERHAPS_RED = [*_RED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_STEPS = {
    dg.DagsterEventType.STEP_OUTPUT,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
}


@dataclass(slots=True)
class _Past:
    """What a run and those that it repeats came to, for one target, since it was last scanned."""

    plan: Plan | None = None
    succeeded: set[str] = field(default_factory=set[str])
    failed: set[str] = field(default_factory=set[str])
    exhausted: set[int] = field(default_factory=set[int])
    steps: set[str] = field(default_factory=set[str])
    """Of deleting, as `batch` cut them."""


@dataclass(frozen=True, slots=True)
class Again:
    """What to repeat of a run."""

    steps: tuple[str, ...]
    """Keys of Dagster's steps."""
    shards: int
    """Shards that are deleted from again under the plan there is."""
    anew: tuple[str, ...]
    """Targets that are scanned and cleaned from the beginning."""


def last_red(instance: dg.DagsterInstance) -> dg.DagsterRun | None:
    """The newest pass that ended red and that no later run has repeated."""
    chunk = 50
    cursor: str | None = None
    while True:
        runs = instance.get_runs(dg.RunsFilter(statuses=_PERHAPS_RED), cursor=cursor, limit=chunk)
        for run in runs:
            if names.PASS_TAG in run.tags and is_red(instance, run) and not _repeated(instance, run):
                return run
        if len(runs) < chunk:
            return None
        cursor = runs[-1].run_id


def is_red(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run ended and not well, or its process on this machine is gone."""
    return run.status in _RED or (not run.is_finished and gone(instance, run))


def run_like(instance: dg.DagsterInstance, prefix: str) -> list[dg.DagsterRun]:
    """The passes whose id begins so; the id itself is found without looking at others."""
    run = instance.get_run_by_id(prefix)
    if run is not None:
        return [run] if names.PASS_TAG in run.tags else []
    return [
        run for run in instance.get_runs(limit=_RECENT) if run.run_id.startswith(prefix) and names.PASS_TAG in run.tags
    ]


def _repeated(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return bool(instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run.run_id}), limit=1))


def what_to_repeat(instance: dg.DagsterInstance, run: dg.DagsterRun, targets: Sequence[Target]) -> Again:
    """The steps that are missing for a whole pass: failed shards, those cut short, those that never started.

    A target goes from the beginning where its plan is missing, was made by other settings, or was carried out and left
    records all the same.
    """
    past = {target.name: _Past() for target in targets}
    for one in _chain(instance, run):
        _look(instance, one, past)
    steps: list[str] = []
    anew: list[str] = []
    count = 0
    for target in targets:
        of_target = past[target.name]
        if "report" in of_target.succeeded:
            continue
        plan = of_target.plan
        usable = plan is not None and _still_holds(plan, target) and "batch" in of_target.succeeded
        shards = [] if plan is None or plan.dry_run or plan.skipped else [shard.index for shard in plan.work.shards]
        undone = [step for step in of_target.steps if step not in of_target.succeeded]
        missing = [n for n in shards if n not in of_target.exhausted or any(covers(step, n) for step in undone)]
        if not usable or (not missing and "report" in of_target.failed):
            anew.append(target.name)
            # Step keys of shards are those of the old plan, as far as there is one; Dagster maps what comes out anew.
            steps += [f"{target.name}.{step}" for step in ("scan", "batch", "delete[?]", "report")]
            continue
        of_missing = sorted(step for step in of_target.steps if any(covers(step, n) for n in missing))
        steps += [f"{target.name}.{step}" for step in of_missing] + [f"{target.name}.report"]
        count += len(missing)
    return Again((*steps, names.SUMMARIZE), count, tuple(anew))


def _still_holds(plan: Plan, target: Target) -> bool:
    return plan.rule == target.fingerprint and (plan.dry_run or plan.approval is not None or target.mode is Mode.DELETE)


def _chain(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.DagsterRun]:
    """The run and those it repeats, the first one first."""
    chain = [run]
    while chain[0].parent_run_id and (parent := instance.get_run_by_id(chain[0].parent_run_id)):
        chain.insert(0, parent)
    return chain


def _look(instance: dg.DagsterInstance, run: dg.DagsterRun, past: dict[str, _Past]) -> None:
    for entry in instance.all_logs(run.run_id, of_type=_STEPS):
        event = entry.dagster_event
        target, _, step = (event.step_key or "").partition(".") if event else ("", "", "")
        if event is None or target not in past:
            continue
        of_target = past[target]
        if event.is_step_start and step == "scan":
            past[target] = _Past()
        elif event.is_successful_output and step == "batch":
            of_target.steps.add(f"delete[{event.step_output_data.step_output_handle.mapping_key}]")
        elif event.is_step_success:
            of_target.succeeded.add(step)
            of_target.failed.discard(step)
        elif event.is_step_failure:
            of_target.failed.add(step)
            of_target.succeeded.discard(step)
    for target, plan, outcome in plans_and_outcomes(instance, run.run_id):
        if target not in past:
            continue
        past[target].plan = plan or past[target].plan
        if outcome is not None and outcome.stop_reason is StopReason.EXHAUSTED and outcome.error is None:
            past[target].exhausted.add(outcome.shard)
