"""Types of single values for the pydantic models of presets and settings.

Each refuses with the phrase that a reader needs ("a whole number from 1 to 1000"), never with the value itself: what
was found is shown, or kept back, by whoever reports the fault.
"""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from cleanup_pipeline.model.durations import LONGEST, format_duration, parse_duration
from cleanup_pipeline.model.rules import SESSION_ZONE
from cleanup_pipeline.model.words import EpochUnit


class Section(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=False, hide_input_in_errors=True, arbitrary_types_allowed=True
    )


def reads(read: Callable[[Any], Any], schema: Any) -> BeforeValidator:
    """A validator, and what it accepts as JSON schema; `schema` may also be a model, which is not applied here."""
    shown = Annotated[Any, WithJsonSchema(schema)] if isinstance(schema, dict) else schema
    return BeforeValidator(read, json_schema_input_type=shown)


def shown_as(schema: Any) -> BeforeValidator:
    """For what is checked elsewhere: anything goes here, and editors are told what will be accepted."""
    return reads(lambda value: value, schema)


VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""JSON schema of a value that comes from the environment."""


def or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of such a value, or of a variable in place of it."""
    return {"anyOf": [schema, VARIABLE]}


def words_schema(values: Iterable[str]) -> dict[str, Any]:
    """JSON schema of one of these words."""
    return or_variable({"enum": [str(value) for value in values]})


def refuse(expected: str, **more: str) -> PydanticCustomError:
    """A fault in terms of what would have been right. `more`: `found`, `remedy`, `nearest`."""
    return PydanticCustomError("expected", "expected {expected}", {"expected": expected, **more})


def whole_number(low: int, high: int | None) -> BeforeValidator:
    """Accepts an int, or its digits as text (environment variables are text)."""
    expected = f"a whole number from {low} to {high}" if high is not None else f"a whole number, at least {low}"

    def read(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            raise refuse(expected)
        return value

    limits = {"minimum": low} | ({} if high is None else {"maximum": high})
    digits = {"type": "string", "pattern": r"^[0-9]{1,18}$|\$\{"}
    return reads(read, {"anyOf": [{"type": "integer", **limits}, digits]})


def number(low: float, high: float) -> BeforeValidator:
    """Accepts a number, or its digits as text."""
    expected = f"a number from {low:g} to {high:g}"

    def read(value: Any) -> float:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}", value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise refuse(expected)
        return float(value)

    digits = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{0,9})?$|^\.[0-9]{1,9}$|\$\{"}
    return reads(read, {"anyOf": [{"type": "number", "minimum": low, "maximum": high}, digits]})


DURATION_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^\s*\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w))+\s*$|^0$|\$\{"},
        {"const": 0},
    ]
}
"""JSON schema of a duration, without its limits: it has no order for them."""


def duration(
    low: timedelta = timedelta(0), high: timedelta | None = None, *, whole_minutes: bool = False
) -> BeforeValidator:
    """Accepts text such as "1h30m", or the number 0."""
    expected = "a duration such as 1h30m, 5m or 50ms"
    if whole_minutes:
        expected = "a duration in whole minutes such as 30m or 1h"
    limits = [f"at least {format_duration(low) if low else '0'}"]
    if high is not None:
        limits.append(f"at most {format_duration(high)}")
    expected += f", {', '.join(limits)}"

    def read(value: Any) -> timedelta:
        if isinstance(value, int) and not isinstance(value, bool) and value == 0:
            value = "0"
        if not isinstance(value, str):
            raise refuse(expected)
        try:
            length = parse_duration(str(value).strip())
        except ValueError:
            raise refuse(expected) from None
        whole = not whole_minutes or length % timedelta(minutes=1) == timedelta(0)
        if not whole or length < low or length > (LONGEST if high is None else high):
            raise refuse(expected)
        return length

    return reads(read, DURATION_SCHEMA)


