"""What a store holds, as somebody who describes a target is shown it: names and types, never a value."""

from dataclasses import dataclass

from cleanup_pipeline.model.words import EpochUnit


@dataclass(frozen=True, slots=True)
class SeenField:
    """A column, a field or path of documents, a field of hashes, a path within values, or what a value is."""

    name: str
    """A dotted path; empty where it is the whole value, the score or the members of a key."""
    type: str
    """PostgreSQL: as format_type() names it. MongoDB: a BSON type, several joined by `or`. Redis: `hash field`, `json`,
    `msgpack`, `value`, `score` or `members`."""
    unit: EpochUnit | None = None
    """The unit in which what was sampled would be plausible instants; None where it was not, or nothing was."""
    iso: bool = False
    """What was sampled is text in ISO 8601."""
    array: str | None = None
    """MongoDB: the array that the field is within."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A table, a collection, or keys of one shape."""

    name: str
    """PostgreSQL: schema.table where search_path alone does not find it. Redis: a pattern."""
    fields: tuple[SeenField, ...] = ()
    key_type: str | None = None
    """Redis: the type of the keys."""
    sampled: int | None = None
    """MongoDB: documents that were looked at. Redis: keys."""
    without_ttl: int | None = None
    """Redis: how many of the looked at keys have no TTL."""
    looked: int = 0
    """Redis: keys whose values were looked at."""
    schema: str | None = None
    """PostgreSQL: always."""
    referred_by: tuple[str, ...] = ()
    """PostgreSQL: tables with a foreign key to this one."""
    exclude: tuple[str, ...] = ()
    """Redis: patterns of other keys that this one matches as well."""
