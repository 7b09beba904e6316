"""`cleanup-pipeline why`: what became of a record, or of somebody's records, as far as the removal ledger goes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.keeping import known_target, state_folder, with_ledger
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.keeping.asking import Answer
from cleanup_pipeline.keeping.opening import asking
from cleanup_pipeline.keeping.places import PlaceError
from cleanup_pipeline.keeping.segments import Entry
from cleanup_pipeline.ledger.keepings import Unrecorded
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.target import Target

MOST_SHOWN = 20


def why(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target that the record was one of.")],
    identifier: Annotated[str | None, typer.Option("--id", help="The record: its key, as the store has it.")] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="Whose records: a user's id, as the store has it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Say when a record was removed, by which pass and rule, and since when it had been expired.

    For targets with `removal_ledger: true`. `--id -` and `--owner -` read it from standard input, so that it is in no
    list of processes and no history of a shell. Exits with 0 when it was removed, with 1 when nothing is known of it.

    \b
    Examples:
      cleanup-pipeline why django_sessions --id 3k1vbq0s9zx8
      cleanup-pipeline why refresh_tokens --owner 4711 --json
    """
    if (identifier is None) == (owner is None):
        raise UsageError("say --id or --owner")
    settings = settings_for(settings_file)
    asked = known_target(settings, target)
    if not settings.removals.keys:
        raise UsageError("no key is set: the removal ledger can only be asked with CLEANUP_REMOVAL_KEY")
    wanted = _wanted(identifier if identifier is not None else owner or "")
    try:
        ledger = asking(settings.removals, state_folder())
        answer = ledger.by_owner(target, wanted) if owner is not None else ledger.by_id(target, wanted)
    except PlaceError as fault:
        complain(str(fault))
        raise typer.Exit(1) from None
    unrecorded = with_ledger(lambda opened: opened.keepings.unrecorded(target))
    if as_json:
        typer.echo(json.dumps(document(asked, answer, unrecorded)))
    else:
        _show(asked, answer, unrecorded, of_owner=owner is not None)
    if not answer.entries:
        raise typer.Exit(1)


def _wanted(given: str) -> str:
    return typer.get_text_stream("stdin").readline().rstrip("\n") if given == "-" else given


def document(target: Target, answer: Answer, unrecorded: Unrecorded | None) -> dict[str, Any]:
    """The answer as JSON. None: unknown."""
    return {
        "target": target.name,
        "removed": [_entry(entry) for entry in answer.entries],
        "known_since": answer.since.isoformat() if answer.since else None,
        "not_searched": list(answer.lost_keys),
        "cut_off": [{"run": each.run, "began": each.began.isoformat()} for each in answer.cut_off],
        "without_entry": None
        if unrecorded is None
        else {
            "records": unrecorded.records,
            "from": unrecorded.first.isoformat(),
            "to": unrecorded.last.isoformat(),
        },
    }


def _entry(entry: Entry) -> dict[str, Any]:
    origin = entry.origin
    return {
        "at": _instant(entry.at).isoformat(),
        "expired": None if entry.died is None else _instant(entry.died / 1000).isoformat(),
        "pass": origin["pass"],
        "run": origin["run"],
        "kind": origin["kind"],
        "layout": origin["layout"] or None,
        "rule": origin["rule"],
        "cutoff": _instant(origin["cutoff"]).isoformat(),
        "grace_seconds": origin["grace"],
        "did": origin["did"],
        "certain": not entry.perhaps,
    }


def _show(target: Target, answer: Answer, unrecorded: Unrecorded | None, *, of_owner: bool) -> None:
    out = console()
    for entry in answer.entries[:MOST_SHOWN]:
        for line in _lines(entry):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(answer.entries) > MOST_SHOWN:
        out.print(f"and {len(answer.entries) - MOST_SHOWN:,} more; --json has them all")
    if not answer.entries:
        what = "records of this owner" if of_owner else "this record"
        known = f", as far back as {answer.since:%Y-%m-%d %H:%M} UTC" if answer.since else ""
        out.print(f"{what}: not by this pipeline{known}", highlight=False)
        if answer.since is None:
            out.print("its removal ledger is empty", highlight=False)
    for line in _doubts(target, answer, unrecorded):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(entry: Entry) -> list[str]:
    origin = entry.origin
    at = _instant(entry.at)
    did = "emptied" if origin["did"] == "emptied" else "removed"
    doubt = ", by it or by the application at the same moment" if entry.perhaps else ""
    lines = [f"{did} {at:%Y-%m-%d %H:%M:%S} UTC by pass {origin['pass']}, run {origin['run']}{doubt}"]
    if entry.died is not None:
        died = _instant(entry.died / 1000)
        late = format_duration(timedelta(seconds=max(0, int((at - died).total_seconds()))))
        lines.append(f"  expired  since {died:%Y-%m-%d %H:%M:%S} UTC, {late} before")
    else:
        lines.append("  expired  when what it belongs to was gone; it has no time of its own")
    grace = f", {format_duration(timedelta(seconds=origin['grace']))} of grace" if origin["grace"] else ""
    by = f"layout {origin['layout']}" if origin["layout"] else f"rule {origin['rule']}"
    lines.append(
        f"  rule     {origin['kind']} of {by}{grace}; cutoff {_instant(origin['cutoff']):%Y-%m-%d %H:%M:%S} UTC"
    )
    return lines


def _doubts(target: Target, answer: Answer, unrecorded: Unrecorded | None) -> list[str]:
    doubts = []
    if answer.lost_keys:
        keys = ", ".join(answer.lost_keys)
        doubts.append(f"! not searched: entries under key {keys}, which is not in CLEANUP_REMOVAL_KEY")
    doubts += [
        f"! run {each.run} began at {each.began:%Y-%m-%d %H:%M} UTC and is under way or was cut off:"
        " its last entries may be missing"
        for each in answer.cut_off
    ]
    if unrecorded is not None:
        doubts.append(
            f"! {unrecorded.records:,} records went without an entry between {unrecorded.first:%Y-%m-%d %H:%M}"
            f" and {unrecorded.last:%Y-%m-%d %H:%M} UTC, when it was off"
        )
    if not target.removals:
        doubts.append(f"! targets.{target.name}.removal_ledger is off now")
    return doubts


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
