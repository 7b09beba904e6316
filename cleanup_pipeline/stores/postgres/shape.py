"""The tables that a rule reads, as the catalog describes them, and the parameters of a statement as they add up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from psycopg import sql

from cleanup_pipeline.model.rules import SESSION_ZONE, ColumnExpiry, Related
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS, EpochUnit
from cleanup_pipeline.stores.postgres.statements import identifier

AWARE = "timestamp with time zone"
NAIVE = "timestamp without time zone"
NUMBERS = frozenset({"integer", "bigint", "smallint", "numeric", "double precision", "real"})
TEXTS = frozenset({"text", "character varying", "character"})

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = EPOCH + timedelta(seconds=FIRST_PLAUSIBLE_SECONDS)
LAST = EPOCH + timedelta(seconds=LAST_PLAUSIBLE_SECONDS)

RECORD = sql.SQL("record")
"""What each statement calls the row that it judges; related rows are `other`."""
OTHER = sql.SQL("other")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the columns of the target's table, and of those that its rule looks at, are."""

    schema: str
    """Of the target's own table, and of related ones that name none."""
    columns: Mapping[str, str]
    """Types as format_type() names them, by column."""
    related: Mapping[tuple[str, str], Mapping[str, str]] = field(
        default_factory=dict[tuple[str, str], Mapping[str, str]]
    )
    """The same by schema and table."""
    session_zone: str | None = None
    """What SESSION_ZONE stands for; None where no rule asks for it."""
    hidden: frozenset[str] = frozenset()
    """Columns of the target's own table that the login may not read."""

    def key(self, related: Related) -> tuple[str, str]:
        """Schema and table."""
        return related.schema or self.schema, related.table

    def table(self, related: Related) -> sql.Identifier:
        """A related table by its full name."""
        return identifier(*(part for part in self.key(related) if part))

    def columns_of(self, related: Related | None) -> Mapping[str, str]:
        """Those of a related table, or the record's own."""
        return self.columns if related is None else self.related[self.key(related)]

    def zone_of(self, expiry: ColumnExpiry) -> str | None:
        """The zone of a naive column by its name."""
        return self.session_zone if expiry.zone == SESSION_ZONE else expiry.zone


@dataclass(slots=True)
class Binds:
    """The parameters of one statement. Names depend on nothing but the order in which they are asked for."""

    values: dict[str, object] = field(default_factory=dict[str, object])

    def add(self, value: object) -> sql.Placeholder:
        """The placeholder of a value."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return sql.Placeholder(name)


def epoch_at(instant: datetime, unit: EpochUnit) -> int:
    """The last whole unit that is not after `instant`."""
    return (instant - EPOCH) // timedelta(microseconds=1) * unit.per_second // 1_000_000


def column_of(row: sql.SQL, name: str) -> sql.Composed:
    """A column of the record or of a related row."""
    return sql.SQL("{}.{}").format(row, identifier(name))


def whole(column: sql.Composable, column_type: str) -> tuple[sql.Composable, sql.Composable]:
    """A column of numbers, or of text that holds them, as an expression, and the type to compare it in."""
    if column_type in TEXTS:
        return sql.SQL("(CASE WHEN {c} ~ '^[0-9]{{1,18}}$' THEN {c}::bigint END)").format(c=column), sql.SQL("bigint")
    if column_type in {"numeric", "double precision", "real"}:
        return column, sql.SQL("numeric")
    return column, sql.SQL("bigint")
