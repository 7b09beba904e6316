"""`cleanup-pipeline run`: one pass, now, in this process."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cleanup_pipeline.cli import completing
from cleanup_pipeline.cli.home import dagster_home, known_pass, settings_for
from cleanup_pipeline.cli.progress import progress
from cleanup_pipeline.cli.sending import send_metrics
from cleanup_pipeline.cli.show import console, show_report
from cleanup_pipeline.cli.stopping import raise_if_interrupted
from cleanup_pipeline.model.words import PassStatus

SettingsOption = Annotated[
    Path | None,
    typer.Option("--settings", "-s", help="The settings file. Default: $CLEANUP_SETTINGS or ./cleanup.yaml."),
]
PassArgument = Annotated[
    str,
    typer.Argument(
        metavar="PASS", autocompletion=completing.passes, help="The pass, such as sessions or verification_tokens."
    ),
]


def run(
    pass_name: PassArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and report; delete nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (docs/json.md) and nothing else.")
    ] = False,
    settings_file: SettingsOption = None,
) -> None:
    """Run a pass over all its targets, and report.

    Exits with 0 when every target is clean, with 1 when the pass failed or is partial, with 2 when settings or usage
    are wrong. Ctrl-C stops it; the next pass goes on with what is left.

    \b
    Examples:
      cleanup-pipeline run sessions --dry-run
      cleanup-pipeline run verification_tokens
      cleanup-pipeline run sessions --json | jq .status
    """
    settings = settings_for(settings_file)
    name = known_pass(settings, pass_name)
    # Dagster takes a second to import: wrong settings and usage are answered before.
    from cleanup_pipeline.dagster_defs.launch import instance_at, run_pass
    from cleanup_pipeline.reporting.codec import pass_document

    with instance_at(dagster_home()) as instance:
        with progress(quiet=as_json):
            report = run_pass(settings, name, instance=instance, dry_run=dry_run)
        if as_json:
            typer.echo(json.dumps(pass_document(report)))
        else:
            show_report(console(), report)
        send_metrics(settings, instance)
        raise_if_interrupted(instance, report.run_id)
    if report.status in {PassStatus.FAILED, PassStatus.PARTIAL}:
        raise typer.Exit(1)
