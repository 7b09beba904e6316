"""`cleanup-pipeline why`: what became of a record, or of somebody's records, as far as the removal ledger goes."""

import json
from typing import Annotated

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.keeping import known_target, state_folder, with_ledger
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.keeping.asking import Answer, Asking
from cleanup_pipeline.keeping.opening import asking
from cleanup_pipeline.keeping.period import Period, around, read_time
from cleanup_pipeline.keeping.places import Folder, PlaceError
from cleanup_pipeline.ledger.keepings import Unrecorded
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.reporting import why as answers
from cleanup_pipeline.settings import Settings

MOST_SHOWN = 20


def why(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target that the record was one of.")],
    identifier: Annotated[str | None, typer.Option("--id", help="The record: its key, as the store has it.")] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="Whose records: a user's id, as the store has it.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="What went around then, UTC: 2026-11-26T14:03.")
    ] = None,
    within: Annotated[str, typer.Option("--within", metavar="TIME", help="How long before and after --at.")] = "5m",
    as_hash: Annotated[
        bool, typer.Option("--hash", help="Print the hash that the job `why` in the UI takes; ask nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Say when a record was removed, by which pass and rule, and since when it had been expired.

    For targets with `removal_ledger: true`. `--id -` and `--owner -` read it from standard input, so that it is in no
    list of processes and no history of a shell. `--at` needs neither, and says what passes removed around that time.
    Exits with 0 when something was removed, with 1 when nothing is known of it.

    \b
    Examples:
      cleanup-pipeline why django_sessions --id 3k1vbq0s9zx8
      cleanup-pipeline why refresh_tokens --owner 4711 --json
      cleanup-pipeline why refresh_tokens --at 2026-11-26T14:03
    """
    if sum(each is not None for each in (identifier, owner, at)) != 1:
        raise UsageError("say --id, --owner or --at")
    settings = settings_for(settings_file)
    asked = known_target(settings, target)
    if at is not None:
        if as_hash:
            raise UsageError("--hash is of an --id or an --owner")
        _around(settings, asked, at, within, as_json=as_json)
        return
    if not settings.removals.keys:
        raise UsageError("no key is set: the removal ledger can only be asked with CLEANUP_REMOVAL_KEY")
    wanted = _wanted(identifier if identifier is not None else owner or "")
    if as_hash:
        nowhere = Asking(Folder(None), settings.removals.keys)
        hashed = nowhere.hash_of_owner(wanted) if owner is not None else nowhere.hash_of_id(target, wanted)
        typer.echo(hashed)
        return
    try:
        ledger = asking(settings.removals, state_folder())
        answer = ledger.by_owner(target, wanted) if owner is not None else ledger.by_id(target, wanted)
    except PlaceError as fault:
        complain(str(fault))
        raise typer.Exit(1) from None
    unrecorded = with_ledger(lambda opened: opened.keepings.unrecorded(target))
    if as_json:
        typer.echo(json.dumps(answers.document(asked, answer, unrecorded)))
    else:
        _show(asked, answer, unrecorded, of_owner=owner is not None)
    if not answer.entries:
        raise typer.Exit(1)


def _around(settings: Settings, target: Target, at: str, within: str, *, as_json: bool) -> None:
    try:
        when = read_time(at, within)
    except ValueError as fault:
        raise UsageError(f"--{fault}") from None
    try:
        period = around(asking(settings.removals, state_folder()), target.name, *when)
    except PlaceError as fault:
        complain(str(fault))
        raise typer.Exit(1) from None
    unrecorded = with_ledger(lambda opened: opened.keepings.unrecorded(target.name))
    if as_json:
        typer.echo(json.dumps(answers.period_document(target, period, unrecorded)))
    else:
        _show_period(target, period, unrecorded)
    if not period.parts:
        raise typer.Exit(1)


def _wanted(given: str) -> str:
    return typer.get_text_stream("stdin").readline().rstrip("\n") if given == "-" else given


def _show(target: Target, answer: Answer, unrecorded: Unrecorded | None, *, of_owner: bool) -> None:
    out = console()
    for entry in answer.entries[:MOST_SHOWN]:
        for line in answers.lines(entry):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(answer.entries) > MOST_SHOWN:
        out.print(f"and {len(answer.entries) - MOST_SHOWN:,} more; --json has them all")
    if not answer.entries:
        what = "records of this owner" if of_owner else "this record"
        for line in answers.nothing(what, "not by this pipeline", answer.since):
            out.print(line, highlight=False, soft_wrap=True)
    for line in answers.doubts(target, answer, unrecorded):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _show_period(target: Target, period: Period, unrecorded: Unrecorded | None) -> None:
    out = console()
    for part in period.parts:
        for line in answers.part_lines(part):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if not period.parts:
        for line in answers.nothing(answers.span(period), "nothing by this pipeline", period.since):
            out.print(line, highlight=False, soft_wrap=True)
    for line in answers.doubts(target, period, unrecorded):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
