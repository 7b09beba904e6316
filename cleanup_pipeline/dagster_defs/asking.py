"""`why` as a job: what the removal ledger knows of a time, or of a record or an owner by the hash of it.

Dagster keeps run configurations in plain text. So an identifier has no place in one: its keyed hash has, which
`cleanup-pipeline why --hash` prints for those who may see the identifier.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import LedgerError, open_ledger
from cleanup_pipeline.ledger.keepings import Unrecorded
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import Settings

JOB = "why"
MOST_SHOWN = 100
"""Entries, or passes, on the page of a run."""


class WhyError(Exception):
    """One line: why there is no answer."""


def answer(
    settings: Settings, instance: dg.DagsterInstance, target: str, *, at: str = "", within: str = "5m", hashed: str = ""
) -> names.Metadata:
    """What was removed `within` a time of an instant, or what a hash is of. Raises WhyError."""
    from cleanup_pipeline.keeping.opening import asking
    from cleanup_pipeline.keeping.period import around, read_time
    from cleanup_pipeline.keeping.places import PlaceError
    from cleanup_pipeline.reporting import why

    of = next((each for each in settings.targets if each.name == target), None)
    if of is None:
        known = ", ".join(each.name for each in settings.targets)
        raise WhyError(f"there is no target {target}, the targets are {known}")
    if bool(at) == bool(hashed):
        raise WhyError("give one of `at` and `hash`: a time such as 2026-11-26T14:03, or what `why --hash` prints")
    removals = asking(settings.removals, Path(instance.root_directory))
    try:
        if at:
            period = around(removals, target, *read_time(at, within))
            count = period.records
            told = _first([why.part_lines(part) for part in period.parts])
            told = told or why.nothing(why.span(period), "nothing by this pipeline", period.since)
            doubts = why.doubts(of, period, _unrecorded(instance, of))
        else:
            found = removals.by_hash(target, hashed)
            count = len(found.entries)
            told = _first([why.lines(entry) for entry in found.entries])
            told = told or why.nothing("what this hash is of", "not by this pipeline", found.since)
            doubts = why.doubts(of, found, _unrecorded(instance, of), of_hash=True)
    except PlaceError as fault:
        raise WhyError(str(fault)) from None
    except ValueError as fault:
        kept = "this run's configuration keeps what was given: delete the run if that was an identifier"
        raise WhyError(str(fault) if at else f"{fault}; {kept}") from None
    text = "\n".join(("```", *told, *doubts, "```"))
    # A page shows a text at once, and Markdown at a click.
    return {
        "target": target,
        "removed": count,
        "in_short": told[0],
        **({"doubts": "; ".join(each.removeprefix("! ") for each in doubts)} if doubts else {}),
        "answer": dg.MetadataValue.md(text),
    }


def _first(several: Sequence[Sequence[str]]) -> list[str]:
    """The lines of as many as a page has room for."""
    lines = [line for each in several[:MOST_SHOWN] for line in each]
    more = len(several) - MOST_SHOWN
    return [*lines, f"and {more:,} more; `cleanup-pipeline why --json` has them all"] if more > 0 else lines


def _unrecorded(instance: dg.DagsterInstance, target: Target) -> Unrecorded | None:
    """None: none, or the ledger of passes cannot be asked."""
    try:
        ledger = open_ledger(ledger_url(instance))
        try:
            return ledger.keepings.unrecorded(target.name)
        finally:
            ledger.close()
    except LedgerError:
        return None


def why_job(
    settings: Settings, prefix: str = "", resources: Mapping[str, dg.ResourceDefinition] | None = None
) -> dg.JobDefinition:
    """The job that answers. `prefix` is before the names of job and op."""

    @dg.op(
        name=f"{prefix}Why",
        description="Says what passes removed around some time, or what became of a record by the hash of it.",
        config_schema={
            "target": dg.Field(str, description="The target that the record was one of."),
            "at": dg.Field(str, default_value="", description="When, such as 2026-11-26T14:03; UTC."),
            "within": dg.Field(str, default_value="5m", description="How long before and after `at`."),
            "hash": dg.Field(
                str, default_value="", description="What `cleanup-pipeline why TARGET --id - --hash` printed."
            ),
        },
        out=dg.Out(dg.Nothing),
    )
    def why_op(context: dg.OpExecutionContext) -> None:
        asked = context.op_config
        try:
            told = answer(
                settings,
                context.instance,
                asked["target"],
                at=asked["at"],
                within=asked["within"],
                hashed=asked["hash"],
            )
        except WhyError as fault:
            raise dg.Failure(str(fault), allow_retries=False) from None
        context.add_output_metadata(told)

    @dg.job(
        name=f"{prefix}{JOB}",
        resource_defs=resources,
        description="What passes removed around some time, and why a record is gone (docs/why.md). Changes nothing.",
        executor_def=dg.in_process_executor,
        tags={names.UPKEEP_TAG: JOB},
    )
    def job() -> None:
        why_op.alias("why")()

    return job
