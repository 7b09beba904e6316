"""Removes expired sessions and tokens from Redis, PostgreSQL and MongoDB while they serve live logins.

Other Dagster projects use `build_cleanup_definitions` or `CleanupComponent` (docs/embedding.md). Both are loaded when
they are first asked for: Dagster takes a second to import, and most of the command line does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cleanup_pipeline.dagster_defs.component import CleanupComponent
    from cleanup_pipeline.dagster_defs.embedding import build_cleanup_definitions

__version__ = "0.1.0"
__all__ = ["CleanupComponent", "__version__", "build_cleanup_definitions"]

_PLACES = {
    "CleanupComponent": "cleanup_pipeline.dagster_defs.component",
    "build_cleanup_definitions": "cleanup_pipeline.dagster_defs.embedding",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
