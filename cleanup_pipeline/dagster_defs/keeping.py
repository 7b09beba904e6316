"""What a delete step keeps of what it removes, and the daily job that bounds it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.keepings import KeepingRow
from cleanup_pipeline.model.outcome import ShardOutcome
from cleanup_pipeline.model.plan import Plan, Shard
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.settings.keeping import QuarantineSettings, RemovalSettings
from cleanup_pipeline.stores.base import StoreError

# numpy, cryptography and fsspec take longer to load than the rest: only where something is kept.
if TYPE_CHECKING:
    from cleanup_pipeline.keeping.handover import Keeping
    from cleanup_pipeline.keeping.quarantine import QuarantineWriter
    from cleanup_pipeline.keeping.removals import RemovalWriter

JOB = "prune_kept"
AT = "40 3 * * *"
_NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True)
class Places:
    """The settings of both, and the folder that they are in by default."""

    removals: RemovalSettings
    quarantine: QuarantineSettings
    state: Path


@dataclass(slots=True)
class ShardKeeping:
    """What one shard keeps, from before its first batch to its entry in the ledger."""

    handover: "Keeping | None"
    """None: nothing is kept."""
    row: KeepingRow
    ledger: Recorder

    def ready(self) -> None:
        """Before each batch. Raises StoreError where what went before it could not be written."""
        if self.handover is not None:
            self.handover.ready()

    def end(self, outcome: ShardOutcome) -> ShardOutcome:
        """Write what is left. An outcome whose records could not all be kept is an error, whatever it was before."""
        if self.handover is None:
            return outcome
        fault = self.handover.close(outcome.tally.uncertain)
        removals, quarantine = self.handover.removals, self.handover.quarantine
        self.row = replace(
            self.row,
            ended_at=datetime.now(UTC),
            removal_records=removals.records - removals.lost if removals else None,
            removal_bytes=removals.size if removals else None,
            removals_lost=removals.lost if removals else 0,
            uncertain=outcome.tally.uncertain if removals else 0,
            quarantine_records=quarantine.gone if quarantine else None,
            quarantine_bytes=quarantine.size if quarantine else None,
            error=fault,
        )
        self.ledger.record_keeping(self.row)
        if fault is None or outcome.error is not None:
            return outcome
        return replace(outcome, stop_reason=StopReason.ERROR, error=fault)

    @property
    def metadata(self) -> names.Metadata:
        """Shown on the delete step."""
        found = {
            "removal_ledger_records": self.row.removal_records,
            "removal_ledger_bytes": self.row.removal_bytes,
            "quarantined_records": self.row.quarantine_records,
            "quarantined_bytes": self.row.quarantine_bytes,
        }
        return {name: value for name, value in found.items() if value is not None}


def keeping_keys(target: Target) -> set[str]:
    """The resources that a delete step needs to keep what the target asks for."""
    return {names.KEEPING} if target.removals or target.quarantine else set()


def begin_keeping(
    context: dg.OpExecutionContext, ledger: Recorder, target: Target, plan: Plan, shard: Shard
) -> ShardKeeping:
    """Open both as the target asks for it. Raises StoreError: where it cannot be kept, nothing is deleted."""
    run_id, host = context.run_id, node()
    row = KeepingRow(run_id, target.name, shard.index, datetime.now(UTC))
    if not keeping_keys(target):
        return ShardKeeping(None, row, ledger)
    from cleanup_pipeline.keeping.handover import Keeping
    from cleanup_pipeline.keeping.places import PlaceError

    places: Places = getattr(context.resources, names.KEEPING)
    try:
        keeping = Keeping(
            target,
            _removals(places, target, plan, shard, run_id, host) if target.removals else None,
            _quarantine(places, target, shard, run_id) if target.quarantine else None,
        )
    except PlaceError as fault:
        raise StoreError(str(fault), setting=f"targets.{target.name}", remedy="correct its `place`") from None
    each = ledger.ask(lambda opened: opened.keepings.bytes_each(target.name)) if target.quarantine else None
    share = (plan.census.expired or 0) / max(1, len(plan.work.shards))
    keeping.begin(None if each is None else int(each * share))
    began = replace(
        row,
        removal_records=0 if target.removals else None,
        quarantine_records=0 if target.quarantine else None,
    )
    ledger.record_keeping(began)
    return ShardKeeping(keeping, began, ledger)


def _removals(places: Places, target: Target, plan: Plan, shard: Shard, run_id: str, host: str) -> "RemovalWriter":
    from cleanup_pipeline.keeping.opening import asking, removals_folder
    from cleanup_pipeline.keeping.removals import RemovalWriter

    settings = places.removals
    folder = removals_folder(settings, places.state)
    if folder.used() > settings.at_most * _NEARLY_FULL:
        asking(settings, places.state).prune(settings.keep, int(settings.at_most * _NEARLY_FULL / 2), datetime.now(UTC))
    origin = {
        "run": run_id,
        "shard": shard.index,
        "pass": target.pass_name,
        "kind": target.kind,
        "cutoff": int(plan.cutoff.timestamp()),
        "grace": int(target.grace.total_seconds()),
        "rule": target.fingerprint,
        "layout": target.layout or "",
        "did": "emptied" if target.set_null or target.unset else "removed",
        "host": host,
    }
    return RemovalWriter(folder, settings.keys[0], target.name, origin, settings.at_most)


def _quarantine(places: Places, target: Target, shard: Shard, run_id: str) -> "QuarantineWriter":
    from cleanup_pipeline.keeping.opening import quarantine_folder, reading
    from cleanup_pipeline.keeping.quarantine import QuarantineWriter, Room

    settings = places.quarantine
    reading(settings, places.state).prune(settings.keep, datetime.now(UTC))
    return QuarantineWriter(
        quarantine_folder(settings, places.state),
        settings.keys[0],
        run_id,
        target.name,
        shard.index,
        Room(settings.at_most, settings.keep_free),
    )


def keeping_resource(removals: RemovalSettings, quarantine: QuarantineSettings) -> dg.ResourceDefinition:
    """Where delete steps keep what they remove."""

    def _open(context: dg.InitResourceContext) -> Iterator[Places]:
        if context.instance is None:
            raise ValueError("what is kept is next to a Dagster instance")
        yield Places(removals, quarantine, Path(context.instance.root_directory))

    return dg.ResourceDefinition(resource_fn=_open, description="the removal ledger and the quarantine")


@dataclass(frozen=True, slots=True)
class PrunedKept:
    """What `prune_kept` took away, or would; and what is left."""

    removal_entries: int = 0
    removal_bytes: int = 0
    removal_bytes_left: int = 0
    quarantined_shards: int = 0
    quarantine_bytes: int = 0
    quarantine_bytes_left: int = 0
    faults: tuple[str, ...] = field(default=())


def prune_kept(places: Places, now: datetime | None = None) -> PrunedKept:
    """Take away what is older than the settings keep, and of the removal ledger what is too much; merge its files."""
    from cleanup_pipeline.keeping.opening import asking, reading
    from cleanup_pipeline.keeping.places import PlaceError

    now = now or datetime.now(UTC)
    done, faults = PrunedKept(), list[str]()
    try:
        ledger = asking(places.removals, places.state)
        entries, size = ledger.prune(places.removals.keep, places.removals.at_most, now)
        done = replace(done, removal_entries=entries, removal_bytes=size, removal_bytes_left=ledger.folder.used())
    except PlaceError as fault:
        faults.append(str(fault))
    try:
        quarantine = reading(places.quarantine, places.state)
        shards, size = quarantine.prune(places.quarantine.keep, now)
        left = quarantine.folder.used()
        done = replace(done, quarantined_shards=shards, quarantine_bytes=size, quarantine_bytes_left=left)
    except PlaceError as fault:
        faults.append(str(fault))
    return replace(done, faults=tuple(faults))


def prune_kept_job(
    removals: RemovalSettings,
    quarantine: QuarantineSettings,
    prefix: str = "",
    resources: Mapping[str, dg.ResourceDefinition] | None = None,
) -> dg.JobDefinition:
    """The job that bounds what is kept of removed records. `prefix` is before the names of job and op."""

    @dg.op(
        name=f"{prefix}Prune_kept",
        description="Removes old entries of the removal ledger and old records of the quarantine, and merges files.",
        out=dg.Out(dg.Nothing),
    )
    def prune_op(context: dg.OpExecutionContext) -> None:
        done = prune_kept(Places(removals, quarantine, Path(context.instance.root_directory)))
        numbers = {name: getattr(done, name) for name in PrunedKept.__dataclass_fields__ if name != "faults"}
        context.add_output_metadata(numbers)
        if done.faults:
            raise dg.Failure("; ".join(done.faults))

    @dg.job(
        name=f"{prefix}{JOB}",
        resource_defs=resources,
        description="Bounds the removal ledger and the quarantine (docs/undo.md).",
        executor_def=dg.in_process_executor,
        tags={names.UPKEEP_TAG: JOB, "dagster/priority": "-1"},
    )
    def job() -> None:
        prune_op.alias("prune")()

    return job


def prune_kept_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Once a day."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        cron_schedule=AT,
        execution_timezone="UTC",
        job=job,
        description=f"Starts {job.name} once a day.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
