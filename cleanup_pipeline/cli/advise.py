"""`cleanup-pipeline advise`: where the store could do it alone, and how to get there. Changes nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.model.advice import Advice, Native, Way
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import Settings

_SAYS = {
    Native.WORKS: ("the store does it alone", "green"),
    Native.POSSIBLE: ("the store could do it alone", "cyan"),
    Native.CHANGE_FIRST: ("not with the records as they are", "yellow"),
    Native.NO: ("the store cannot do it alone", "dim"),
}


def advise(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET", autocompletion=completing.targets, help="What to look at. Default: every target."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Say where the store could remove what expires by itself, and how to get there.

    TTL indexes, EXPIRE, partitions, pg_cron: what the server at hand offers, with the commands for it, and what is lost
    by it. Or why not. Reads only.

    \b
    Examples:
      cleanup-pipeline advise
      cleanup-pipeline advise web_sessions --json
    """
    settings = settings_for(settings_file)
    targets = _chosen(settings, names or [])
    several, faults = advice_of(settings, targets)
    if as_json:
        typer.echo(json.dumps({"targets": [asdict(each) for each in several], "errors": faults}))
    else:
        out = console()
        by_name = {target.name: target for target in targets}
        for number, each in enumerate(several):
            if number:
                out.print()
            show(out, each, by_name[each.target])
        for fault in faults.values():
            complain(f"✗ {fault}")
    if faults:
        raise typer.Exit(1)


def advice_of(settings: Settings, targets: Sequence[Target]) -> tuple[list[Advice], dict[str, str]]:
    """What is advised for each target, and one line for each that could not be looked at."""
    from cleanup_pipeline.engine.advice import advise as ask
    from cleanup_pipeline.stores.base import Store, StoreError
    from cleanup_pipeline.stores.open import open_store

    stores: dict[str, Store] = {}
    several: list[Advice] = []
    faults: dict[str, str] = {}
    try:
        for target in targets:
            if target.store not in stores:
                stores[target.store] = open_store(settings.stores[target.store])
            try:
                several.append(ask(stores[target.store], target))
            except StoreError as fault:
                faults[target.name] = str(fault)
    finally:
        for store in stores.values():
            store.close()
    return several, faults


def show(out: Console, advice: Advice, target: Target) -> None:
    """A block a target; commands are never wrapped, so that they can be copied."""
    says, colour = _SAYS[advice.native]
    out.print(Text.assemble((advice.target, "bold"), f"  {target.source_name} in {target.store}: ", (says, colour)))
    backlog = "unknown" if advice.backlog is None else f"{advice.backlog:,}"
    _wrapped(out, "  ", f"expired now: {backlog}")
    for line in advice.why:
        _wrapped(out, "  ", line)
    for way in advice.ways:
        _show_way(out, way)


def _show_way(out: Console, way: Way) -> None:
    out.print(Text.assemble("  ", (way.name, "bold")))
    for number, step in enumerate(way.steps, 1):
        _wrapped(out, f"  {number}. ", step.what)
        for line in step.command.splitlines():
            out.print(Text.assemble("     ", (line, "cyan")), soft_wrap=True)
    for line in way.loses:
        _wrapped(out, "  but ", line)


def _wrapped(out: Console, head: str, words: str) -> None:
    if out.soft_wrap:
        out.print(Text(head + words))
        return
    for number, line in enumerate(Text(words).wrap(out, max(20, out.width - len(head)))):
        out.print(Text.assemble(head if number == 0 else " " * len(head), line))


def _chosen(settings: Settings, names: Sequence[str]) -> list[Target]:
    known = [target.name for target in settings.targets]
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f", the targets are {', '.join(known)}"
            raise UsageError(f"there is no target {name}{hint}")
    return [each for each in settings.targets if not names or each.name in names]
