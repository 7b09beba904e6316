"""Which settings and which Dagster instance a command works on.

Everything that the product writes by itself lies in `.cleanup/` under the working folder.
"""

import os
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from cleanup_pipeline.cli.errors import UsageError

if TYPE_CHECKING:
    # Not every command reads settings, and loading their schema takes a third of a second.
    from cleanup_pipeline.settings import Settings

STATE = Path(".cleanup")
SETTINGS_VARIABLE = "CLEANUP_SETTINGS"
URL_VARIABLES = ("CLEANUP_POSTGRES_URL", "CLEANUP_REDIS_URL", "CLEANUP_MONGO_URL")


def settings_for(path: Path | None) -> "Settings":
    """The settings of a command, and of every process it starts. Raises SettingsError or UsageError."""
    from cleanup_pipeline.settings import load_settings

    if path is not None:
        os.environ[SETTINGS_VARIABLE] = str(path.resolve())
    settings = load_settings(path)
    if not settings.stores:
        raise UsageError(
            f"nothing to clean: there is no cleanup.yaml in this folder and none of {', '.join(URL_VARIABLES)} is set;"
            " write one (see examples/cleanup.yaml), name one with --settings,"
            " or try `cleanup-pipeline demo`, which needs neither"
        )
    return settings


def known_pass(settings: "Settings", name: str) -> str:
    """The pass that `name` means; its job's name is understood too. Raises UsageError for any other."""
    plain = name.removeprefix("clean_")
    if plain in settings.passes:
        return plain
    close = get_close_matches(plain, settings.passes, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"there is no pass {name}, the passes are {', '.join(settings.passes)}{hint}")


def dagster_home() -> Path:
    """The folder of the dagster.yaml to use: $DAGSTER_HOME, this folder if it has one, else one made in `.cleanup/`."""
    named = os.environ.get("DAGSTER_HOME")
    if named:
        if not Path(named).is_dir():
            raise UsageError(f"DAGSTER_HOME: found {named}, which is no folder; make it, or unset the variable")
        return Path(named)
    if Path("dagster.yaml").exists():
        return Path.cwd()
    return _shipped("dagster.yaml").parent


def workspace() -> Path:
    """The workspace file to use: this folder's, else one made in `.cleanup/`."""
    here = Path("workspace.yaml")
    return here if here.exists() else _shipped("workspace.yaml")


def _shipped(name: str) -> Path:
    if STATE.exists() and not STATE.is_dir():
        raise UsageError(f"{STATE}: found a file, expected a folder for the history of runs; move it away")
    STATE.mkdir(exist_ok=True)
    made = STATE / name
    made.write_text(files("cleanup_pipeline.cli").joinpath(name).read_text(encoding="utf-8"), encoding="utf-8")
    return made
