"""`undo`: what a run removed, put back; for the command line and as a job.

A record that comes back is expired still. Its target is paused before the first one is written, so that no pass takes
it away again before somebody says `resume`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.switches import Pause, pause, resume, standing
from cleanup_pipeline.ledger import LedgerError, open_ledger
from cleanup_pipeline.ledger.keepings import UndoRow
from cleanup_pipeline.model.removed import Fate
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.open import Opener, open_store

# numpy, cryptography and fsspec take longer to load than the rest: only where something is put back.
if TYPE_CHECKING:
    from cleanup_pipeline.keeping.quarantine_reader import Kept
    from cleanup_pipeline.keeping.undoing import Undone

JOB = "undo"


class UndoError(Exception):
    """One line: why there is nothing to undo."""


@dataclass(frozen=True, slots=True)
class UndoReport:
    """What came of it, target by target."""

    run: str
    dry_run: bool
    targets: "tuple[Undone, ...]"
    paused: tuple[str, ...] = ()
    """Targets that this undo paused."""

    @property
    def red(self) -> bool:
        """Whether something that should have come back did not."""
        return any(each.red for each in self.targets)


def undo_run(
    settings: Settings,
    instance: dg.DagsterInstance,
    run: str,
    *,
    target: str | None = None,
    dry_run: bool = False,
    again: bool = False,
    by: str = "",
    opener: Opener = open_store,
) -> UndoReport:
    """Put back what a run removed, of one target or of all. A dry run looks, and writes nothing. Harmless twice: what
    came back once is left alone, unless `again`, with which what is gone since comes back, too.

    Raises UndoError where the quarantine has nothing of that run, or cannot be read.
    """
    from cleanup_pipeline.keeping.opening import reading
    from cleanup_pipeline.keeping.places import PlaceError
    from cleanup_pipeline.keeping.undoing import Undone, undo_target

    if not run.strip():
        raise UndoError("no run is named; `cleanup-pipeline undo` lists those that can be undone")
    try:
        reader = reading(settings.quarantine, Path(instance.root_directory))
        by_target: dict[str, list[Kept]] = defaultdict(list)
        for kept in reader.kept(run, target):
            by_target[kept.target].append(kept)
    except PlaceError as fault:
        raise UndoError(str(fault)) from None
    if not by_target:
        of_target = f" of {target}" if target else ""
        raise UndoError(f"the quarantine has nothing{of_target} that run {run} removed; `cleanup-pipeline undo` lists")
    known = {each.name: each for each in settings.targets}
    done: list[Undone] = []
    held: list[str] = []
    # What went last comes back first: a later step of a layout may hold what an earlier one's records refer to.
    for name, several in reversed(by_target.items()):
        if name not in known:
            done.append(Undone(name, error=f"targets.{name}: there is no such target any more; name it again"))
            continue
        order = Pause(name, datetime.now(UTC), None, f"undo of run {run[:8]} ({by or node()})")
        replaced: list[Pause | None] = []

        def hold(order: Pause = order, replaced: list[Pause | None] = replaced) -> None:
            if not dry_run:
                replaced += _pause(instance, order)

        began = datetime.now(UTC)
        store = opener(settings.stores[known[name].store])
        try:
            result = undo_target(
                store, known[name], reader, several, run, host=node(), before=hold, dry=dry_run, again=again
            )
        finally:
            store.close()
        done.append(result)
        if dry_run:
            continue
        if result.wrote:
            held += [name] if replaced else []
        elif replaced:
            _take_back(instance, order, replaced[0])
        _enter(instance, result, run, by or node(), began)
    return UndoReport(run, dry_run, tuple(done), tuple(held))


def _pause(instance: dg.DagsterInstance, order: Pause) -> list[Pause | None]:
    """Pause a target unless it is; the order that this one took the place of, None for none.

    An order that ends by itself, or one for all targets, is not about what comes back.
    """
    earlier = next(iter(standing(instance, [order.target])), None)
    if earlier is not None and earlier.until is None:
        return []
    pause(instance, order)
    return [earlier]


def _take_back(instance: dg.DagsterInstance, order: Pause, earlier: Pause | None) -> None:
    """As it was before the order, unless somebody gave another one meanwhile."""
    if standing(instance, [order.target]) != [order]:
        return
    if earlier is None:
        resume(instance, order.target)
    else:
        pause(instance, earlier)


def _enter(instance: dg.DagsterInstance, done: "Undone", run: str, by: str, began: datetime) -> None:
    fates = done.fates
    row = UndoRow(
        run_id=run,
        target=done.target,
        by=by,
        began_at=began,
        ended_at=datetime.now(UTC),
        restored=fates[Fate.RESTORED],
        existing=fates[Fate.EXISTS],
        over=fates[Fate.OVER],
        refused=fates[Fate.REFUSED],
        left_out=fates[Fate.LEFT],
        beside=done.beside,
        unconfirmed=done.unconfirmed,
        unreadable=done.unreadable,
        # The ledger has no column for these, and `existing` alone would say that nothing was put back.
        error="; ".join(text for text in (done.error, done.remarks) if text) or None,
    )
    try:
        ledger = open_ledger(ledger_url(instance))
        try:
            ledger.keepings.add_undo(row)
        finally:
            ledger.close()
    except LedgerError as fault:
        done.reasons = (*done.reasons, f"not entered into the ledger: {fault}")


def undoable(settings: Settings, instance: dg.DagsterInstance) -> "Sequence[Kept]":
    """What lies in the quarantine, the oldest first. Raises UndoError."""
    from cleanup_pipeline.keeping.opening import reading
    from cleanup_pipeline.keeping.places import PlaceError

    try:
        return reading(settings.quarantine, Path(instance.root_directory)).kept()
    except PlaceError as fault:
        raise UndoError(str(fault)) from None


def _counts(of: "Undone") -> dict[str, int]:
    """By column."""
    return {
        "restored": of.fates[Fate.RESTORED],
        "exists": of.fates[Fate.EXISTS],
        "of an earlier undo": of.before,
        "TTL over": of.fates[Fate.OVER],
        "refused": of.fates[Fate.REFUSED],
        "with them": of.beside,
        "unconfirmed": of.unconfirmed,
        "unreadable": of.unreadable,
    }


def undo_metadata(report: UndoReport) -> names.Metadata:
    """Shown on the step of the job."""
    lines = list[str]()
    for each in report.targets:
        counts = _counts(each)
        if not lines:
            lines = [f"| target | {' | '.join(counts)} | error |", f"|---|{'---:|' * len(counts)}---|"]
        said = "; ".join(text for text in (each.error, each.remarks) if text)
        lines.append(f"| {each.target} | {' | '.join(f'{n:,}' for n in counts.values())} | {said} |")
    return {
        "undone_run": report.run,
        "dry_run": str(report.dry_run).lower(),
        "restored": sum(each.fates[Fate.RESTORED] for each in report.targets),
        "targets": dg.MetadataValue.md("\n".join(lines)),
        **({"paused": ", ".join(report.paused)} if report.paused else {}),
    }


def undo_job(
    settings: Settings,
    opener: Opener = open_store,
    prefix: str = "",
    resources: Mapping[str, dg.ResourceDefinition] | None = None,
) -> dg.JobDefinition:
    """The job that puts back what a run removed. `prefix` is before the names of job and op."""

    @dg.op(
        name=f"{prefix}Undo",
        description="Puts back what a run removed, as it was, and pauses its targets until `cleanup-pipeline resume`.",
        config_schema={
            "run": dg.Field(str, description="The id of the run that removed it."),
            "target": dg.Field(str, default_value="", description="One target; empty: all of them."),
            "dry_run": dg.Field(bool, default_value=True, description="Look, and write nothing."),
            "again": dg.Field(
                bool,
                default_value=False,
                description="Also what an earlier undo put back or found there, and is gone since.",
            ),
        },
        out=dg.Out(dg.Nothing),
    )
    def undo_op(context: dg.OpExecutionContext) -> None:
        asked = context.op_config
        try:
            report = undo_run(
                settings,
                context.instance,
                asked["run"],
                target=asked["target"] or None,
                dry_run=asked["dry_run"],
                again=asked["again"],
                by=f"run {context.run_id[:8]}",
                opener=opener,
            )
        except UndoError as fault:
            raise dg.Failure(str(fault), allow_retries=False) from None
        if report.red:
            errors = [each.error or f"{each.target}: not all came back" for each in report.targets if each.red]
            raise dg.Failure("; ".join(errors), undo_metadata(report), allow_retries=False)
        context.add_output_metadata(undo_metadata(report))

    @dg.job(
        name=f"{prefix}{JOB}",
        resource_defs=resources,
        description="Puts back what a run removed (docs/undo.md). A dry run unless told otherwise.",
        executor_def=dg.in_process_executor,
        tags={names.UPKEEP_TAG: JOB},
    )
    def job() -> None:
        undo_op.alias("undo")()

    return job
