"""Settings by environment variable: those of the brief, every other one by its path, and stores without any file."""

from collections.abc import Mapping
from typing import Any

from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.document import Raw, typed_scalar
from cleanup_pipeline.settings.faults import FromEnvironment, Path

SETTINGS_VARIABLE = "CLEANUP_SETTINGS"

VARIABLES: Mapping[str, str] = {
    "CLEANUP_ENABLED": "enabled",
    "CLEANUP_SESSION_INTERVAL": "session_interval",
    "CLEANUP_VERIFICATION_INTERVAL": "verification_interval",
    "CLEANUP_BATCH_SIZE": "batch_size",
    "CLEANUP_OPERATION_TIMEOUT": "operation_timeout",
    "CLEANUP_PAUSE": "pause",
    "CLEANUP_ROW_LIMIT": "row_limit",
    "CLEANUP_MAX_SHARDS": "max_shards",
    "CLEANUP_PARALLEL": "parallel",
    "CLEANUP_BUDGET": "budget",
    "CLEANUP_CENSUS_TIMEOUT": "census_timeout",
    "CLEANUP_RUN_WINDOW": "run_window",
    "CLEANUP_VETO_URL": "veto_url",
    "CLEANUP_ALLOW_NETWORKS": "allow_networks",
}
"""Variable -> key of the `cleanup` section."""

SECTION_VARIABLES: Mapping[str, Path] = {
    "CLEANUP_HISTORY_KEEP": ("history", "keep"),
    "CLEANUP_HISTORY_KEEP_RUNS": ("history", "keep_runs"),
    "CLEANUP_HISTORY_KEEP_EVENTS": ("history", "keep_events"),
    "CLEANUP_PLANS_VALID_FOR": ("plans", "valid_for"),
    "CLEANUP_PLANS_SAMPLE": ("plans", "sample"),
    "CLEANUP_REMOVALS_PLACE": ("removals", "place"),
    "CLEANUP_REMOVALS_KEEP": ("removals", "keep"),
    "CLEANUP_REMOVALS_AT_MOST": ("removals", "at_most"),
    "CLEANUP_QUARANTINE_PLACE": ("quarantine", "place"),
    "CLEANUP_QUARANTINE_KEEP": ("quarantine", "keep"),
    "CLEANUP_QUARANTINE_AT_MOST": ("quarantine", "at_most"),
    "CLEANUP_QUARANTINE_KEEP_FREE": ("quarantine", "keep_free"),
    "CLEANUP_EXECUTOR": ("execution", "executor"),
    "CLEANUP_STEP_STORAGE": ("execution", "step_storage"),
}
"""Variable -> path of a key of another section."""

STORE_VARIABLES: Mapping[str, tuple[str, StoreType]] = {
    "CLEANUP_POSTGRES_URL": ("postgres", StoreType.POSTGRES),
    "CLEANUP_REDIS_URL": ("redis", StoreType.REDIS),
    "CLEANUP_MONGO_URL": ("mongo", StoreType.MONGO),
}
"""Variable -> name and type of the store that it stands for when no file names any."""

INTERVALS: Mapping[str, tuple[str, tuple[str, str]]] = {
    "session_interval": ("sessions", ("session_interval", "session_cleanup_interval")),
    "verification_interval": ("verification_tokens", ("verification_interval", "verification_cleanup_interval")),
}
"""Key of the brief -> the pass that it is the interval of, and both of its spellings."""

_HIDDEN = frozenset({"url", "urls", "secret"})
NESTED = "CLEANUP__"
"""CLEANUP__TARGETS__RESET_LINKS__GRACE=7d is targets.reset_links.grace."""


def lay_over(content: Raw, environ: Mapping[str, str]) -> dict[Path, str]:
    """Put what the environment says over what the file says, in place. Returns which variable set which path.

    An empty variable counts as not set.
    """
    origins: dict[Path, str] = {}
    for variable, text in sorted(environ.items()):
        path = tuple(part.lower() for part in variable.removeprefix(NESTED).split("__"))
        if variable.startswith(NESTED) and text and all(path) and len(path) <= 8:
            value: Any = typed_scalar(text)
            _put(content, path, FromEnvironment(text, (variable,), "\0") if path[-1] in _HIDDEN else value)
            origins[path] = variable
    for variable, path in SECTION_VARIABLES.items():
        if text := environ.get(variable, "").strip():
            _put(content, path, text)
            origins[path] = variable
    for variable, key in VARIABLES.items():
        text = environ.get(variable, "")
        if not text:
            continue
        if key in INTERVALS:
            pass_name, spellings = INTERVALS[key]
            for spelling in spellings:
                _drop(content, ("cleanup", spelling))
            _drop(content, ("passes", pass_name, "every"))
        # Durations and numbers are read by the schema; only the variable's text is known here.
        _put(content, ("cleanup", key), text.strip())
        origins["cleanup", key] = variable
    return origins


def add_stores(content: Raw, environ: Mapping[str, str]) -> dict[str, StoreType]:
    """Put in the stores that the environment alone names. Returns them by name."""
    found: dict[str, StoreType] = {}
    for variable, (name, store_type) in STORE_VARIABLES.items():
        url = environ.get(variable, "")
        if url:
            _put(content, ("stores", name, "type"), store_type.value)
            _put(content, ("stores", name, "url"), FromEnvironment(url, (variable,), "\0"))
            found[name] = store_type
    return found


def _put(content: Raw, path: Path, value: Any) -> None:
    """Set a value, making mappings on the way where there is nothing. What is no mapping stays, to be a fault."""
    place: Any = content
    for part in path[:-1]:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            return
    place[path[-1]] = value


def _drop(content: Raw, path: Path) -> None:
    place: Any = content
    for part in path[:-1]:
        place = place.get(part) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place.pop(path[-1], None)
