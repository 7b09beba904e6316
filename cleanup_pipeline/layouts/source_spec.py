"""Where records are: the closed set of sources per store type, as presets and settings write them."""

import re
from typing import Annotated, Any

from pydantic import Field

from cleanup_pipeline.layouts.field_types import (
    CollectionName,
    Column,
    DatabaseName,
    FieldPath,
    Identifier,
    KeyType,
    Section,
    TableName,
    or_variable,
    reads,
    refuse,
    text,
)
from cleanup_pipeline.model.target import CollectionSource, KeySource, TableSource

_SHORTEST_PREFIX = 2
_LITERAL = re.compile(r"(?:[^*?\[\\]|\\.)*", re.DOTALL)


def literal_prefix(pattern: str) -> str:
    """What stands for itself in a Redis glob pattern, before its first special character; a backslash taken off."""
    match = _LITERAL.match(pattern)
    return re.sub(r"\\(.)", r"\1", match[0] if match else "", flags=re.DOTALL)


def literal_glob(text: str) -> str:
    """The Redis glob pattern that matches this text alone."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)


def _pattern(value: Any) -> str:
    expected = f"a key pattern that begins with at least {_SHORTEST_PREFIX} literal characters, such as session:*"
    if not isinstance(value, str) or not str(value).isprintable() or not value.strip():
        raise refuse(expected)
    if len(literal_prefix(value)) < _SHORTEST_PREFIX:
        raise refuse(expected, remedy="it would match every key of the store; write the prefix that your keys share")
    return str(value)


def _field_types(value: Any) -> dict[str, tuple[str, ...]]:
    expected = f"a mapping of fields to BSON types, such as {{_id: string}}; a type is one of {', '.join(BSON_TYPES)}"
    if not isinstance(value, dict):
        raise refuse(expected)
    found = {str(key): (kinds,) if isinstance(kinds, str) else tuple(kinds) for key, kinds in value.items()}
    if not all(kinds and set(kinds) <= set(BSON_TYPES) for kinds in found.values()):
        raise refuse(expected)
    return found


BSON_TYPES = ("string", "object", "array", "binData", "objectId", "bool", "date", "int", "long", "double", "decimal")
_BSON_TYPE = or_variable({"enum": list(BSON_TYPES)})
_TYPES_OF_FIELD = {"anyOf": [_BSON_TYPE, {"type": "array", "items": _BSON_TYPE, "minItems": 1}]}
_TYPES_SCHEMA = {"type": "object", "additionalProperties": _TYPES_OF_FIELD}
# Two characters that stand for themselves, a backslash before them or not.
_PATTERN_SCHEMA = {"type": "string", "pattern": r"^([^*?\[\\]|\\.){2}|\$\{"}

FieldTypes = Annotated[dict[FieldPath, tuple[str, ...]], reads(_field_types, _TYPES_SCHEMA)]
KeyPattern = Annotated[str, reads(_pattern, _PATTERN_SCHEMA)]


class TableSpec(Section):
    """A PostgreSQL table."""

    table: TableName
    schema_name: Identifier | None = Field(default=None, alias="schema")
    required: tuple[Column, ...] = ()

    def build(self) -> TableSource:
        """The source; `table: auth.tokens` without a schema of its own is split at the dot."""
        schema, table = self.schema_name, self.table
        if schema is None and "." in table:
            schema, table = table.split(".")
        return TableSource(table=table, schema=schema, required_columns=self.required)


class CollectionSpec(Section):
    """A MongoDB collection."""

    collection: CollectionName
    database: DatabaseName | None = None
    required: tuple[FieldPath, ...] = ()
    types: FieldTypes = Field(default_factory=dict[str, tuple[str, ...]])

    def build(self) -> CollectionSource:
        """The source."""
        return CollectionSource(
            collection=self.collection,
            database=self.database,
            required_fields=self.required,
            field_types=tuple(self.types.items()),
        )


class KeysSpec(Section):
    """Redis keys."""

    keys: KeyPattern
    key_type: KeyType | None = None
    exclude: tuple[Annotated[str, text("a key pattern")], ...] = ()
    required: tuple[Annotated[str, text("a field of the hash")], ...] = ()

    def build(self, key_type: str) -> KeySource:
        """The source, whose key type is `key_type` where the spec says nothing."""
        return KeySource(
            pattern=self.keys,
            key_type=self.key_type or key_type,
            exclude=self.exclude,
            required_fields=self.required,
        )
