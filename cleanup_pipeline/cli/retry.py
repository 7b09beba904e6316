"""`cleanup-pipeline retry`: what is missing of a pass that did not end well, in this process."""

from typing import TYPE_CHECKING, Annotated

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.progress import progress
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console, show_report
from cleanup_pipeline.cli.stopping import raise_if_interrupted
from cleanup_pipeline.model.words import PassStatus

if TYPE_CHECKING:
    import dagster as dg

    from cleanup_pipeline.dagster_defs.again import Again

_LEAST_PREFIX = 6


def retry(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run's id, or the first 6 letters of it or more.")
    ] = None,
    last_failed: Annotated[
        bool, typer.Option("--last-failed", help="The newest red pass that was not repeated yet. The default.")
    ] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Repeat what is missing of a pass that failed, was cancelled or killed.

    Shards that failed, stopped early or never started are deleted from again, under the plan that there is; what was
    finished is not repeated. A target whose settings changed, or that was never scanned, goes from the beginning.

    \b
    Examples:
      cleanup-pipeline retry
      cleanup-pipeline retry 3f2c9a1e
    """
    settings = settings_for(settings_file)
    if run is not None and last_failed:
        raise UsageError("--last-failed: found a run as well; name one or the other")
    from cleanup_pipeline.dagster_defs.again import what_to_repeat
    from cleanup_pipeline.dagster_defs.launch import instance_at, repeat_run
    from cleanup_pipeline.dagster_defs.names import PASS_TAG

    out = console()
    with instance_at(dagster_home()) as instance:
        parent = _run_of(instance, run)
        pass_name = parent.tags[PASS_TAG]
        if pass_name not in settings.passes:
            raise UsageError(f"run {parent.run_id}: was a run of pass {pass_name}, which the settings do not have")
        again = what_to_repeat(instance, parent, settings.targets_of(pass_name))
        out.print(f"Run {parent.run_id} of pass {pass_name}: {_words(again)}", markup=False)
        with progress(quiet=False):
            report = repeat_run(settings, parent, again, instance=instance)
        show_report(out, report)
        raise_if_interrupted(instance, report.run_id)
    if report.status in {PassStatus.FAILED, PassStatus.PARTIAL}:
        raise typer.Exit(1)


def _run_of(instance: "dg.DagsterInstance", named: str | None) -> "dg.DagsterRun":
    """The run that is meant. Raises UsageError when there is none, or nothing to repeat."""
    from cleanup_pipeline.dagster_defs.again import is_red, last_red, run_like

    if named is None:
        found = last_red(instance)
        if found is None:
            raise UsageError("there is no failed pass that was not repeated already")
        return found
    if len(named) < _LEAST_PREFIX:
        raise UsageError(f"RUN: found {named}, expected at least the first {_LEAST_PREFIX} letters of a run's id")
    runs = run_like(instance, named)
    if not runs:
        raise UsageError(f"RUN: there is no run {named} of a pass; the UI lists them, `--last-failed` takes the newest")
    if len(runs) > 1:
        raise UsageError(f"RUN: {named} are the first letters of several runs; give more of them")
    if not is_red(instance, runs[0]):
        state = runs[0].status.value.lower()
        raise UsageError(f"RUN: {named} is {state}; only a run that failed, was cancelled or killed is repeated")
    return runs[0]


def _words(again: "Again") -> str:
    parts = []
    if again.shards:
        parts.append(f"{again.shards} shard{'s' if again.shards > 1 else ''} again")
    if again.anew:
        parts.append(f"from the beginning: {', '.join(again.anew)}")
    return "; ".join(parts) or "only what is left is counted again"
