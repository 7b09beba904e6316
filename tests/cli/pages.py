"""Pages of docs as they stand there: their blocks, and what their commands print."""

import re
import shlex
from collections.abc import Iterator

from typer.testing import CliRunner

from cleanup_pipeline.cli.main import app


def blocks(text: str, *languages: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page, each with its language; those of some languages alone where they are named."""
    for language, content in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if not languages or language in languages:
            yield language, content


def type_in(line: str, *, settings: str | None = None) -> str:
    """What a command of the page prints. `settings` is what CLEANUP_SETTINGS says, which `run` and its steps go by."""
    program, *arguments = shlex.split(line)
    assert program == "cleanup-pipeline"
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"CLEANUP_SETTINGS": settings})
    assert result.exit_code == 0, result.output
    return result.output
