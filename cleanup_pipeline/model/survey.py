"""What a store holds, as catalogs and small samples tell: names, types and shapes, and no value of a record."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TableSeen:
    """A PostgreSQL table."""

    schema: str
    visible: bool
    """Found without its schema."""
    name: str
    columns: Mapping[str, str]
    """Types as format_type() names them, by column."""
    rows: int | None = None
    """As of the last ANALYZE; None: never analyzed."""


@dataclass(frozen=True, slots=True)
class CollectionSeen:
    """A MongoDB collection."""

    database: str
    own: bool
    """Of the database that the URL names."""
    name: str
    documents: tuple[Mapping[str, str], ...]
    """Of a sample: BSON types by field."""
    nested: frozenset[str] = frozenset()
    """Dotted paths that were asked for and that some document has."""


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """Redis keys of one type that begin alike."""

    prefix: str
    key_type: str
    names: tuple[str, ...] = field(repr=False)
    """Of a sample: for matching with patterns, never for print."""
    seen: int
    """How many SCAN named before it was enough."""
    looked: int
    without_ttl: int
    """Of those looked at."""
    values: tuple[Mapping[str, str], ...] = ()
    """Of a sample: what is at each path of a JSON or msgpack value, or in each field of a hash: object, array, bool,
    null, iso, s or ms (an instant since 1970), number, text."""
    instants: str | None = None
    """s or ms where most scores of a sorted set are instants."""
    codec: str | None = None
    """How members are written: raw, json or jdk."""
    names_keys: tuple[str, ...] = ()
    """Prefixes with which a member is the name of a key that is there."""
    pattern: str | None = None
    """The pattern by which they were looked for; None: they were come across."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen of a store."""

    tables: tuple[TableSeen, ...] = ()
    collections: tuple[CollectionSeen, ...] = ()
    keys: tuple[KeysSeen, ...] = ()
    whole: bool = True
    """False: there is more than was looked at."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a survey looks for in particular."""

    patterns: tuple[tuple[str, str], ...] = ()
    """Key patterns and their types."""
    paths: tuple[str, ...] = ()
    """Dotted paths of documents."""
    databases: tuple[str, ...] = ()
    """Databases beside that of the URL."""
