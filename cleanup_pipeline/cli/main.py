"""The program `cleanup-pipeline`: its commands, and what its exit codes mean.

0 done, 1 failed or partial, 2 wrong settings or usage, 130 stopped by Ctrl-C.
"""

import os
import sys
import warnings

import typer

from cleanup_pipeline import __version__
from cleanup_pipeline.cli import demo, plan, run, up
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.show import complain
from cleanup_pipeline.settings import SettingsError

app = typer.Typer(
    name="cleanup-pipeline",
    help="Removes expired sessions and tokens from Redis, PostgreSQL and MongoDB while they serve live logins.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("up")(up.up)
app.command("demo")(demo.demo)


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
    try:
        app()
    except SettingsError as fault:
        complain(str(fault))
        sys.exit(2)
    except UsageError as fault:
        complain(str(fault))
        sys.exit(2)
    except KeyboardInterrupt:
        complain("stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
