"""The program `cleanup-pipeline`: its commands, and what its exit codes mean.

0 done, 1 failed or partial, 2 wrong settings or usage, 130 stopped by Ctrl-C or SIGTERM.
"""

import logging
import os
import sys
import warnings

import typer

from cleanup_pipeline import __version__
from cleanup_pipeline.cli.commands import OPTIONS, Commands
from cleanup_pipeline.cli.errors import UsageError, storage_fault
from cleanup_pipeline.cli.stopping import STOPPED, Stopped, end_on_signals

_HELP = """Removes expired sessions and tokens from Redis, PostgreSQL and MongoDB while they serve live logins.
Exit codes: 0 done, 1 failed or partial, 2 wrong settings or usage, 130 stopped.

\b
Examples:
  cleanup-pipeline demo
  cleanup-pipeline init && cleanup-pipeline check && cleanup-pipeline plan
"""

app = typer.Typer(
    name="cleanup-pipeline", cls=Commands, help=_HELP, no_args_is_help=True, add_completion=True, **OPTIONS
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cleanup-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Options that stand before a command."""


def main() -> None:
    """Run the command line and exit with its code."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    warnings.simplefilter("ignore")
    # What it warns of, such as a connection that was cut in the middle of a batch, the pass reports in its own words.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    end_on_signals()
    try:
        app()
    except Stopped:
        _complain("stopped")
        sys.exit(STOPPED)
    except Exception as fault:
        from cleanup_pipeline.ledger import LedgerError
        from cleanup_pipeline.settings import SettingsError

        if not isinstance(fault, SettingsError | UsageError | LedgerError):
            told = storage_fault(fault)
            if told is None:
                raise
            _complain(told)
            sys.exit(1)
        _complain(str(fault))
        sys.exit(2)


def _complain(line: str) -> None:
    from cleanup_pipeline.cli.show import complain

    complain(line)


if __name__ == "__main__":
    main()
