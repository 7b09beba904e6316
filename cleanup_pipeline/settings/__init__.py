"""cleanup.yaml and environment variables as validated, frozen settings."""

from cleanup_pipeline.model.durations import format_duration, parse_duration
from cleanup_pipeline.settings.faults import Fault, SettingsError
from cleanup_pipeline.settings.load import load_settings
from cleanup_pipeline.settings.settings import PassSettings, Settings

__all__ = [
    "Fault",
    "PassSettings",
    "Settings",
    "SettingsError",
    "format_duration",
    "load_settings",
    "parse_duration",
]
