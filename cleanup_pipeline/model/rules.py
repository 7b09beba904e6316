"""How a row of a PostgreSQL table says when it dies, and what keeps it all the same. Plain frozen data.

A rule is an instant of death: that of a column, a start and a lifetime, or the latest or earliest of several. A guard
is a condition beside it: a row outside the guards of a target does not belong to the target.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cleanup_pipeline.model.words import EpochUnit

Scalar = str | int | bool

SESSION_ZONE = "session"
"""As the zone of a column: the TimeZone that the database gives to its sessions, looked up and held to for a pass."""


class NullMeans(StrEnum):
    """What a record whose expiry is null is."""

    NEVER = "never"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Related:
    """The rows of another table whose `key` equals `by` of this record."""

    table: str
    key: str
    by: str
    schema: str | None = None
    """None: where the target's own table is."""

    @property
    def name(self) -> str:
        """The table as it is written in messages."""
        return f"{self.schema}.{self.table}" if self.schema else self.table


@dataclass(frozen=True, slots=True)
class ColumnExpiry:
    """The record dies at the instant in a column.

    timestamptz needs nothing more; timestamp and date need `zone`; a number needs `unit`.
    """

    column: str
    zone: str | None = None
    """IANA name of the zone that a naive timestamp was written in, or SESSION_ZONE."""
    unit: EpochUnit | None = None
    null_means: NullMeans = NullMeans.NEVER
    never_values: tuple[Scalar, ...] = ()
    """Values that stand for no expiry at all, besides null, zero and less."""
    of: Related | None = None
    """The column is one of related rows; the latest of them counts, and where there is none the record never dies."""


@dataclass(frozen=True, slots=True)
class LifetimeColumn:
    """How long a record lives stands in a column; null, zero and less mean for ever."""

    column: str
    unit: EpochUnit = EpochUnit.SECONDS
    of: Related | None = None
    """Of related rows: the longest counts, and any that means for ever."""


@dataclass(frozen=True, slots=True)
class LifetimeByValue:
    """How long a record lives depends on what it is, by the text of a column. What is not listed lives for ever."""

    column: str
    values: tuple[tuple[str, timedelta], ...] = ()
    prefixes: tuple[tuple[str, timedelta], ...] = ()
    """For values that begin with a text; the longest that fits counts."""


Lifetime = timedelta | LifetimeColumn | LifetimeByValue


@dataclass(frozen=True, slots=True)
class StartExpiry:
    """The record dies so long after an instant in it."""

    start: ColumnExpiry
    lifetime: Lifetime


@dataclass(frozen=True, slots=True)
class LatestExpiry:
    """The record dies when all of these have: for a row that holds several tokens. One that never dies keeps it."""

    of: tuple[ColumnExpiry | StartExpiry, ...]


@dataclass(frozen=True, slots=True)
class EarliestExpiry:
    """The record dies when the first of these does."""

    of: tuple[ColumnExpiry | StartExpiry, ...]


@dataclass(frozen=True, slots=True)
class JsonEntriesExpiry:
    """What dies is an entry of a JSON object in a column, at the epoch number in a field of it; the row stays."""

    column: str
    field: str
    unit: EpochUnit = EpochUnit.SECONDS


TableExpiry = ColumnExpiry | StartExpiry | LatestExpiry | EarliestExpiry | JsonEntriesExpiry


class Test(StrEnum):
    """What a guard asks of a column."""

    __test__ = False  # not one of pytest's

    IN = "in"
    NULL = "is_null"
    NOT_NULL = "not_null"


@dataclass(frozen=True, slots=True)
class ColumnGuard:
    """Only rows whose column is one of some values, null, or not null."""

    column: str
    test: Test
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True)
class AgeGuard:
    """Only rows that began longer ago than this, before the cutoff."""

    start: ColumnExpiry
    age: timedelta


@dataclass(frozen=True, slots=True)
class RowGuard:
    """Only rows for which a related table has none. Rows whose `by` is null stay."""

    of: Related
    where: tuple[tuple[str, Scalar], ...] = ()
    """Related rows count only with these values."""
    gone: bool = False
    """The record points there, and dies with what it points to: then a related table that is empty says that the
    records are kept elsewhere, not that all of them are gone."""


class FieldTest(StrEnum):
    """What a guard asks of a field of a MongoDB document."""

    IN = "in"
    EXISTS = "exists"
    MISSING = "missing"
    LACKS = "lacks"
    """A string without this text in it."""
    AT_LEAST = "at_least"
    """A number, this or more."""


@dataclass(frozen=True, slots=True)
class FieldGuard:
    """MongoDB: only documents, or elements of a pulled array, whose field is as the test says. An array never is."""

    field: str
    test: FieldTest
    values: tuple[Scalar, ...] = ()
    or_missing: bool = False
    """IN: a document without the field goes as well."""


Guard = ColumnGuard | AgeGuard | RowGuard | FieldGuard
