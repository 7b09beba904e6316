"""How to reach a store, with its secret kept out of every repr."""

from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import unquote

from cleanup_pipeline.model.words import StoreType

LEASE = timedelta(seconds=30)


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
    write_concern: str | None = None
    """MongoDB: `majority`, a number of members or a tag; None: the URL's, else the server's."""
    read_preference: str = "primary"
    """MongoDB: where a pass counts before it begins. What decides about deleting is read from the primary."""

    lease: timedelta | None = LEASE
    """How long the right to clean a target outlives a cleaner that went silent. None: there are no leases."""

    @property
    def where(self) -> str:
        """Host, port and database of the store, without user and password."""
        return _after_login(self.url).split("?")[0].split("#")[0] or "localhost"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the URL may not be seen, longest first: the login as written, the password in every spelling."""
        login = self.url.partition("://")[2].removesuffix(_after_login(self.url)).removesuffix("@")
        password = login.partition(":")[2]
        return tuple(sorted({s for s in (login, password, unquote(password)) if s}, key=len, reverse=True))


def _after_login(url: str) -> str:
    # The last @, not the first, and not urlsplit(): a password with an unescaped @ or / must not become part of a host.
    return url.partition("://")[2].rpartition("@")[2]
