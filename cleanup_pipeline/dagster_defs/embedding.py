"""The passes as a part of another Dagster project: `cleanup_pipeline.build_cleanup_definitions`.

Names are chosen so that merging with what the project has is no matter (names.EMBEDDED); what still collides Dagster
refuses to load. Does not belong here: YAML of a component (component.py).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.settings.given import MAPPING, document_of
from cleanup_pipeline.settings.load import settings_of


def build_cleanup_definitions(settings: Settings | Mapping[str, Any] | str | os.PathLike[str]) -> dg.Definitions:
    """Jobs, schedules, sensors, assets and asset checks of the passes, to be merged with a project's own.

    `settings` is the path of a settings file, or a mapping with the sections of one, in which `${VAR}` is put in and
    names of files are relative to the working folder; the environment wins over both. Or settings that were loaded.
    Connects to nothing. Raises SettingsError with every fault in them.
    """
    if isinstance(settings, Settings):
        found = settings
    elif isinstance(settings, Mapping):
        found = settings_of(document_of(settings), Path(), MAPPING, os.environ)
    else:
        # A run is a process of its own, in whatever folder.
        found = load_settings(Path(settings).resolve())
    return build_defs(found, embedded=True)