def text(
    expected: str,
    accepts: Callable[[str], bool] = lambda _: True,
    *,
    longest: int = 500,
    remedy: str = "",
    pattern: str = r"\S",
) -> BeforeValidator:
    """Accepts non-empty text without control characters for which `accepts` holds. `pattern`: for editors alone."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise refuse(expected)
        plain = str(value)
        if not plain.strip() or len(plain.encode(errors="replace")) > longest or not plain.isprintable():
            raise refuse(expected)
        if not accepts(plain):
            raise refuse(expected, **({"remedy": remedy} if remedy else {}))
        return plain

    pattern = pattern if pattern == r"\S" else rf"{pattern}|\$\{{"
    return reads(read, {"type": "string", "pattern": pattern})


def _flag(value: Any) -> bool:
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool | int | str) and str(value).strip().lower() in known:
        return known[str(value).strip().lower()]
    raise refuse("true or false")


def _zone(value: Any) -> str:
    expected = "utc or an IANA time zone such as Europe/Berlin"
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", value):
        raise refuse(expected)
    if value.lower() == "utc":
        return "UTC"
    try:
        ZoneInfo(str(value))
    # ZoneInfo opens a file by this name; what it raises for a folder or a stray file differs by platform.
    except (KeyError, ValueError, OSError):
        raise refuse(expected, remedy="take a name from the IANA time zone database") from None
    return str(value)


def _column_zone(value: Any) -> str:
    if value == SESSION_ZONE:
        return SESSION_ZONE
    try:
        return _zone(value)
    except PydanticCustomError:
        raise refuse("utc, session (that of the database) or an IANA time zone such as Europe/Berlin") from None


def one_of(*values: str) -> BeforeValidator:
    """Accepts exactly these words."""
    expected = values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise refuse(expected, choices="\n".join(values))
        return str(value)

    return reads(read, words_schema(values))


NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
NAME_WANTED = "a name of small letters, digits and _, beginning with a letter, at most 63 long"
_MAX_IDENTIFIER = 63  # bytes; PostgreSQL cuts longer ones off without a word (NAMEDATALEN - 1)


def _plain_path(path: str) -> bool:
    return all(part and not part.startswith("$") for part in path.split("."))


_FLAG_WORDS = {"type": "string", "pattern": r"^\s*([Tt]rue|[Ff]alse|[Yy]es|[Nn]o|[Oo]n|[Oo]ff|0|1)\s*$|\$\{"}
_FLAG_SCHEMA = {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, _FLAG_WORDS]}
_ZONE_SCHEMA = {"type": "string", "pattern": r"^[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*$|\$\{"}

Flag = Annotated[bool, reads(_flag, _FLAG_SCHEMA)]
Zone = Annotated[str, reads(_zone, _ZONE_SCHEMA)]
ColumnZone = Annotated[str, reads(_column_zone, _ZONE_SCHEMA)]
Unit = Annotated[EpochUnit, one_of("s", "ms", "ns")]
SecondsOrMilliseconds = Annotated[EpochUnit, one_of("s", "ms")]
Kind = Annotated[
    str,
    text(
        "a name of small letters, digits and _, beginning with a letter, at most 63 long",
        lambda v: bool(NAME.fullmatch(v)),
        pattern=rf"^{NAME.pattern}$",
    ),
]
Column = Annotated[str, text("the name of a column, at most 63 bytes", longest=_MAX_IDENTIFIER)]
Identifier = Annotated[str, text("a name of at most 63 bytes", longest=_MAX_IDENTIFIER)]
TableName = Annotated[
    str,
    text(
        "a table, or schema.table",
        lambda v: v.count(".") <= 1 and all(0 < len(part.encode()) <= _MAX_IDENTIFIER for part in v.split(".")),
        longest=2 * _MAX_IDENTIFIER + 1,
        remedy="a table with a dot in its name needs its schema in `schema`",
        pattern=r"^[^.]+(\.[^.]+)?$",
    ),
]
CollectionName = Annotated[
    str, text("a collection", lambda v: "$" not in v and not v.startswith("system."), longest=255)
]
DatabaseName = Annotated[str, text("a database", lambda v: not set(v) & set('/\\. "$'), longest=_MAX_IDENTIFIER)]
FieldPath = Annotated[str, text("a field, or a dotted path such as a.b", _plain_path)]
Prefix = Annotated[str, text("the literal text that the keys begin with")]
KeyType = Annotated[str, one_of("string", "hash", "zset", "set", "list")]
