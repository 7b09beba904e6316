"""How a key of Redis, or a member of one, says when it dies."""

from typing import Any

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.own.asking import Ask, Option
from cleanup_pipeline.cli.own.given import Given
from cleanup_pipeline.cli.own.suggest import instants
from cleanup_pipeline.cli.own.values import the_unit
from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.words import StoreType

Rule = dict[str, Any]

_FORMS = (
    Option("hash_field", "at the epoch number in a field of the hash"),
    Option("json", "at an instant in the JSON that is its value"),
    Option("msgpack", "at an instant in the MessagePack that is its value"),
    Option("value", "at the epoch number that is its value"),
    Option("score", "each member of a sorted set, at its score"),
    Option("members_of", "each member of a set, list or hash, when the key that it names is gone"),
    Option("ttl", "by its own TTL alone: keys without one are counted and left"),
    Option("written", "by another rule, written in YAML (docs/own-layout.md lists them)"),
)
_OF_TYPE = {
    "hash": {"hash_field", "members_of", "ttl", "written"},
    "string": {"json", "msgpack", "value", "ttl", "written"},
    "zset": {"score", "members_of", "ttl", "written"},
    "set": {"members_of", "ttl", "written"},
    "list": {"members_of", "ttl", "written"},
}
_FORM_OF_PLACE = {"hash field": "hash_field", "json": "json", "msgpack": "msgpack", "value": "value", "score": "score"}
_CODECS = (
    Option("raw", "as it is"),
    Option("json", "a JSON string, in quotes"),
    Option("jdk", "a string as Java serializes it"),
)


def key_rule(ask: Ask, given: Given, seen: Seen | None) -> Rule | None:
    """The rule; None: it has to be written in YAML. Raises UsageError."""
    if given.expires is not None:
        return _named(ask, given, seen, given.expires)
    places = instants(seen, StoreType.REDIS) if seen else []
    kinds = _OF_TYPE.get((seen.key_type if seen else given.key_type) or "", {form.value for form in _FORMS})
    forms = [form for form in _FORMS if form.value in kinds]
    default = _FORM_OF_PLACE[places[0].type] if places else None
    form = ask.pick(None, "--expires", "When does a record die?", forms, default)
    fitting = [place for place in places if _FORM_OF_PLACE[place.type] == form]
    match form:
        case "hash_field" | "json" | "msgpack":
            return _at_a_name(ask, given, seen, form, fitting)
        case "value" | "score":
            return {form: the_unit(ask, given.unit, fitting[0].unit if fitting else None)}
        case "members_of":
            question = "The key that a member names, with {member} in it, such as session:{member}"
            rule: Rule = {"members_of": ask.text(None, "--expires", question, check=_template)}
            codec = ask.pick(None, "--expires", "How is the member written?", _CODECS, "raw")
            return rule | ({} if codec == "raw" else {"member_codec": codec})
        case "ttl":
            return {"ttl": "native"}
        case _:
            return None


def _template(answer: str) -> str:
    if "{member}" not in answer or answer.startswith("{"):
        raise ValueError("a key that begins with literal text and has {member} in it, such as session:{member}")
    return answer


def _at_a_name(ask: Ask, given: Given, seen: Seen | None, form: str, fitting: list[SeenField]) -> Rule:
    options = [Option(place.name, _note(place)) for place in fitting]
    question = "Which field?" if form == "hash_field" else "Which path in it, such as cookie.expires?"
    name = ask.pick(None, "--expires", question, options, options[0].value if options else None, only=False)
    known = next((place for place in fitting if place.name == name), None)
    rule: Rule = {form: name}
    if form == "hash_field":
        rule["unit"] = the_unit(ask, given.unit, known.unit if known else None)
        return rule
    if not _is_text(ask, known):
        rule["unit"] = the_unit(ask, given.unit, known.unit if known else None)
    some_have_ttl = seen is None or seen.without_ttl is None or seen.without_ttl < seen.looked
    question = "Is a key that has a TTL to be left to it, whatever its value says? Yes if the TTL alone is prolonged"
    if ask.confirm(question, default=some_have_ttl):
        rule["ttl_wins"] = True
    return rule


def _is_text(ask: Ask, known: SeenField | None) -> bool:
    if known is not None:
        return known.iso
    kinds = (Option("text", "ISO 8601"), Option("number", "since 1970"))
    return ask.pick(None, "--unit", "What is there?", kinds, "text") == "text"


def _note(place: SeenField) -> str:
    return "ISO 8601" if place.iso else f"would make sense as {place.unit.value}" if place.unit else ""


def _named(ask: Ask, given: Given, seen: Seen | None, name: str) -> Rule:
    """`--expires NAME`: a field of a hash, or a path in a value."""
    known = next((place for place in seen.fields if place.name == name), None) if seen else None
    key_type = seen.key_type if seen else given.key_type
    if known is None and key_type == "hash":
        known = SeenField(name, "hash field")
    if known is None or known.type not in {"hash field", "json", "msgpack"}:
        raise UsageError(
            f"--expires {name}: nothing of this name was seen in the keys; write the rule as a mapping,"
            f" such as '{{hash_field: {name}, unit: s}}', '{{json: {name}}}' or '{{ttl: native}}'"
        )
    form = _FORM_OF_PLACE[known.type]
    rule: Rule = {form: name}
    if not known.iso:
        rule["unit"] = the_unit(ask, given.unit, known.unit)
    # Keeps more than it may have to; {json: ...} as a mapping says otherwise.
    return rule if form == "hash_field" else {**rule, "ttl_wins": True}
