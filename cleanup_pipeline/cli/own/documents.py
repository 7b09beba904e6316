"""How a document of MongoDB, or an element of an array in one, says when it dies."""

from typing import Any

from cleanup_pipeline.cli.own.asking import Ask, Option
from cleanup_pipeline.cli.own.given import Given
from cleanup_pipeline.cli.own.suggest import instants, is_beginning, is_end
from cleanup_pipeline.cli.own.values import a_duration, the_unit
from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.words import StoreType

_WRITTEN = "written"
_NUMBERS = {"int", "long", "double", "decimal"}
_KINDS = (
    Option("date", "a BSON date"),
    Option("number", "since 1970"),
    Option("mixed", "a date in some, milliseconds in others"),
)


def document_rule(ask: Ask, given: Given, seen: Seen | None) -> dict[str, Any] | None:
    """The rule; None: it has to be written in YAML. Raises UsageError."""
    name = given.expires
    fields = instants(seen, StoreType.MONGO) if seen else []
    if name is None:
        options = [Option(field.name, _note(field)) for field in fields]
        options.append(Option(_WRITTEN, "another rule, written in YAML (docs/own-layout.md lists them)"))
        default = next((field.name for field in fields if is_end(field.name.rpartition(".")[2])), None)
        name = ask.pick(
            None, "--expires", "Which field says when? A dotted path such as a.b", options, default, only=False
        )
        if name == _WRITTEN:
            return None
    known = next((field for field in seen.fields if field.name == name), None) if seen else None
    rule: dict[str, Any] = {"field": name, **_reading(ask, given, name, known)}
    last = name.rpartition(".")[2]
    lifetime = given.lifetime
    if lifetime is None and ask.terminal and not is_end(last):
        question = f"How long does a record live after {name} (empty: {name} is already its end)"
        suggested = None if is_beginning(last) else ""
        lifetime = ask.text(None, "--lifetime", question, suggested, check=a_duration) or None
    if lifetime is not None:
        rule["lifetime"] = ask.text(lifetime, "--lifetime", "", check=a_duration)
    if known is not None and known.array is not None:
        rule["pull"] = known.array
    return rule


def _note(field: SeenField) -> str:
    within = f", in the array {field.array}: its elements are pulled" if field.array else ""
    unit = f", would make sense as {field.unit.value}" if field.unit else ""
    return f"{field.type}{unit}{within}"


def _reading(ask: Ask, given: Given, name: str, known: SeenField | None) -> dict[str, Any]:
    """Unit, or that dates and numbers are mixed, as far as the field's type needs it."""
    if given.unit is not None:
        return {"unit": the_unit(ask, given.unit, None)}
    types = set(known.type.split(" or ")) if known else set()
    if known is None and ask.terminal:
        kind = ask.pick(None, "--unit", f"What is {name}?", _KINDS, "date")
        types = {"date": {"date"}, "number": {"int"}, "mixed": {"date", "int"}}[kind]
    if types & _NUMBERS and "date" in types:
        return {"or_unit": "ms"}
    if types & _NUMBERS:
        return {"unit": the_unit(ask, None, known.unit if known else None)}
    return {}
