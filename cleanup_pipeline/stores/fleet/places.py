"""The members of a target: found in the catalogs of its servers, named, and reached by plain stores.

A place is one URL of the store. A member is a schema or a database of a place, or a place as a whole.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable
from urllib.parse import quote, urlsplit

from cleanup_pipeline.model.members import MOST_MEMBERS, Members
from cleanup_pipeline.model.plan import Shard
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, TableSource, Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import Store, StoreError
from cleanup_pipeline.stores.patterns import is_name

MOST_OPEN = 8
"""Databases of PostgreSQL that are connected to at once, beside those of the URLs: each has connections of its own."""
MEMBERS = "members"
"""The bound of a shard that lists its members."""

Opener = Callable[[StoreConfig], Store]


@runtime_checkable
class ListsSchemas(Protocol):
    """A store that can name its schemas. Raises UnavailableError, StoreError."""

    def schemas(self) -> Sequence[str]:
        """All of them but the server's own."""
        ...


@runtime_checkable
class ListsDatabases(Protocol):
    """A store that can name the databases of its server. Raises UnavailableError, StoreError."""

    def databases(self) -> Sequence[str]:
        """All of them but the server's own, as far as the login may see them."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One of those that a target stands for."""

    place: int
    """Which URL of the store."""
    database: str = ""
    """Empty: the URL's."""
    schema: str = ""
    """Empty: as the target says."""
    suspect: bool = False
    """It was refused when the pass looked, and is looked at again before anything of it is deleted."""


class Places:
    """The stores behind the URLs of one store, and behind other databases of their servers."""

    def __init__(self, config: StoreConfig, opener: Opener, base: Store | None = None) -> None:
        self.config = config
        urls = config.urls or (config.url,)
        self._configs = [
            replace(config, url=url, urls=(), number=number if config.urls else None) for number, url in enumerate(urls)
        ]
        self._opener = opener
        self._lent = base
        self._bases: dict[int, Store] = {} if base is None else {0: base}
        self._others: OrderedDict[tuple[int, str], Store] = OrderedDict()

    def __len__(self) -> int:
        return len(self._configs)

    def base(self, place: int) -> Store:
        """The store of a URL."""
        if place not in self._bases:
            self._bases[place] = self._opener(self._configs[place])
        return self._bases[place]

    def where(self, place: int) -> str:
        """Host, port and database, without the login."""
        return self._configs[place].where

    def store_of(self, member: Member) -> Store:
        """The store that a member is in."""
        if not member.database or self.config.type is not StoreType.POSTGRES:
            return self.base(member.place)
        key = (member.place, member.database)
        if key in self._others:
            self._others.move_to_end(key)
            return self._others[key]
        while len(self._others) >= MOST_OPEN:
            _, oldest = self._others.popitem(last=False)
            oldest.close()
        config = self._configs[member.place]
        self._others[key] = self._opener(replace(config, url=with_database(config.url, member.database)))
        return self._others[key]

    def is_elsewhere(self, member: Member) -> bool:
        """Whether its batches run on other connections than those that hold the leases of its place."""
        return bool(member.database) and self.config.type is StoreType.POSTGRES

    def is_a_place_of(self, target: Target, member: Member) -> bool:
        """Whether it stands for all members of a place, which are not known yet."""
        members = target.members or Members()
        return bool((members.databases and not member.database) or (members.schemas and not member.schema))

    def name(self, member: Member) -> str:
        """As messages and reports call it."""
        own = ".".join(part for part in (member.database, member.schema) if part)
        if len(self) == 1:
            return own or self.where(member.place)
        return f"{self.where(member.place)}/{own}" if own else self.where(member.place)

    def target_of(self, target: Target, member: Member) -> Target:
        """The target, as it is in that member alone. Its leases are those of the whole."""
        source = target.source
        if member.schema and isinstance(source, TableSource):
            source = replace(source, schema=member.schema)
        if member.database and isinstance(source, CollectionSource):
            source = replace(source, database=member.database)
        name = f"{target.name}[{self.name(member)}]"
        return replace(
            target, name=name, source=source, members=None, template=target.lease_key, max_shards=1, row_limit=None
        )

    def close(self) -> None:
        """Give back every connection but those of a store that was lent."""
        for store in (*self._bases.values(), *self._others.values()):
            if store is not self._lent:
                store.close()
        self._bases = {} if self._lent is None else {0: self._lent}
        self._others.clear()

    def find(
        self, target: Target, place: int, troubled: dict[Member, StoreError] | None = None, database: str = ""
    ) -> list[Member]:
        """The members of a target in one place, as its catalogs have them now. Raises UnavailableError, StoreError.

        A name without a wildcard is a member whether it is there or not. With `troubled` a database whose schemas
        cannot be listed is a member as a whole, and in it with what was met; with `database` only its own are found.
        """
        members = target.members or Members()
        databases = [""]
        if members.databases:
            all_named = all(map(is_name, members.databases))
            found = [] if all_named else self._listed(self.base(place), ListsDatabases, "databases", target)
            databases = _meant(members.databases, found, members.database_named)
        several = [Member(place, each) for each in databases if not database or each == database]
        if members.schemas:
            several = [each for one in several for each in self._in_schemas(target, one, troubled)]
        if len(several) > MOST_MEMBERS:
            raise StoreError(
                f"{len(several):,} members were found, of at most {MOST_MEMBERS:,}",
                setting=f"targets.{target.name}",
                remedy="narrow its patterns, or make several targets of it",
            )
        return several

    def _in_schemas(self, target: Target, one: Member, troubled: dict[Member, StoreError] | None) -> list[Member]:
        members = target.members or Members()
        try:
            found = self._listed(self.store_of(one), ListsSchemas, "schemas", target)
        except StoreError as fault:
            if troubled is None or not one.database:
                raise
            self.base(one.place).clock()  # raises where it is the server that is away
            troubled[one] = fault
            return [one]
        return [Member(one.place, one.database, each) for each in _meant(members.schemas, found, members.schema_named)]

    def _listed(self, store: Store, kind: type, what: str, target: Target) -> Sequence[str]:
        if not isinstance(store, kind):
            raise StoreError(
                f"a {self.config.type} store has no {what}", setting=f"targets.{target.name}.{what}", remedy="remove it"
            )
        names: Sequence[str] = getattr(store, what)()
        return names


def with_database(url: str, database: str) -> str:
    """A URL of PostgreSQL that names another database."""
    parts = urlsplit(url)
    # As they were written: libpq reads no `+` as a blank. And `geturl` leaves out the slashes of a URL without a host.
    options = [option for option in parts.query.split("&") if option and option.partition("=")[0] != "dbname"]
    query = f"?{'&'.join(options)}" if options else ""
    return f"{parts.scheme}://{parts.netloc}/{quote(database, safe='')}{query}"


def pack(several: Sequence[Member]) -> str:
    """Members as the bound of a shard."""
    return json.dumps([[m.place, m.database, m.schema, int(m.suspect)] for m in several], separators=(",", ":"))


def unpack(shard: Shard) -> list[Member]:
    """The members of a shard. Raises ValueError for one that has none."""
    return [
        Member(int(place), str(database), str(schema), bool(suspect))
        for place, database, schema, suspect in json.loads(str(shard.bounds.get(MEMBERS) or ""))
    ]


def _meant(patterns: Sequence[str], found: Sequence[str], named: Callable[[str], bool]) -> list[str]:
    literal = [name for name in patterns if is_name(name)]
    return sorted(name for name in {*found, *literal} if named(name))
