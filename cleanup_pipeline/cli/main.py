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
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.stopping import STOPPED, Stopped, end_on_signals

_HELP = """Removes expired sessions and tokens from Redis, PostgreSQL and MongoDB while they serve live logins.

\b
First time here:
  cleanup-pipeline demo             servers and sample data of its own
On your stores, with a cleanup.yaml or CLEANUP_*_URL variables:
  cleanup-pipeline init             write a cleanup.yaml for what is there
  cleanup-pipeline check            what stands in the way
  cleanup-pipeline plan sessions    look
  cleanup-pipeline apply PLAN       delete what that plan covers, once
  cleanup-pipeline run sessions     delete, once
  cleanup-pipeline up               delete on schedule, with a UI
  cleanup-pipeline backfill         clean an old backlog window by window
  cleanup-pipeline retry            repeat what a red pass left undone
  cleanup-pipeline release-brake    what holds targets back, and let go
  cleanup-pipeline pause --all      stop deleting, now, until `resume`
  cleanup-pipeline why TARGET       who removed this record, and when
  cleanup-pipeline undo             put back what a run removed
  cleanup-pipeline report           what was removed, and what is left
  cleanup-pipeline metrics          serve figures to Prometheus
  cleanup-pipeline witness          is everything gone that ought to be

\b
Exit codes: 0 done, 1 failed or partial, 2 wrong settings or usage,
130 stopped.
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
        from cleanup_pipeline.settings import SettingsError

        if not isinstance(fault, SettingsError | UsageError):
            raise
        _complain(str(fault))
        sys.exit(2)


def _complain(line: str) -> None:
    from cleanup_pipeline.cli.show import complain

    complain(line)


if __name__ == "__main__":
    main()
