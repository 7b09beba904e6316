"""Rules for PostgreSQL tables as presets and settings write them: expiry, guards, and what is done to other rows."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from cleanup_pipeline.layouts.field_types import (
    Column,
    ColumnZone,
    FieldPath,
    Flag,
    Section,
    TableName,
    Unit,
    duration,
    one_of,
    reads,
    refuse,
    text,
    whole_number,
)
from cleanup_pipeline.model.rules import (
    AgeGuard,
    ColumnExpiry,
    ColumnGuard,
    EarliestExpiry,
    FieldGuard,
    FieldTest,
    Guard,
    JsonEntriesExpiry,
    LatestExpiry,
    Lifetime,
    LifetimeByValue,
    LifetimeColumn,
    NullMeans,
    Related,
    RowGuard,
    Scalar,
    StartExpiry,
    Test,
)
from cleanup_pipeline.model.words import EpochUnit

Age = Annotated[timedelta, duration(timedelta(seconds=1))]
_VALUES = "a list of text, whole numbers, true or false"


def _values(value: Any) -> tuple[Scalar, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    if not given or not all(isinstance(one, str | int) for one in given):
        raise refuse(_VALUES)
    return tuple(str(one) if isinstance(one, str) else one for one in given)


def _lifetimes(value: Any) -> Any:
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) and key for key in value):
        raise refuse("a mapping of values to durations, such as {session: 14d}")
    return value


def _start(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


SCALAR_SCHEMA = {"type": ["string", "integer", "boolean"]}
_VALUES_SCHEMA = {"anyOf": [SCALAR_SCHEMA, {"type": "array", "items": SCALAR_SCHEMA, "minItems": 1}]}

Values = Annotated[tuple[Scalar, ...], reads(_values, _VALUES_SCHEMA)]
Lifetimes = Annotated[dict[str, Age], BeforeValidator(_lifetimes, json_schema_input_type=dict[str, Age])]


class RelatedSpec(Section):
    """Rows of another table whose `key` equals this record's `by`."""

    table: TableName
    key: Column
    by: Column

    def build(self) -> Related:
        """The same as a rule has it."""
        return related(self.table, self.key, self.by)


def related(table: str, key: str, by: str) -> Related:
    """`table: auth.users` is split at the dot."""
    schema, _, name = table.rpartition(".")
    return Related(name, key, by, schema or None)


class ColumnSpec(Section):
    """PostgreSQL: an instant in a column."""

    column: Column
    zone: ColumnZone | None = None
    unit: Unit | None = None
    null_means: Annotated[NullMeans, one_of(*NullMeans)] = NullMeans.NEVER
    never_values: Values = ()
    of: RelatedSpec | None = None

    def build(self) -> ColumnExpiry:
        """The rule."""
        return ColumnExpiry(
            column=self.column,
            zone=self.zone,
            unit=self.unit,
            null_means=NullMeans(self.null_means),
            never_values=self.never_values,
            of=self.of.build() if self.of else None,
        )


class LifetimeColumnSpec(Section):
    """A lifetime in a column."""

    column: Column
    unit: Unit = EpochUnit.SECONDS
    of: RelatedSpec | None = None

    def build(self) -> LifetimeColumn:
        """The same as a rule has it."""
        return LifetimeColumn(self.column, self.unit, self.of.build() if self.of else None)


class LifetimeBySpec(Section):
    """A lifetime for each value of a column."""

    column: Column
    values: Lifetimes = Field(default_factory=dict[str, timedelta])
    prefixes: Lifetimes = Field(default_factory=dict[str, timedelta])

    def build(self) -> LifetimeByValue:
        """The same as a rule has it."""
        return LifetimeByValue(self.column, tuple(self.values.items()), tuple(self.prefixes.items()))


Start = Annotated[ColumnSpec, BeforeValidator(_start, json_schema_input_type=Column | ColumnSpec)]


class StartSpec(Section):
    """PostgreSQL: so long after an instant."""

    start: Start
    lifetime: Age | None = None
    lifetime_column: LifetimeColumnSpec | None = None
    lifetime_by: LifetimeBySpec | None = None

    @model_validator(mode="after")
    def _one_lifetime(self) -> Self:
        if sum(x is not None for x in (self.lifetime, self.lifetime_column, self.lifetime_by)) != 1:
            raise refuse("one of lifetime, lifetime_column and lifetime_by beside start")
        return self

    def build(self) -> StartExpiry:
        """The rule."""
        lifetime: Lifetime | None = self.lifetime
        if self.lifetime_column is not None:
            lifetime = self.lifetime_column.build()
        elif self.lifetime_by is not None:
            lifetime = self.lifetime_by.build()
        assert lifetime is not None  # noqa: S101 - the validator saw to it
        return StartExpiry(self.start.build(), lifetime)


