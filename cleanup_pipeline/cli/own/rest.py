"""What else a target says: which records it is about, what becomes of them, how long they are kept, what they are."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.own.asking import Ask, Option, mapping, pairs
from cleanup_pipeline.cli.own.given import Given, Place
from cleanup_pipeline.cli.own.place import checked_name
from cleanup_pipeline.cli.own.suggest import kind_of, name_of, pass_of
from cleanup_pipeline.cli.own.values import a_duration, listed, number_or_text
from cleanup_pipeline.layouts.table_spec import GuardSpec
from cleanup_pipeline.model.seen import Seen
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.load import DEFAULT_PASSES

Keys = dict[str, Any]

_GUARD = "a guard such as {column: status, in: [revoked]} (docs/own-layout.md lists them)"
_NONE = "none"
_ROWS = (
    Option(_NONE, "all records are meant"),
    Option("in", "only where a column is one of some values"),
    Option("null", "only where a column is null"),
    Option("set", "only where a column is not null"),
    Option("older", "only what began so long ago"),
    Option("unreferenced", "only what no row of another table refers to"),
    Option("gone", "only what points to a row of another table that is gone"),
)
_DOCUMENTS = (
    Option(_NONE, "all records are meant"),
    Option("field", "only where a field is one of some values"),
    Option("missing", "only where a field is missing or null"),
    Option("there", "only where a field is there"),
)


def guarded(ask: Ask, given: Given, place: Place) -> Keys:
    """`where` and `guards`. Raises UsageError."""
    where = {key: number_or_text(value) for key, value in pairs(given.where, "--where").items()}
    guards = [_guard(each) for each in given.guard]
    if ask.terminal and place.type is not StoreType.REDIS and not where and not guards:
        guards = _asked_guards(ask, place.type)
    found: Keys = {"where": where} if where else {}
    return found | ({"guards": guards} if guards else {})


def _guard(text: str) -> Keys:
    try:
        guard = mapping(text, _GUARD)
        GuardSpec.model_validate(guard)
    except (ValueError, ValidationError):
        raise UsageError(f"--guard: expected {_GUARD}") from None
    return guard


def _asked_guards(ask: Ask, store_type: StoreType) -> list[Keys]:
    options = _ROWS if store_type is StoreType.POSTGRES else _DOCUMENTS
    guards: list[Keys] = []
    while True:
        question = "Is something else to hold for a record to go?" if not guards else "And something besides?"
        form = ask.pick(None, "--guard", question, options, _NONE)
        if form == _NONE:
            return guards
        guards.append(_asked_guard(ask, form))


def _asked_guard(ask: Ask, form: str) -> Keys:
    if form in {"unreferenced", "gone"}:
        table = ask.text(None, "--guard", "Which other table")
        key = ask.text(None, "--guard", f"The column of {table}")
        by = ask.text(None, "--guard", "The column of this record that it equals")
        return {"gone" if form == "gone" else "not_referenced_by": table, "key": key, "by": by}
    if form == "older":
        age = ask.text(None, "--guard", "How long ago (14d)", check=a_duration)
        return {"older_than": age, "since": ask.text(None, "--guard", "The column in which it began", "created_at")}
    of = "column" if form in {"in", "null", "set"} else "field"
    name = ask.text(None, "--guard", f"Which {of}")
    match form:
        case "in" | "field":
            values = listed(ask.text(None, "--guard", "Which values, with commas between them"))
            return {of: name, "in": [number_or_text(value) for value in values]}
        case "null" | "set":
            return {of: name, "is_null": form == "null"}
        case _:
            return {of: name, "exists": form == "there"}


def what_becomes(ask: Ask, given: Given, place: Place, seen: Seen | None, rule: Mapping[str, Any]) -> Keys:
    """`set_null`, `unset`, `children` and `detach`. Raises UsageError."""
    found: Keys = {}
    set_null, unset = list(given.set_null), list(given.unset)
    if ask.terminal and not set_null and place.type is StoreType.POSTGRES:
        question = "Columns to set to null in place of deleting the row, with commas (empty: delete the row)"
        set_null = listed(ask.text(None, "--set-null", question, ""))
    if ask.terminal and not unset and place.type is StoreType.MONGO and "pull" not in rule:
        question = "Fields to remove in place of deleting the document, with commas (empty: delete the document)"
        unset = listed(ask.text(None, "--unset", question, ""))
    found |= {"set_null": set_null} if set_null else {}
    found |= {"unset": unset} if unset else {}
    children = given.children
    if children is None and seen is not None and seen.referred_by and not set_null:
        question = f"Rows of {', '.join(seen.referred_by)} may refer to a record. What then?"
        options = (Option("keep", "the record stays"), Option("delete_first", "they are deleted, and then the record"))
        children = ask.pick(None, "--children", question, options, "keep")
    found |= {"children": children} if children and children != "keep" else {}
    detach = []
    for each in given.detach:
        try:
            detach.append(mapping(each, ""))
        except ValueError:
            raise UsageError("--detach: expected {table: ..., key: ..., by: ...}, as YAML") from None
    return found | ({"detach": detach} if detach else {})


def kept_and_named(ask: Ask, given: Given, place: Place, source: Keys, rule: Mapping[str, Any]) -> tuple[str, Keys]:
    """The target's name, and `grace`, `kind` and `pass`. Raises UsageError."""
    name_of_source = str(source.get("table") or source.get("collection") or source.get("keys"))
    found: Keys = {}
    if not {"members_of", "ttl"} & set(rule):
        question = "How long is a record kept after it died"
        grace = ask.text(given.grace, "--grace", question, "0s", a_duration)
        found |= {"grace": grace} if grace.strip("0") not in {"", "s"} else {}
    elif given.grace is not None:
        raise UsageError("--grace: a record of this rule has no instant of death, and so no grace")
    kind = ask.text(given.kind, "--kind", "What are the records", kind_of(name_of_source), checked_name)
    passes = pass_of(kind)
    known = list(dict.fromkeys([*DEFAULT_PASSES, *place.passes]))
    pass_name = ask.pick(given.pass_name, "--pass", "Which pass cleans them?", [Option(each) for each in known], passes)
    name = ask.text(given.name, "--name", "Name of the target", name_of(name_of_source), checked_name)
    return name, {"kind": kind, "pass": pass_name, **found}
