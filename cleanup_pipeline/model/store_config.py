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
    urls: tuple[str, ...] = field(default=(), repr=False)
    """All of them, where the store is several servers with the same in each; `url` is then the first."""
    number: int | None = None
    """Which of several `url` is, from 0; None: the only one."""
    pool_size: int = 4
    connect_timeout: timedelta = timedelta(seconds=5)
    statement_timeout: timedelta = timedelta(seconds=30)
    lock_timeout: timedelta = timedelta(seconds=2)
    application_name: str = "cleanup-pipeline"
    write_concern: str | None = None
    """MongoDB: `majority`, a number of members or a tag; None: the URL's, else the server's."""
    read_preference: str = "primary"
    """MongoDB: where a pass counts before it begins. What decides about deleting is read from the primary."""

    budget: int | None = None
    """Records a second that all who clean it may remove together; None: as many as can be."""
    lease: timedelta | None = LEASE
    """How long the right to clean a target outlives a cleaner that went silent. None: there are no leases."""

    @property
    def url_setting(self) -> str:
        """The setting that `url` comes from."""
        return f"stores.{self.name}.url" if self.number is None else f"stores.{self.name}.urls.{self.number}"

    @property
    def where(self) -> str:
        """Host, port and database of the store, without user and password; of several, each."""
        urls = self.urls or (self.url,)
        return ", ".join(_after_login(url).split("?")[0].split("#")[0] or "localhost" for url in urls)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the URLs may not be seen, longest first: the login as written, the password in every spelling."""
        found: set[str] = set()
        for url in self.urls or (self.url,):
            login = url.partition("://")[2].removesuffix(_after_login(url)).removesuffix("@")
            password = login.partition(":")[2]
            found |= {login, password, unquote(password)}
        return tuple(sorted(found - {""}, key=len, reverse=True))


def _after_login(url: str) -> str:
    # The last @, not the first, and not urlsplit(): a password with an unescaped @ or / must not become part of a host.
    return url.partition("://")[2].rpartition("@")[2]
