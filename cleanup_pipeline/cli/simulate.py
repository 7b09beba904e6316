"""`cleanup-pipeline simulate`: passes that have not happened yet. Asks no store, changes nothing."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.model.words import StoreType

if TYPE_CHECKING:
    from cleanup_pipeline.ledger.seen import SeenPass
    from cleanup_pipeline.simulation.scenario import Scenario

LOOK_BACK = timedelta(days=14)
"""How far back passes say what cleaning costs and what falls due."""
_T = TypeVar("_T")


def simulate(
    scenario_file: Annotated[
        Path | None,
        typer.Argument(metavar="SCENARIO", help="A scenario file, in place of the settings."),
    ] = None,
    arrivals: Annotated[
        list[str] | None,
        typer.Option("--arrivals", metavar="[TARGET=]RATE", help="What falls due, such as 200/s. By the ledger."),
    ] = None,
    backlog: Annotated[
        list[str] | None,
        typer.Option("--backlog", metavar="[TARGET=]N", help="Expired records now. By the ledger."),
    ] = None,
    records: Annotated[
        list[str] | None, typer.Option("--records", metavar="[TARGET=]N", help="Live records. By the ledger.")
    ] = None,
    batch_cost: Annotated[
        list[str] | None,
        typer.Option("--batch-cost", metavar="[TARGET=]TIME", help="Of a whole batch, such as 4ms. By the ledger."),
    ] = None,
    memory: Annotated[
        list[str] | None,
        typer.Option("--memory", metavar="[TARGET=]SIZE", help="PostgreSQL's shared_buffers. 128MB."),
    ] = None,
    pause: Annotated[str | None, typer.Option("--pause", metavar="TIME", help="What if it were so long?")] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, max=1000, help="What if it were so many?")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=10_000, help="What if there were so many?")
    ] = None,
    length: Annotated[str | None, typer.Option("--for", metavar="TIME", help="How long at most. 7d.")] = None,
    once: Annotated[
        str | None,
        typer.Option("--once", metavar="PASS", autocompletion=completing.passes, help="One run of it, now."),
    ] = None,
    recommend: Annotated[bool, typer.Option("--recommend", help="Find the longest pause, the fewest workers.")] = False,
    chart: Annotated[bool, typer.Option("--chart", help="Show how the backlog goes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/simulate.md).")] = False,
    seed: Annotated[int, typer.Option("--seed", show_default=False, help="Of sizes that are not alike.")] = 0,
    schema: Annotated[
        bool, typer.Option("--schema", hidden=True, help="Print the JSON schema of scenario files.")
    ] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Say whether cleaning will keep up, and which settings do, by past passes. Asks no store. Exits with 1 when
    something falls behind.

    \b
    Examples:
      cleanup-pipeline simulate --arrivals web_sessions=500/s --recommend
      cleanup-pipeline simulate examples/scenario.yaml --chart
    """
    if schema:
        from cleanup_pipeline.simulation.scenario_schema import schema_text

        typer.echo(schema_text(), nl=False)
        return
    said = {
        "rate": arrivals, "backlog": backlog, "records": records, "batch_seconds": batch_cost, "memory": memory,
    }  # fmt: skip
    if scenario_file is not None and any(said.values()):
        raise UsageError(
            "--arrivals, --backlog, --records, --batch-cost and --memory are for settings; change the scenario file"
        )
    scenario = _of_file(scenario_file, seed) if scenario_file else _of_settings(settings_file, said)
    scenario = _changed(scenario, pause, batch_size, workers, length)
    if once is not None:
        _show_once(scenario, once, as_json=as_json)
        return
    _show(scenario, recommend=recommend, chart=chart, as_json=as_json)


def _show(scenario: "Scenario", *, recommend: bool, chart: bool, as_json: bool) -> None:
    from cleanup_pipeline.cli import simulate_show as show
    from cleanup_pipeline.cli.show import complain, console
    from cleanup_pipeline.simulation.recommend import Choice, choices
    from cleanup_pipeline.simulation.simulate import simulate as run

    outcome = run(scenario)
    found: list[Choice] = []
    if recommend:
        quiet = as_json or not console().is_terminal
        found = list(choices(scenario, (lambda _: None) if quiet else lambda what: complain(f"trying {what} ...")))
    if as_json:
        typer.echo(json.dumps(show.document(scenario, outcome, found if recommend else None)))
    else:
        show.show(console(), scenario, outcome, chart=chart)
        if recommend:
            show.show_choices(console(), scenario, found)
    if not outcome.keeps_up:
        raise typer.Exit(1)


def _show_once(scenario: "Scenario", pass_name: str, *, as_json: bool) -> None:
    from cleanup_pipeline.cli import simulate_show as show
    from cleanup_pipeline.cli.show import console
    from cleanup_pipeline.simulation.simulate import simulate_once

    if pass_name not in {each.name for each in scenario.passes}:
        known = ", ".join(each.name for each in scenario.passes)
        raise UsageError(f"--once: there is no pass {pass_name} with targets to delete from, there are {known}")
    single = simulate_once(scenario, pass_name)
    if as_json:
        typer.echo(json.dumps(show.once_document(scenario, pass_name, single)))
    else:
        show.show_once(console(), scenario, pass_name, single)
    if single.left:
        raise typer.Exit(1)


