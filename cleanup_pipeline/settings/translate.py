"""From what pydantic says is wrong to faults a reader can act on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cleanup_pipeline.layouts.expiry_spec import spec_keys
from cleanup_pipeline.layouts.field_types import NAME, Section
from cleanup_pipeline.settings.faults import Fault, Path, dotted, nearest, show

S = TypeVar("S", bound=Section)


def check_section(
    model: type[S], raw: Any, path: Path, faults: list[Fault], wanted: str = ""
) -> tuple[S | None, set[str]]:
    """The section that `raw` is, every fault of it added to `faults`.

    Keys that are wrong are left out and named in the second value, so that the rest can still be looked at; None when
    too little is left for a section.
    """
    if not isinstance(raw, dict):
        expected = wanted or f"a mapping with {some_of(spec_keys(model))}"
        faults.append(Fault(dotted(path), show(raw), expected))
        return None, set()
    try:
        return model.model_validate(raw), set()
    except ValidationError as error:
        details = error.errors(include_url=False)
    faults += _translate(model, details, path)
    wrong = {str(detail["loc"][0]) for detail in details if detail["loc"]}
    try:
        return model.model_validate({key: value for key, value in raw.items() if key not in wrong}), wrong
    except ValidationError:
        return None, wrong


def _translate(model: type[Section], details: Sequence[ErrorDetails], path: Path) -> list[Fault]:
    known = spec_keys(model)
    unknown = [str(detail["loc"][0]) for detail in details if detail["type"] == "extra_forbidden"]
    meant = {nearest(name, known) for name in unknown}
    # A wrong spelling of a required key is one fault, not also a missing key.
    return [
        _fault(model, detail, path, known)
        for detail in details
        if not (detail["type"] == "missing" and str(detail["loc"][0]) in meant)
    ]


def _fault(model: type[Section], detail: ErrorDetails, path: Path, known: Sequence[str]) -> Fault:
    # The name that a union gives to one of its rules is no part of the document.
    where = (*path, *(str(part) for part in detail["loc"] if not str(part).startswith("rule:")))
    context: Mapping[str, Any] = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return unknown_key(where, _known_at(model, detail["loc"], known))
    if detail["type"] == "missing":
        return Fault(dotted(where), "nothing", "a value")
    if detail["type"] == "expected":
        choices = str(context.get("choices", "")).split("\n")
        value = detail["input"]
        return Fault(
            dotted(where),
            show(value),
            str(context["expected"]),
            nearest(value, choices) if isinstance(value, str) else None,
            str(context.get("remedy", "")),
        )
    expected = "a list" if detail["type"] in {"tuple_type", "list_type"} else "a value of another type"
    return Fault(dotted(where), show(detail["input"]), expected)


def _known_at(model: type[Section], loc: Sequence[str | int], known: Sequence[str]) -> Sequence[str]:
    """The keys of the section, nested in `model` or not, in which a key at `loc` is wrong."""
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        name = part.removeprefix("rule:")
        field = next((f for key, f in model.model_fields.items() if (f.alias or key) == name), None)
        found = _sections_in(field.annotation if field else None)
        if not found:
            continue
        model, known = found[0], tuple(key for section in found for key in spec_keys(section))
    return known


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def missing(key: Path, wrong: set[str], expected: str, faults: list[Fault]) -> None:
    """A required key is not there, and no misspelt one stands for it."""
    if key[-1] not in wrong and not any(nearest(name, (key[-1],)) for name in wrong):
        faults.append(Fault(dotted(key), "nothing", expected))


def unknown_key(where: Path, known: Sequence[str]) -> Fault:
    """A key that means nothing here. Its value is not shown: nobody knows what it is."""
    return Fault(dotted(where), "an unknown key", f"one of {', '.join(known)}", nearest(where[-1], known))


def unknown_name(where: Path, name: str, what: str, known: Sequence[str], remedy: str = "") -> Fault:
    """A reference to something that is not there."""
    known = [candidate for candidate in known if NAME.fullmatch(candidate.replace("-", "_"))]
    expected = f"{what}, one of {', '.join(known)}" if known else f"{what}, of which there is none"
    return Fault(dotted(where), show(name), expected, nearest(name, known), remedy)


def some_of(names: Sequence[str]) -> str:
    """A few names of many."""
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:6])}, ..."


def named_by_variable(fault: Fault, origins: Mapping[Path, str]) -> Fault:
    """The fault, with the environment variable that its value came from in front of the path."""
    for path, variable in origins.items():
        text = dotted(path)
        if fault.path == text or fault.path.startswith(f"{text}."):
            return replace(fault, path=f"{variable} ({fault.path})")
    return fault
