"""How to reach a store, with its secret kept out of every repr."""

from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from cleanup_pipeline.model.words import StoreType


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """One connection to one backend. `url` holds the password and is never shown; `where` may be."""

    name: str
    type: StoreType
    url: str = field(repr=False)
    pool_size: int = 4
    connect_timeout: timedelta = timedelta(seconds=5)
    statement_timeout: timedelta = timedelta(seconds=30)
    lock_timeout: timedelta = timedelta(seconds=2)
    application_name: str = "cleanup-pipeline"

    @property
    def where(self) -> str:
        """Host, port and database of the store, without user and password."""
        try:
            parts = urlsplit(self.url)
            hosts = parts.netloc.rpartition("@")[2]
            return f"{hosts or 'localhost'}{parts.path}"
        except ValueError:
            return "an unreadable URL"
