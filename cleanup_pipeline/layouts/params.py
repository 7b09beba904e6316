"""Parameters of presets: what an application chose itself, such as a table's name or how long its sessions live.

A preset writes `${name}` where a parameter goes. One that the application owns, a lifetime above all, is required and
has no default: a wrong one would log everybody out.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, create_model

from cleanup_pipeline.layouts.field_types import (
    CollectionName,
    Column,
    ColumnZone,
    DatabaseName,
    FieldPath,
    Flag,
    Identifier,
    KeyType,
    SecondsOrMilliseconds,
    Section,
    TableName,
    duration,
    one_of,
    text,
)
from cleanup_pipeline.layouts.source_spec import literal_glob
from cleanup_pipeline.model.durations import format_duration

Value = str | bool | None
"""Of a parameter, as the rest of a preset is written."""

UNSAID_ZONE = "Factory"
"""Of the IANA database, for "not set": stands in a layout whose zone nobody has said yet."""
UNSAID_LIFETIME = timedelta(days=36499)
"""The same for a lifetime."""
MADE_UP: Mapping[str, Value] = {
    "duration": format_duration(UNSAID_LIFETIME),
    "grace": "0s",
    "zone": UNSAID_ZONE,
    "flag": False,
    "key_prefix": "yours:",
    "table": "yours",
    "collection": "yours",
    "epoch": "s",
    "field": "expires_at",
}
"""Of parameters that have no default, for what shows a preset without them."""

_REFERENCE = re.compile(r"\$\{([a-z_]+)\}")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "duration": (Annotated[timedelta, duration(timedelta(seconds=1))], "a duration such as 2h or 30d"),
    "grace": (Annotated[timedelta, duration()], "a duration such as 0s, 2h or 30d"),
    "zone": (ColumnZone, "utc, session or an IANA time zone"),
    "table": (TableName, "a table"),
    "schema": (Identifier, "a schema"),
    "column": (Column, "a column"),
    "flag": (Flag, "true or false"),
    "prefix": (Annotated[str, text("the text that names begin with, at most 40 bytes", longest=40)], "a prefix"),
    "key_prefix": (
        Annotated[
            str,
            text(
                "the text that keys begin with, at most 200 bytes, without a word in braces",
                lambda value: not re.search(r"\{[a-z_]+\}", value),
                longest=200,
            ),
        ],
        "the text that keys begin with",
    ),
    "collection": (CollectionName, "a collection"),
    "database": (DatabaseName, "a database"),
    "field": (FieldPath, "a field, or a dotted path such as a.b"),
    "epoch": (SecondsOrMilliseconds, "s or ms"),
    "key_type": (KeyType, "string, hash, zset, set or list"),
    "codec": (Annotated[str, one_of("raw", "utf8", "json", "jdk")], "raw, utf8, json or jdk"),
}
_RENAMED_IN = frozenset({"column", "key", "by", "start", "since", "field", "pull", "entries_of", "client"})
"""Keys whose text is the name of a column or field."""
_PATTERNS = frozenset({"keys", "exclude"})
"""Keys whose text is a pattern: what a parameter puts there stands for itself."""


class ParamSpec(Section):
    """One parameter of a preset."""

    type: Annotated[str, one_of(*_KINDS)]
    about: Annotated[str, text("a sentence", longest=2000)]
    required: Flag = False
    default: Any = None
    example: str | None = None
    """For a page, where that of the type will not do."""

    @property
    def wanted(self) -> str:
        """What is right, for a fault."""
        return _KINDS[self.type][1]


def model_of(name: str, specs: Mapping[str, ParamSpec]) -> type[Section]:
    """A section with these parameters as its keys, each of which may be left out."""
    # Under names of their own: a parameter may be called as something that pydantic has already, such as schema.
    fields: dict[str, Any] = {
        f"param_{key}": (_KINDS[spec.type][0] | None, Field(default=None, alias=key)) for key, spec in specs.items()
    }
    return create_model(f"Params_{name}", __base__=Section, **fields)


def given_value(given: Section | None, key: str) -> Any:
    """The value of a parameter in such a section; None when it is left out."""
    return getattr(given, f"param_{key}", None)


def values_of(specs: Mapping[str, ParamSpec], given: Section | None) -> dict[str, Value]:
    """The value of every parameter, default or given."""
    found: dict[str, Value] = {}
    for key, spec in specs.items():
        value = given_value(given, key)
        value = spec.default if value is None else value
        found[key] = format_duration(value) if isinstance(value, timedelta) else value
    return found


def filled_in(raw: Any, values: Mapping[str, Value]) -> Any:
    """The same with `${name}` replaced by the parameter of that name."""
    if isinstance(raw, dict):
        literal = {key: literal_glob(value) if isinstance(value, str) else value for key, value in values.items()}
        return {key: filled_in(value, literal if key in _PATTERNS else values) for key, value in raw.items()}
    if isinstance(raw, list):
        return [filled_in(value, values) for value in raw]
    if not isinstance(raw, str):
        return raw
    whole = _REFERENCE.fullmatch(raw)
    if whole:
        return values[whole[1]]
    return _REFERENCE.sub(lambda match: str(values[match[1]] or ""), raw)


def renamed(raw: Any, columns: Mapping[str, str]) -> Any:
    """The same with columns under the names that the user's table has for them."""
    if isinstance(raw, list):
        return [renamed(value, columns) for value in raw]
    if not isinstance(raw, dict):
        return raw
    found: dict[str, Any] = {}
    for key, value in raw.items():
        if key in _RENAMED_IN and isinstance(value, str):
            found[key] = columns.get(value, value)
        elif key in {"required", "set_null", "unset"}:
            found[key] = [columns.get(name, name) for name in value]
        elif key in {"where", "types"} and isinstance(value, dict):
            found[key] = {columns.get(name, name): wanted for name, wanted in value.items()}
        else:
            found[key] = renamed(value, columns)
    return found


def columns_in(raw: Any) -> Iterator[str]:
    """Every column that a preset names."""
    seen: dict[str, None] = {}

    class _Seen(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            seen.setdefault(key)
            return default

    renamed(raw, _Seen())
    yield from seen
