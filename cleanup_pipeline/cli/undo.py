"""`cleanup-pipeline undo`: what a run removed, put back out of the quarantine."""

import getpass
import json
import platform
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.keeping import known_target
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.model.removed import Fate


def undo(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="The run that removed it, or the beginning of its id.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="One target of the run. Default: all of them.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at what would come back; write nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also what an earlier undo put back or found, and is gone since.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Put back what a run removed, record by record, each as it was, unless there is one again.

    For targets with `quarantine: true`. What comes back is expired still: its target is paused, so that no pass takes
    it away again, until `cleanup-pipeline resume TARGET`. What came back once is left alone from then on, there or
    not. Without RUN, shows what the quarantine has. Exits with 1 where something could not be put back.

    \b
    Examples:
      cleanup-pipeline undo
      cleanup-pipeline undo 4f1c9a22 --dry-run
      cleanup-pipeline undo 4f1c9a22 --target django_sessions
    """
    # What a variable that is not set leaves of `undo "$RUN"`.
    if run is not None and not run.strip():
        raise UsageError("undo: RUN is empty; give the run's id, or leave it out to see what there is")
    settings = settings_for(settings_file)
    if target is not None:
        known_target(settings, target)
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.undoing import UndoError, undo_run, undoable

    try:
        with instance_at(dagster_home()) as instance:
            if run is None:
                _list(undoable(settings, instance), as_json)
                return
            by = f"{getpass.getuser()}@{platform.node()}"
            whole = _whole_id(run, [kept.run for kept in undoable(settings, instance)])
            report = undo_run(settings, instance, whole, target=target, dry_run=dry_run, again=again, by=by)
    except UndoError as fault:
        complain(str(fault))
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(_document(report)))
    else:
        _show(report)
    if report.red:
        raise typer.Exit(1)


def _whole_id(run: str, known: list[str]) -> str:
    """The id that begins like this, where there is but one."""
    fitting = {each for each in known if each.startswith(run)}
    return fitting.pop() if len(fitting) == 1 and len(run) >= 6 else run


def _list(several: Any, as_json: bool) -> None:
    runs: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for kept in several:
        runs[kept.run, kept.target].append(kept)
    if as_json:
        rows = [
            {"run": run, "target": target, "began": parts[0].opened.isoformat(), "bytes": sum(p.size for p in parts)}
            for (run, target), parts in runs.items()
        ]
        typer.echo(json.dumps({"quarantine": rows}))
        return
    if not runs:
        console().print("the quarantine is empty")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "target", "began (UTC)"):
        table.add_column(name, no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    for (run, target), parts in runs.items():
        size = f"{sum(part.size for part in parts):,}"
        table.add_row(run[:8], target, f"{parts[0].opened:%Y-%m-%d %H:%M}", size)
    console().print(table)


def _document(report: Any) -> dict[str, Any]:
    return {
        "run": report.run,
        "dry_run": report.dry_run,
        "paused": list(report.paused),
        "targets": [
            {
                "target": each.target,
                **{str(fate): each.fates[fate] for fate in Fate},
                "before": each.before,
                "beside": each.beside,
                "beside_refused": each.beside_refused,
                "unconfirmed": each.unconfirmed,
                "in_doubt": each.in_doubt,
                "unknown": each.unknown,
                "unreadable": each.unreadable,
                "lost_keys": list(each.lost_keys),
                "reasons": list(each.reasons),
                "error": each.error,
                "seconds": round(each.seconds, 3),
            }
            for each in report.targets
        ],
    }


_WORDS = {
    Fate.EXISTS: "there is one again, or still; left as it is",
    Fate.OVER: "their own TTL has run out meanwhile",
    Fate.REFUSED: "refused by the store",
    Fate.LEFT: "left out, as what they belonged to was not put back",
}


def _show(report: Any) -> None:
    out = console()
    for each in report.targets:
        out.print(f"[bold]{each.target}[/bold]")
        for count, words in _counts(each, report.dry_run):
            out.print(f"  {count:>9,}  {words}", highlight=False, soft_wrap=True)
        if each.remarks:
            out.print(f"  ! {each.remarks}", highlight=False, soft_wrap=True)
        for reason in each.reasons:
            out.print(f"  ! {reason}", markup=False, highlight=False, soft_wrap=True)
        if each.error:
            complain(f"✗ {each.error}")
    for name in report.paused:
        out.print(f"{name} is paused; `cleanup-pipeline resume {name}` lets passes remove what is expired again")


def _counts(each: Any, dry_run: bool) -> Iterator[tuple[int, str]]:
    """What came of a target's records, in words."""
    if each.error is None or each.fates:
        yield each.fates[Fate.RESTORED], "would be put back" if dry_run else "put back"
    keys = f" (key {', '.join(each.lost_keys)} is not in CLEANUP_QUARANTINE_KEY)" if each.lost_keys else ""
    for count, words in (
        *((each.fates[fate], words) for fate, words in _WORDS.items()),
        (each.before, "put back or found there by an earlier undo; left alone (--again)"),
        (each.beside, "rows of other tables with them"),
        (each.unconfirmed, "of them from a batch that was cut off"),
        (each.unreadable, f"cannot be read{keys}"),
    ):
        if count:
            yield count, words
