"""Where a source that a layout describes was found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """A table, a collection or keys of the right shape."""

    container: str | None = None
    """PostgreSQL: the schema, MongoDB: the database, where it has to be named to be found; else None."""
