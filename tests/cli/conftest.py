"""The real program in a folder of its own, with an environment that holds no setting but those of the test."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import forked

Ran = subprocess.CompletedProcess[str]
Program = Callable[..., Ran]
COMMAND = [str(Path(sys.executable).parent / "cleanup-pipeline")]


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of ours or of Dagster's, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLEANUP_", "DAGSTER_"))}
    return {**kept, "COLUMNS": "80", **more}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Run `cleanup-pipeline ARGUMENTS` in `tmp_path`, with `settings` as its cleanup.yaml and further variables."""

    def _run(*arguments: str, settings: str | None = None, **variables: str) -> Ran:
        if settings is not None:
            (tmp_path / "cleanup.yaml").write_text(settings, encoding="utf-8")
        ran = forked.run(COMMAND[0], list(arguments), tmp_path, clean_environment(**variables))
        assert "Traceback" not in ran.stdout + ran.stderr, ran.stderr
        assert "\x1b" not in ran.stdout + ran.stderr
        return ran

    return _run
