"""`prune_history`: what the product writes about itself, bounded, in the ledger and in Dagster.

Does not belong here: which runs (prune_runs.py), which rows of Dagster's tables (event_rows.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.event_rows import prune_events
from cleanup_pipeline.dagster_defs.places import place_of_run
from cleanup_pipeline.dagster_defs.prune_runs import prune_runs
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.step_storage import Database, places
from cleanup_pipeline.ledger import LedgerError, Pruned, open_ledger
from cleanup_pipeline.settings.execution import LOCAL
from cleanup_pipeline.settings.history import History

JOB = "prune_history"
AT = "10 3 * * *"
"""Once a day, in UTC, when few are at work."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What `prune` took away, or would. None: not to be told, or not done (`faults`)."""

    passes: int | None = None
    shards: int | None = None
    watched: int | None = None
    """Judgements of witnesses, alerts, messages."""
    sealed: int | None = None
    """Days of the ledger that were added up for good."""
    runs: int = 0
    more_runs: bool = False
    """There were more than one call deletes."""
    events: int | None = None
    """Of assets, without a run."""
    checks: int | None = None
    """Results of asset checks."""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ticks:
    """Whose ticks are pruned: of schedules and sensors in a code location."""

    location: str = names.LOCATION
    instigators: Collection[str] | None = None
    """Their names. None: all that the location has."""

    def of(self, state: InstigatorState) -> bool:
        """Whether this schedule or sensor is one of them."""
        location: str = state.origin.repository_origin.code_location_origin.location_name
        return location == self.location and (self.instigators is None or state.instigator_name in self.instigators)


def prune(
    instance: dg.DagsterInstance,
    history: History,
    now: datetime | None = None,
    *,
    ticks: Ticks = Ticks(),
    dry_run: bool = False,
    step_storage: str = LOCAL,
) -> Removed:
    """Take away what is older than the settings keep. `dry_run`: only count it. Doing it twice is harmless.

    What steps handed on goes with their run, wherever `step_storage` has it.

    A ledger that is away is a fault in what is returned, and keeps nothing else from being pruned.
    """
    now = now or datetime.now(UTC)
    faults: list[str] = []
    pruned: Pruned | None = None
    sealed: int | None = None
    try:
        ledger = open_ledger(ledger_url(instance))
        try:
            if dry_run:
                pruned = ledger.prunable(history.keep, now)
            else:
                pruned = ledger.prune(history.keep, now)
                sealed = ledger.seal(now)
        finally:
            ledger.close()
    except LedgerError as fault:
        faults.append(str(fault))
    handed_on = places(step_storage, instance)
    runs, more = prune_runs(instance, now - history.keep_runs, dry_run=dry_run, handed_on=handed_on)
    if not dry_run:
        for place in handed_on:
            if isinstance(place, Database):
                place.forget_orphans()
        _prune_ticks(instance, now - history.keep_runs, ticks)
    ran = now - min(history.keep_runs, history.keep_events)
    rows = prune_events(instance, now - history.keep_events, ran, dry_run=dry_run)
    return Removed(
        passes=pruned.passes if pruned else None,
        shards=pruned.shards if pruned else None,
        watched=pruned.watched if pruned else None,
        sealed=sealed,
        runs=runs,
        more_runs=more,
        events=rows.events if rows else None,
        checks=rows.checks if rows else None,
        faults=tuple(faults),
    )


def _prune_ticks(instance: dg.DagsterInstance, before: datetime, ticks: Ticks) -> None:
    # As `retention` of dagster.yaml does it, which an installation of its own may lack.
    for state in instance.all_instigator_state():
        if ticks.of(state):
            instance.purge_ticks(state.instigator_origin_id, state.selector_id, before.timestamp())


def pruning_job(
    history: History,
    step_storage: str = LOCAL,
    prefix: str = "",
    instigators: Collection[str] | None = None,
    resources: Mapping[str, dg.ResourceDefinition] | None = None,
) -> dg.JobDefinition:
    """The job that prunes, once. `prefix` is before the names of job and op.

    `instigators` are our schedules and sensors where the code location has others too; None: all of it is ours.
    """

    @dg.op(
        name=f"{prefix}Prune_history",
        description="Removes old history: passes become figures by day; old runs, events and ticks of Dagster go.",
        config_schema={"dry_run": dg.Field(bool, default_value=False, description="Count, and remove nothing.")},
        out=dg.Out(dg.Nothing),
    )
    def prune_op(context: dg.OpExecutionContext) -> None:
        ticks = Ticks(place_of_run(context.run).location, instigators)
        dry_run = bool(context.op_config["dry_run"])
        removed = prune(context.instance, history, ticks=ticks, dry_run=dry_run, step_storage=step_storage)
        numbers = {
            "passes_folded": removed.passes,
            "shards_folded": removed.shards,
            "judgements_alerts_messages": removed.watched,
            "days_sealed": removed.sealed,
            "runs": removed.runs,
            "asset_events": removed.events,
            "check_results": removed.checks,
        }
        context.add_output_metadata({name: number for name, number in numbers.items() if number is not None})
        if removed.more_runs:
            context.log.warning("more runs are old than one call deletes; the next one goes on")
        if removed.faults:
            raise dg.Failure("; ".join(removed.faults))

    @dg.job(
        name=f"{prefix}{JOB}",
        resource_defs=resources,
        description="Removes old history of the cleaning itself, so that it does not grow for ever: runs, events,"
        " details of passes. No record of your stores.",
        executor_def=dg.in_process_executor,
        tags={names.UPKEEP_TAG: JOB, "dagster/priority": "-1"},
    )
    def job() -> None:
        prune_op.alias("prune")()

    return job


def pruning_schedule_name(prefix: str = "") -> str:
    """The schedule of the job with that prefix."""
    return f"{prefix}{JOB}_schedule"


def pruning_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Once a day, whether or not cleaning is switched on."""
    return dg.ScheduleDefinition(
        name=pruning_schedule_name(job.name.removesuffix(JOB)),
        cron_schedule=AT,
        execution_timezone="UTC",
        job=job,
        description=f"Starts {job.name} once a day.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
