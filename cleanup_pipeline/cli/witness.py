"""`cleanup-pipeline witness`: whether targets are cleaned as they should be, by a look of its own."""

import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from rich.table import Table

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home, settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.observability.witness import Judgement
from cleanup_pipeline.reporting.words import UNKNOWN, age, number
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.open import open_store


def witness(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="TARGET", autocompletion=completing.targets, help="Default: every target."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Look into the stores for records that ought to be gone, and whether passes succeed. Deletes nothing.

    The same as the checks on each target's page in the UI, which it adds to. Exits with 0 when
    all passed or rest, with 1 when a check failed or is unknown: a store that cannot be reached is not well.

    \b
    Examples:
      cleanup-pipeline witness
      cleanup-pipeline witness web_sessions --json
    """
    settings = settings_for(settings_file)
    chosen = _chosen(settings, targets or [])
    judgements = _look(settings, chosen)
    if as_json:
        typer.echo(json.dumps([_document(each) for each in judgements]))
    else:
        _show(judgements)
    if any(each.failed or each.unknown for each in judgements):
        raise typer.Exit(1)


def _chosen(settings: Settings, named: Sequence[str]) -> list[Target]:
    known = {target.name: target for target in settings.targets}
    for name in named:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise UsageError(f"there is no target {name}" + (f"; did you mean {close[0]}?" if close else ""))
    return [known[name] for name in dict.fromkeys(named)] or list(settings.targets)


def _look(settings: Settings, targets: Sequence[Target]) -> list[Judgement]:
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.witness import evaluations
    from cleanup_pipeline.dagster_defs.witness import witness as look

    with ExitStack() as opened:
        instance = opened.enter_context(instance_at(dagster_home()))
        stores = {
            name: opened.enter_context(closing(open_store(settings.stores[name])))
            for name in dict.fromkeys(target.store for target in targets)
        }
        judgements = []
        for target in targets:
            of_pass = settings.passes[target.pass_name]
            on = settings.enabled and of_pass.enabled
            judgements.append(look(instance, stores[target.store], target, of_pass, enabled=on))
            for found in evaluations(judgements[-1]):
                instance.report_runless_asset_event(found)
    return judgements


def _show(judgements: Sequence[Judgement]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("target", "survivors", "oldest due", "checks"):
        table.add_column(column, no_wrap=True, justify="right" if column in {"survivors", "oldest due"} else "left")
    for each in judgements:
        row = each.row
        words = "rests" if each.resting else "FAILED" if each.failed else "unknown" if each.unknown else "passed"
        colour = {"FAILED": "red", "unknown": "yellow", "passed": "green"}.get(words)
        oldest = age(row.oldest_survivor, row.checked_at) if row.oldest_survivor else UNKNOWN
        table.add_row(row.target, number(row.survivors), oldest, words, style=colour)
    out = console()
    out.print(table)
    for each in judgements:
        said = [f"not judged: {each.resting}"] if each.resting else [each.about_survivors, each.about_freshness]
        for line in said:
            out.print(f"  {each.row.target}: {line}", markup=False)


def _document(judgement: Judgement) -> dict[str, Any]:
    row = judgement.row
    return {
        "target": row.target,
        "pass": row.pass_name,
        "store": row.store,
        "kind": row.kind,
        "checked_at": row.checked_at.isoformat(),
        "survivors": row.survivors,
        "oldest_survivor_due_since": row.oldest_survivor and row.oldest_survivor.isoformat(),
        "objective_seconds": row.objective_seconds,
        "oldest_survivor": row.old_enough,
        "freshness": row.fresh,
        "last_success": row.last_success and row.last_success.isoformat(),
        "not_judged": judgement.resting,
        "reason": row.reason,
    }
