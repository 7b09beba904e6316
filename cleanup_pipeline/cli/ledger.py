"""`cleanup-pipeline ledger`: the record of passes into a file, and back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cleanup_pipeline.cli.commands import OPTIONS
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.show import console

_HELP = """Back up the record of passes; put it back, also into another database.

\b
Examples:
  cleanup-pipeline ledger backup ledger-2026-11-26.db
  CLEANUP_LEDGER_URL=postgresql://... \\
    cleanup-pipeline ledger restore ledger-2026-11-26.db
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, **OPTIONS)
_DATED = "ledger-????????T??????Z.db"


@app.command()
def backup(
    place: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, or a folder: a dated one in it.")],
    keep: Annotated[int | None, typer.Option(min=1, help="With a folder: how many dated ones stay.")] = None,
) -> None:
    """Write the ledger to a new file; passes may go on.

    The file shows one instant. It holds the key that plans are hashed with: keep it like a password.

    \b
    Examples:
      cleanup-pipeline ledger backup ledger.db
      cleanup-pipeline ledger backup /backups --keep 7
    """
    if keep is not None and not place.is_dir():
        raise UsageError(f"--keep: {place} is no folder; name one, or leave --keep out")
    from cleanup_pipeline.ledger import LedgerError
    from cleanup_pipeline.ledger.backup import back_up

    file = place / f"ledger-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db" if place.is_dir() else place

    try:
        made = back_up(ledger_url(), file)
    except LedgerError as fault:
        raise UsageError(str(fault)) from None
    console().print(f"{file}: {made.passes:,} passes, {made.rows:,} rows, {made.size / 1e6:,.1f} MB", markup=False)
    if keep is not None:
        for old in sorted(place.glob(_DATED))[:-keep]:
            old.unlink()


@app.command()
def restore(file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")]) -> None:
    """Put a backup into an empty ledger: all of it, or nothing.

    Stop the daemon first. A backup of an older version is brought up to this one.

    \b
    Examples:
      cleanup-pipeline ledger restore ledger.db
    """
    from cleanup_pipeline.ledger import LedgerError
    from cleanup_pipeline.ledger.backup import restore as put_back

    try:
        done = put_back(file, ledger_url())
    except LedgerError as fault:
        raise UsageError(str(fault)) from None
    console().print(f"{done.passes:,} passes, {done.rows:,} rows are back from {file}", markup=False)
