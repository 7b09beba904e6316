"""`cleanup-pipeline check`: what stands in the way of cleaning, or is worth knowing before. Changes nothing."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.beside import say_beside
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.engine.checkup import Checked, check_store, check_target
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.base import Store

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
_LEFT = 11


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PASS|TARGET",
            autocompletion=completing.passes_and_targets,
            help="What to look at. Default: every target.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Look at stores and targets for what stands in the way, and say what to do.

    Connection, clock, rights, types, indexes, what hangs on a record, replicas, vacuum debt, TTLs. Reads only.
    Exits with 1 when there are errors.

    \b
    Examples:
      cleanup-pipeline check
      cleanup-pipeline check sessions --strict
      cleanup-pipeline check web_sessions --json
    """
    settings = settings_for(settings_file)
    targets = chosen(settings, names or [])
    stores, checked = check_all(settings, targets, every_store=not names)
    counts = Counter(finding.severity for each in (*stores, *checked) for finding in each.findings)
    if as_json:
        typer.echo(json.dumps({"stores": _json(stores), "targets": _json(checked), **_totals(counts)}))
    else:
        show(console(), settings, stores, checked, targets)
    if counts[Severity.ERROR] or (strict and counts[Severity.WARNING]):
        raise typer.Exit(1)


def check_all(
    settings: Settings, targets: Sequence[Target], *, every_store: bool = False
) -> tuple[list[Checked], list[Checked]]:
    """What was found about the stores of some targets, and about those of them whose store could be reached.

    `every_store`: also stores without a target among them.
    """
    from cleanup_pipeline.stores.open import open_store

    opened: dict[str, Store] = {}
    try:
        for name in dict.fromkeys([*(target.store for target in targets), *(settings.stores if every_store else ())]):
            opened[name] = open_store(settings.stores[name])
        stores = [check_store(store) for store in opened.values()]
        reached = {each.name for each in stores if each.reached}
        return stores, [check_target(opened[each.store], each) for each in targets if each.store in reached]
    finally:
        for store in opened.values():
            store.close()


def show(
    out: Console, settings: Settings, stores: Sequence[Checked], checked: Sequence[Checked], targets: Sequence[Target]
) -> None:
    """A block a store and a target: what was found, the worst first, each with why and what to do."""
    for each in stores:
        config = settings.stores[each.name]
        out.print(Text.assemble((f"store {each.name}", "bold"), f"  {config.type} at {config.where}"))
        _findings(out, each.findings)
    by_name = {target.name: target for target in targets}
    for each in checked:
        target = by_name[each.name]
        out.print(Text.assemble((each.name, "bold"), f"  {target.source_name} in {target.store}"))
        _findings(out, each.findings)
    counts = Counter(finding.severity for each in (*stores, *checked) for finding in each.findings)
    unseen = len(targets) - len(checked)
    more = f", {unseen} target{'s' * (unseen != 1)} not looked at" if unseen else ""
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    out.print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}{more}")


def _findings(out: Console, findings: Sequence[Finding]) -> None:
    for finding in findings:
        say_beside(out, Text(f"  {finding.severity:<8} ", style=_COLOURS[finding.severity]), finding.what)
        if finding.evidence:
            say_beside(out, Text(" " * _LEFT), f"seen: {finding.evidence}")
        if finding.remedy:
            say_beside(out, Text(" " * _LEFT), f"do: {finding.remedy}")
    if not findings:
        out.print("  nothing to say")


def _json(several: Sequence[Checked]) -> list[dict[str, Any]]:
    return [{"name": each.name, "findings": [asdict(finding) for finding in each.findings]} for each in several]


def _totals(counts: Counter[Severity]) -> dict[str, int]:
    return {"errors": counts[Severity.ERROR], "warnings": counts[Severity.WARNING]}


def chosen(settings: Settings, names: Sequence[str]) -> list[Target]:
    """The targets that are named, by themselves or by their pass; all where nothing is. Raises UsageError."""
    known = {target.name for target in settings.targets}
    plain = [name.removeprefix("clean_") if name not in known else name for name in names]
    for name in plain:
        if name not in known and name not in settings.passes:
            close = get_close_matches(name, [*known, *settings.passes], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"there is no pass and no target {name}{hint}")
    return [each for each in settings.targets if not plain or each.name in plain or each.pass_name in plain]
