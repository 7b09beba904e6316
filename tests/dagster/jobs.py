"""A job that Dagster can find again by name, for tests that re-execute a run."""

from pathlib import Path

import dagster as dg

from cleanup_pipeline.dagster_defs.build import build_defs
from cleanup_pipeline.settings import load_settings


def sessions_job(settings: str) -> dg.JobDefinition:
    """The `sessions` pass of a settings file."""
    return build_defs(load_settings(Path(settings))).resolve_job_def("clean_sessions")