def _which(value: Any) -> str:
    if isinstance(value, StartSpec) or (isinstance(value, Mapping) and "start" in value):
        return "rule:start"
    return "rule:column"


OneOf = Annotated[
    Annotated[ColumnSpec, Tag("rule:column")] | Annotated[StartSpec, Tag("rule:start")], Discriminator(_which)
]
Several = Annotated[tuple[OneOf, ...], Field(min_length=2)]


class LatestSpec(Section):
    """PostgreSQL: when all of several have died."""

    latest: Several

    def build(self) -> LatestExpiry:
        """The rule."""
        return LatestExpiry(tuple(one.build() for one in self.latest))


class EarliestSpec(Section):
    """PostgreSQL: when the first of several has died."""

    earliest: Several

    def build(self) -> EarliestExpiry:
        """The rule."""
        return EarliestExpiry(tuple(one.build() for one in self.earliest))


class EntriesSpec(Section):
    """PostgreSQL: entries of a JSON object in a column, each when the epoch number in a field of it has passed."""

    entries_of: Column
    at: Annotated[str, text("the name of a field")]
    unit: Unit = EpochUnit.SECONDS

    def build(self) -> JsonEntriesExpiry:
        """The rule."""
        return JsonEntriesExpiry(self.entries_of, self.at, self.unit)


GUARD_FORMS = tuple(
    frozenset(form)
    for form in (
        {"column", "values"},
        {"column", "is_null"},
        {"older_than", "since"},
        {"not_referenced_by", "key", "by"},
        {"gone", "key", "by"},
        {"field", "values"},
        {"field", "exists"},
        {"field", "lacks"},
        {"field", "at_least"},
    )
)
"""What a guard can be, by the names of its fields below."""


class GuardSpec(Section):
    """One condition: on a column, on the age of a record, or on the rows of another table."""

    column: Column | None = None
    values: Values | None = Field(default=None, alias="in")
    is_null: Flag | None = None
    older_than: Age | None = None
    since: Start | None = None
    not_referenced_by: TableName | None = None
    gone: TableName | None = None
    key: Column | None = None
    by: Column | None = None
    where: dict[str, Scalar] | None = None
    field: FieldPath | None = None
    or_missing: Flag | None = None
    exists: Flag | None = None
    lacks: Annotated[str, text("a text")] | None = None
    at_least: Annotated[int, whole_number(-(10**18), 10**18)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self._form() is None:
            raise refuse(
                "{column, in}, {column, is_null}, {older_than, since}, {not_referenced_by, key, by}, {gone, key, by};"
                " in MongoDB {field, in}, {field, exists}, {field, lacks} or {field, at_least}"
            )
        return self

    def _form(self) -> frozenset[str] | None:
        given = frozenset(name for name in type(self).model_fields if getattr(self, name) is not None)
        return next((given for form in GUARD_FORMS if form == given - _optional(form)), None)

    def build(self) -> Guard:
        """The guard."""
        if self.field is not None:
            return self._of_field(self.field)
        if self.column is not None and self.values is not None:
            return ColumnGuard(self.column, Test.IN, self.values)
        if self.column is not None:
            return ColumnGuard(self.column, Test.NULL if self.is_null else Test.NOT_NULL)
        if self.older_than is not None and self.since is not None:
            return AgeGuard(self.since.build(), self.older_than)
        of = related(self.gone or self.not_referenced_by or "", self.key or "", self.by or "")
        return RowGuard(of, tuple(sorted((self.where or {}).items())), gone=self.gone is not None)

    def _of_field(self, name: str) -> FieldGuard:
        if self.values is not None:
            return FieldGuard(name, FieldTest.IN, self.values, or_missing=bool(self.or_missing))
        if self.lacks is not None:
            return FieldGuard(name, FieldTest.LACKS, (self.lacks,))
        if self.at_least is not None:
            return FieldGuard(name, FieldTest.AT_LEAST, (self.at_least,))
        return FieldGuard(name, FieldTest.EXISTS if self.exists else FieldTest.MISSING)


def _optional(form: frozenset[str]) -> set[str]:
    if "key" in form:
        return {"where"}
    return {"or_missing"} if form == {"field", "values"} else set()
