"""Where the ledger is, without opening Dagster, which takes a second: for commands that read nothing else.

It is what `dagster_defs.resources.ledger_url` says of the instance that the other commands use; a test compares them.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import dagster_home
from cleanup_pipeline.ledger.connect import SETTING
from cleanup_pipeline.ledger.database import database_url
from cleanup_pipeline.ledger.faults import LedgerError

_FILE = "cleanup-ledger.db"
_OLDER = ("run_storage", "event_log_storage", "schedule_storage")
"""In place of `storage`, as Dagster's own chart still writes it."""
_OF_DAGSTER = ("dagster._core.storage.root", "LocalArtifactStorage")


def ledger_url() -> str:
    """What CLEANUP_LEDGER_URL says, else the database of CLEANUP_DAGSTER_POSTGRES_URL, else where dagster.yaml says.

    Raises UsageError.
    """
    try:
        named = os.environ.get(SETTING) or database_url()
    except LedgerError as fault:
        raise UsageError(str(fault)) from None
    if named:
        return named
    home = dagster_home().resolve()
    folder = folder_of(home)
    if folder is not None:
        return f"sqlite:///{folder / _FILE}"
    # Something that only Dagster understands.
    from cleanup_pipeline.dagster_defs.launch import instance_at
    from cleanup_pipeline.dagster_defs.resources import ledger_url as by_dagster

    with instance_at(home) as instance:
        return by_dagster(instance)


def folder_of(home: Path) -> Path | None:
    """The folder that a dagster.yaml names for files; None: only Dagster itself understands it."""
    file = home / "dagster.yaml"
    try:
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, yaml.YAMLError):
        return None
    if not isinstance(found, dict | None):
        return None
    if any(name in (found or {}) for name in _OLDER):
        return None
    runs = (found or {}).get("storage") or {}
    if not isinstance(runs, dict) or not ("sqlite" in runs or runs == {} or _ours(runs)):
        return None
    storage = (found or {}).get("local_artifact_storage")
    if storage is None:
        # Of an instance without such an entry, and of one without a file.
        return home
    if not isinstance(storage, dict) or (storage.get("module"), storage.get("class")) != _OF_DAGSTER:
        return None
    base = (storage.get("config") or {}).get("base_dir")
    if isinstance(base, dict) and set(base) == {"env"}:
        base = os.environ.get(str(base["env"]))
    return Path(base) if isinstance(base, str) and base else None


def _ours(storage: dict[str, Any]) -> bool:
    """Whether Dagster decides by the variable where runs are, which was looked at already."""
    custom = storage.get("custom")
    return isinstance(custom, dict) and custom.get("module") == "cleanup_pipeline.dagster_defs.storage"
