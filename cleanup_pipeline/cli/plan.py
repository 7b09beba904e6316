"""`cleanup-pipeline plan`: what a pass would do, without Dagster and without deleting."""

import json
from typing import Annotated

import typer

from cleanup_pipeline.cli.brakes import judged_plans
from cleanup_pipeline.cli.home import known_pass, settings_for
from cleanup_pipeline.cli.keeping import kept_line
from cleanup_pipeline.cli.run import PassArgument, SettingsOption
from cleanup_pipeline.cli.show import complain, console, show_plan
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.base import Store, StoreError


def plan(
    pass_name: PassArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Show what a pass would do to each of its targets; delete nothing.

    Exits with 1 when some target could not be planned.

    \b
    Examples:
      cleanup-pipeline plan sessions
      cleanup-pipeline plan sessions --settings staging.yaml
      cleanup-pipeline plan verification_tokens --json
    """
    settings = settings_for(settings_file)
    name = known_pass(settings, pass_name)
    plans, faults = plans_of(settings, settings.targets_of(name))
    if as_json:
        from cleanup_pipeline.reporting.codec import dump

        typer.echo(json.dumps({"pass": name, "plans": [dump(p) for p in plans], "errors": faults}))
    else:
        out = console()
        for number, one in enumerate(plans):
            if number:
                out.print()
            show_plan(out, one)
            if line := kept_line(settings, one):
                out.print(line, markup=False, highlight=False)
        for fault in faults.values():
            complain(f"✗ {fault}")
    if faults:
        raise typer.Exit(1)


def plans_of(settings: Settings, targets: tuple[Target, ...]) -> tuple[list[Plan], dict[str, str]]:
    """The plan of each target, and one line for each that has none."""
    from cleanup_pipeline.stores.open import open_store

    stores: dict[str, Store] = {}
    plans: list[Plan] = []
    faults: dict[str, str] = {}
    try:
        for target in targets:
            store = stores.setdefault(target.store, open_store(settings.stores[target.store]))
            try:
                plans.append(scan(store, target, dry_run=False))
            except StoreError as fault:
                faults[target.name] = str(fault)
        plans = judged_plans(plans, {target.name: target for target in targets}, stores)
    finally:
        for store in stores.values():
            store.close()
    return plans, faults
