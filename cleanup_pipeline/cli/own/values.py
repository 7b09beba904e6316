"""Single values that several questions have in common."""

from typing import Any

from cleanup_pipeline.cli.own.asking import Ask, Option
from cleanup_pipeline.cli.own.given import Given
from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.model.words import EpochUnit

_MOST = 2**63
"""What a bigint, or MongoDB's long, holds is less."""

UNITS = (Option("s", "seconds since 1970"), Option("ms", "milliseconds"), Option("ns", "nanoseconds"))


def a_duration(answer: str) -> str:
    """Raises ValueError."""
    try:
        length = parse_duration(answer)
    except ValueError:
        length = None
    if length is None or length.total_seconds() < 0:
        raise ValueError("a duration such as 30m, 2h or 30d")
    return answer


def a_zone(answer: str) -> str:
    """Raises ValueError."""
    from pydantic import TypeAdapter, ValidationError

    from cleanup_pipeline.layouts.field_types import ColumnZone

    try:
        TypeAdapter(ColumnZone).validate_python(answer)
    except ValidationError:
        raise ValueError("utc, session (that of the database) or an IANA name such as Europe/Berlin") from None
    return answer


def listed(answer: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in answer.split(",") if part.strip()]


def the_unit(ask: Ask, given: str | None, likely: EpochUnit | None) -> str:
    """Of a number. What a sample looks like is a suggestion on a terminal, and never taken without a word."""
    question = "In which unit is it?"
    if likely is not None:
        question += f" What is there now would make sense as {likely.value}."
    unit = ask.pick(given, "--unit", question, UNITS, likely.value if likely and ask.terminal else None)
    ask.stop_if_lacking()
    return unit


def null_and_never(ask: Ask, given: Given, column: str, *, numeric: bool) -> dict[str, Any]:
    """What a record without a value is, and which values stand for none."""
    question = f"What is a record whose {column} is null?"
    options = (Option("never", "it never expires, and stays"), Option("dead", "it goes"))
    null_means = ask.pick(given.null_means, "--null-means", question, options, "never")
    never = [number_or_text(value) for value in given.never_value]
    if not never and numeric:
        question = f"Values of {column} that mean never, besides 0 and less, with commas (empty: none)"
        never = [number_or_text(value) for value in listed(ask.text(None, "--never-value", question, ""))]
    rule: dict[str, Any] = {"null_means": "dead"} if null_means == "dead" else {}
    return rule | ({"never_values": never} if never else {})


def number_or_text(value: str) -> str | int | bool:
    """As YAML would read it where it is a whole number, true or false; else text."""
    if value in {"true", "false"}:
        return value == "true"
    digits = value.removeprefix("-")
    is_whole = digits.isdigit() and digits.isascii() and len(digits) < 20
    return int(value) if is_whole and -_MOST <= int(value) < _MOST else value
