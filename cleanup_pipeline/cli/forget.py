"""`cleanup-pipeline forget`: everything that is kept of somebody's removed records, erased, with proof."""

import getpass
import json
import platform
from datetime import UTC, datetime
from typing import Annotated

import typer

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import settings_for
from cleanup_pipeline.cli.keeping import state_folder
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.keeping.forgetting import Forgotten, forget_owner
from cleanup_pipeline.keeping.opening import asking, reading
from cleanup_pipeline.keeping.places import PlaceError
from cleanup_pipeline.ledger import LedgerError, open_ledger
from cleanup_pipeline.ledger.keepings import ErasureRow


def forget(
    owner: Annotated[str, typer.Option("--owner", help="Whose: a user's id, as the stores have it. - reads it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Erase what the removal ledger and the quarantine have of an owner, in all targets.

    The ledger keeps how many entries went and a digest of them, and not whose they were. Exits with 1 where something
    could not be erased: entries under a key that is not set, or of a pass that is under way, or a damaged file.

    \b
    Examples:
      cleanup-pipeline forget --owner 4711
      echo 4711 | cleanup-pipeline forget --owner -
    """
    settings = settings_for(settings_file)
    if not settings.removals.keys and not settings.quarantine.keys:
        raise UsageError("no key is set: see CLEANUP_REMOVAL_KEY and CLEANUP_QUARANTINE_KEY")
    wanted = typer.get_text_stream("stdin").readline().rstrip("\n") if owner == "-" else owner
    try:
        state = state_folder()
        # Opened first: without a place for the proof nothing is erased.
        ledger = open_ledger(ledger_url())
        try:
            done = forget_owner(asking(settings.removals, state), reading(settings.quarantine, state), wanted)
            by = f"{getpass.getuser()}@{platform.node()}"
            row = ErasureRow(datetime.now(UTC), by, done.entries, done.digest, done.quarantined)
            proof = ledger.keepings.add_erasure(row)
        finally:
            ledger.close()
    except (PlaceError, LedgerError) as fault:
        complain(str(fault))
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(_document(done, proof)))
    else:
        _show(done, proof)
    if done.lost_keys or done.busy or done.faults:
        raise typer.Exit(1)


def _document(done: Forgotten, proof: str) -> dict[str, object]:
    return {
        "entries": done.entries,
        "quarantined": done.quarantined,
        "digest": done.digest,
        "not_searched": list(done.lost_keys),
        "under_way": list(done.busy),
        "faults": list(done.faults),
        "proof": proof,
    }


def _show(done: Forgotten, proof: str) -> None:
    out = console()
    out.print(f"erased {done.entries:,} entries of the removal ledger, {done.quarantined:,} records of the quarantine")
    out.print(f"proof {proof} in the ledger, SHA-256 of what went:\n{done.digest}", highlight=False)
    if done.lost_keys:
        complain(f"✗ not searched: what was written under key {', '.join(done.lost_keys)}, which is not set")
    if done.busy:
        runs = ", ".join(run[:8] for run in done.busy)
        complain(f"✗ not searched: what run {runs} keeps, which is under way; do this again when it is over")
    for fault in done.faults:
        complain(f"✗ not searched: {fault}")
