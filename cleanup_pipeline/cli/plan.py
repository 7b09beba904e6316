"""`cleanup-pipeline plan`: what a pass would do, without Dagster and without deleting; kept for `apply`."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cleanup_pipeline.cli.brakes import judged_plans
from cleanup_pipeline.cli.check import chosen
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.plan_records import by_whom, ledger, one_plan, shown_again
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console, show_plan
from cleanup_pipeline.cli.show_plans import show_outline
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.settings import Settings
from cleanup_pipeline.stores.base import Store, StoreError


def plan(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[PASS|TARGET]...", help="What to plan. Default: every target.")
    ] = None,
    show: Annotated[str | None, typer.Option("--show", metavar="ID", help="Show a plan that was made before.")] = None,
    hash_id: Annotated[
        list[str] | None, typer.Option("--hash-id", metavar="ID", help="What plans show for a record of this id.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Show what a pass would do to each of its targets; delete nothing.

    What goes by age and client, the records nearest to the line on both sides of it, how, and how long it takes. The
    plan is kept under an id; `apply ID` removes what it covers and nothing else. Records are shown as keyed hashes.
    Exits with 1 when some target could not be planned.

    \b
    Examples:
      cleanup-pipeline plan sessions
      cleanup-pipeline plan web_sessions reset_links
      cleanup-pipeline plan --show 3f2a9c0b11
      cleanup-pipeline plan --hash-id 8d5e957f297893487bd98fa830fa6413
    """
    settings = settings_for(settings_file)
    if show is not None:
        _show(show, as_json)
        return
    if hash_id:
        _hash(hash_id, as_json)
        return
    names = names or []
    targets = tuple(chosen(settings, names))
    if not targets:
        raise UsageError("there is no target to plan" + (f" in {', '.join(names)}" if names else ""))
    plan_id, plans, faults = _made(settings, targets)
    if as_json:
        from cleanup_pipeline.reporting.codec import dump

        alone: dict[str, Any] = {"pass": names[0].removeprefix("clean_")} if len(names) == 1 else {}
        shown = [dump(p) for p in plans]
        typer.echo(json.dumps({"plan": plan_id, **alone, "plans": shown, "errors": faults}))
    else:
        _print(settings, plan_id, plans, faults)
    if faults:
        raise typer.Exit(1)


def _print(settings: Settings, plan_id: str | None, plans: list[Plan], faults: dict[str, str]) -> None:
    out = console()
    for number, one in enumerate(plans):
        if number:
            out.print()
        show_plan(out, one)
        show_outline(out, one)
    if plan_id is not None:
        until = datetime.now(UTC) + settings.plans.valid_for
        out.print(f"\nplan [bold]{plan_id}[/bold]: nothing was deleted")
        out.print(f"  to remove what it covers, and nothing else, until {until:%Y-%m-%d %H:%M} UTC:")
        out.print(f"  cleanup-pipeline apply {plan_id}")
    for fault in faults.values():
        complain(f"✗ {fault}")


def plans_of(settings: Settings, targets: tuple[Target, ...]) -> tuple[list[Plan], dict[str, str]]:
    """The plan of each target, and one line for each that has none. Kept nowhere."""
    stores: dict[str, Store] = {}
    try:
        return _scanned(settings, targets, stores)
    finally:
        for store in stores.values():
            store.close()


def _scanned(
    settings: Settings, targets: tuple[Target, ...], stores: dict[str, Store]
) -> tuple[list[Plan], dict[str, str]]:
    from cleanup_pipeline.stores.open import open_store

    plans: list[Plan] = []
    faults: dict[str, str] = {}
    for target in targets:
        store = stores.setdefault(target.store, open_store(settings.stores[target.store]))
        try:
            plans.append(scan(store, target, dry_run=False))
        except StoreError as fault:
            faults[target.name] = str(fault)
    return judged_plans(plans, {target.name: target for target in targets}, stores), faults


def _made(settings: Settings, targets: tuple[Target, ...]) -> tuple[str | None, list[Plan], dict[str, str]]:
    """A plan on record: its id, what it is of each target, and a line for each that has none."""
    from cleanup_pipeline.engine.applying import facets_of
    from cleanup_pipeline.engine.cover import key_id
    from cleanup_pipeline.engine.estimate import estimate_of
    from cleanup_pipeline.engine.outlining import Budget, outline_of
    from cleanup_pipeline.ledger import LedgerError
    from cleanup_pipeline.ledger.plans import ToKeep, new_id
    from cleanup_pipeline.reporting.codec import dump
    from cleanup_pipeline.settings.plans import own_key

    own = own_key(os.environ)
    stores: dict[str, Store] = {}
    by_name = {target.name: target for target in targets}
    try:
        plans, faults = _scanned(settings, targets, stores)
        try:
            with ledger() as opened:
                plan_id, now = new_id(), datetime.now(UTC)
                key = own or opened.plans.key(now)
                kept: list[ToKeep] = []
                for each in plans:
                    target, store = by_name[each.target], stores[each.store]
                    budget = Budget(target.census_timeout, settings.plans.sample, everything=True)
                    outline, cover = outline_of(store, target, each, key, budget)
                    whole = replace(each, id=plan_id, outline=outline)
                    whole = replace(whole, estimate=estimate_of(each, target, opened.plans.measured(target.name)))
                    facets = facets_of(target, store)
                    kept.append(ToKeep(whole, target.pass_name, facets, dump(whole), key_id(key), cover))
                opened.plans.keep(plan_id, kept, now=now, valid_for=settings.plans.valid_for, made_by=by_whom())
                return plan_id, [each.plan for each in kept], faults
        except LedgerError as fault:
            return None, plans, {**faults, "ledger": f"the plan is not kept, and cannot be applied: {fault}"}
    finally:
        for store in stores.values():
            store.close()


def _show(plan_id: str, as_json: bool) -> None:
    with ledger(usage=True) as opened:
        row = one_plan(opened, plan_id)
    if as_json:
        from cleanup_pipeline.cli.plan_records import document

        typer.echo(json.dumps(document(row, datetime.now(UTC), whole=True)))
        return
    shown_again(console(), row, datetime.now(UTC))


def _hash(several: list[str], as_json: bool) -> None:
    from cleanup_pipeline.engine.cover import hashes
    from cleanup_pipeline.settings.plans import own_key

    key = own_key(os.environ)
    if key is None:
        with ledger(usage=True) as opened:
            key = opened.plans.key(datetime.now(UTC))
    found = hashes(key, several)
    if as_json:
        typer.echo(json.dumps({"hashes": found}))
        return
    for each in found:
        typer.echo(each)
