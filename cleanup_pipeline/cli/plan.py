"""`cleanup-pipeline plan`: what a pass would do, without Dagster and without deleting; kept for `apply`."""

import json
import os
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.check import chosen
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.keeping import kept_line
from cleanup_pipeline.cli.plan_making import make_plan, plans_of
from cleanup_pipeline.cli.plan_records import ledger, one_plan, shown_again
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console, labelled, show_plan
from cleanup_pipeline.cli.show_plans import show_outline
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.reporting.words import number as number_words
from cleanup_pipeline.settings import Settings


def plan(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PASS|TARGET",
            autocompletion=completing.passes_and_targets,
            help="What to plan. Default: every target.",
        ),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option("--show", metavar="ID", autocompletion=completing.plans, help="Show a plan that was made before."),
    ] = None,
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
    plan_id, plans, faults = _kept(settings, targets)
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
        if line := kept_line(settings, one):
            labelled(out, "keeps", line)
    kinds = sorted({one.kind for one in plans if one.skipped is None})
    if len(kinds) > 1:
        counts = ", ".join(f"{kind} {number_words(_of_kind(plans, kind))}" for kind in kinds)
        out.print(f"\nexpired, by kind: {counts}", markup=False)
    if plan_id is not None and any(one.skipped is None and not _only_reports(one) for one in plans):
        until = datetime.now(UTC) + settings.plans.valid_for
        out.print(f"\nplan [bold]{plan_id}[/bold]: nothing was deleted. Good until {until:%Y-%m-%d %H:%M} UTC. Next:")
        out.print(f"  cleanup-pipeline apply {plan_id}")
    for fault in faults.values():
        complain(f"✗ {fault}")


def _only_reports(plan: Plan) -> bool:
    return any(each.code == "only-reports" for each in plan.findings)


def _of_kind(plans: list[Plan], kind: str) -> int | None:
    known = [one.census.expired for one in plans if one.kind == kind and one.skipped is None]
    return None if None in known else sum(each or 0 for each in known)


def _kept(settings: Settings, targets: tuple[Target, ...]) -> tuple[str | None, list[Plan], dict[str, str]]:
    from cleanup_pipeline.ledger import LedgerError

    try:
        with ledger() as opened:
            return make_plan(settings, targets, opened)
    except LedgerError as fault:
        plans, faults = plans_of(settings, targets)
        return None, plans, {**faults, "ledger": f"the plan is not kept, and cannot be applied: {fault}"}


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
