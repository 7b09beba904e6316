"""`cleanup-pipeline schema`: what cleanup.yaml can hold, for editors."""

from pathlib import Path

import typer


def schema() -> None:
    """Print the JSON schema of cleanup.yaml, by which editors complete and check it.

    `init` and `layouts new` write it to .cleanup/ beside the settings file and name it in that file's first line, for
    editors that speak to yaml-language-server. What a command says of a file counts more: the schema is looser.

    \b
    Examples:
      cleanup-pipeline schema > cleanup.schema.json
    """
    from cleanup_pipeline.settings.json_schema import schema_text

    typer.echo(schema_text(), nl=False)


def write_schema(settings_file: Path) -> None:
    """Put it where the first line of a settings file says; a folder that cannot be written to is no fault."""
    from cleanup_pipeline.settings.json_schema import FILE, schema_text

    place = settings_file.parent / FILE
    try:
        place.parent.mkdir(exist_ok=True)
        place.write_text(schema_text(), encoding="utf-8")
    except OSError:
        typer.echo(f"{place} cannot be written; without it, an editor only warns that it has no schema", err=True)