def _of_file(path: Path, seed: int) -> "Scenario":
    from cleanup_pipeline.simulation.scenario_file import ScenarioError, read_scenario

    try:
        return read_scenario(path, seed=seed)
    except ScenarioError as fault:
        raise UsageError(str(fault)) from None


def _of_settings(path: Path | None, said: dict[str, list[str] | None]) -> "Scenario":
    from cleanup_pipeline.cli.home import settings_for
    from cleanup_pipeline.simulation.document import parse_rate
    from cleanup_pipeline.simulation.from_settings import Said, UnknownError, scenario_of

    settings = settings_for(path)
    names = [each.name for each in settings.targets]
    read: dict[str, tuple[str, Callable[[str], float], str]] = {
        "rate": ("--arrivals", parse_rate, "a rate such as 200/s"),
        "backlog": ("--backlog", _number, "a number of records"),
        "records": ("--records", _number, "a number of records"),
        "batch_seconds": ("--batch-cost", _seconds, "a time such as 4ms"),
        "memory": ("--memory", _bytes, "a size such as 512MB"),
    }
    given = {
        key: _by_target(said[key] or [], names, option, accept, wanted)
        for key, (option, accept, wanted) in read.items()
    }
    for each in settings.targets:
        if each.store_type is not StoreType.POSTGRES and any(
            text.startswith(f"{each.name}=") for text in said["memory"] or []
        ):
            raise UsageError(f"--memory: {each.name} is in {each.store_type}; it is of PostgreSQL's tables alone")
    by_target = {name: Said(**{key: values.get(name) for key, values in given.items()}) for name in names}
    now = datetime.now(UTC)
    try:
        return scenario_of(settings, _seen(now), now, said=by_target)
    except UnknownError as fault:
        raise UsageError(str(fault)) from None


def _seen(now: datetime) -> "Sequence[SeenPass]":
    """What the ledger knows; nothing where there is none."""
    from cleanup_pipeline.cli.ledger_place import ledger_url
    from cleanup_pipeline.cli.report import missing
    from cleanup_pipeline.ledger import LedgerError, open_ledger
    from cleanup_pipeline.ledger.seen import seen_passes

    url = ledger_url()
    if missing(url):
        return []
    try:
        ledger = open_ledger(url)
        try:
            return seen_passes(ledger, now - LOOK_BACK)
        finally:
            ledger.close()
    except LedgerError as fault:
        raise UsageError(str(fault)) from None


def _by_target(
    texts: Sequence[str], names: Sequence[str], option: str, accept: Callable[[str], float], wanted: str
) -> dict[str, float]:
    """What an option says of each target; without a name it is about each of those that no other one names."""
    found: dict[str, float] = {}
    everywhere: float | None = None
    for text in texts:
        name, sign, value = text.rpartition("=")
        if sign and name not in names:
            raise UsageError(f"{option}: there is no target {name}, the targets are {', '.join(names)}")
        amount = _accepted(value, option, accept, f"{wanted}, or TARGET={value or '...'}")
        if sign:
            found[name] = amount
        else:
            everywhere = amount
    return found if everywhere is None else {**dict.fromkeys(names, everywhere), **found}


def _accepted(text: str, option: str, accept: Callable[[str], _T], wanted: str) -> _T:
    try:
        return accept(text)
    except ValueError:
        raise UsageError(f"{option}: found {text!r}, expected {wanted}") from None


def _number(text: str) -> float:
    amount = int(text.replace(",", "").replace("_", ""))
    if amount < 0:
        raise ValueError("below zero")
    return float(amount)


def _seconds(text: str) -> float:
    """More than nothing."""
    found = parse_duration(text).total_seconds()
    if found <= 0:
        raise ValueError("not above zero")
    return found


def _bytes(text: str) -> float:
    from pydantic import ByteSize, TypeAdapter

    # In powers of two, as PostgreSQL reads the same words.
    return float(TypeAdapter(ByteSize).validate_python(re.sub(r"(?i)([kmgt])b$", r"\1iB", text.strip())))


def _changed(
    scenario: "Scenario", pause: str | None, batch_size: int | None, workers: int | None, length: str | None
) -> "Scenario":
    from cleanup_pipeline.simulation.recommend import with_settings

    rest = None
    if pause is not None:
        rest = _accepted(pause, "--pause", parse_duration, "a time such as 10ms, or 0").total_seconds()
        if not 0 <= rest <= 300:
            raise UsageError(f"--pause: found {pause}, expected 0 to 5m")
    changed = with_settings(scenario, workers=workers, batch_size=batch_size, pause=rest)
    if length is None:
        return changed
    return replace(changed, days=_accepted(length, "--for", _seconds, "a time such as 7d") / 86_400)
