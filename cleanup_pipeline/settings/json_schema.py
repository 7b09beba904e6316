"""cleanup.yaml as a JSON schema, for editors: made from the models that the settings are checked with.

Looser than the settings themselves, which stay the authority (docs/own-layout.md says where). Draft 7, which is what
yaml-language-server reads.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, Any

from pydantic.json_schema import GenerateJsonSchema

from cleanup_pipeline.layouts import Preset, layouts
from cleanup_pipeline.layouts.expiry_spec import EXPIRY_SPECS, PointerSpec
from cleanup_pipeline.layouts.field_types import NAME, Kind, Section, shown_as, words_schema
from cleanup_pipeline.layouts.table_spec import GUARD_FORMS, GuardSpec, StartSpec
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.alerts import AlertsSection
from cleanup_pipeline.settings.brakes import BrakesSection
from cleanup_pipeline.settings.descriptions import DESCRIPTIONS, description
from cleanup_pipeline.settings.execution import ExecutionSection
from cleanup_pipeline.settings.history import HistorySection
from cleanup_pipeline.settings.keeping import QuarantineSection, RemovalsSection
from cleanup_pipeline.settings.notifications import ChannelSection, NotificationsSection
from cleanup_pipeline.settings.pace import GovernorSection
from cleanup_pipeline.settings.plans import PlansSection
from cleanup_pipeline.settings.schema import CleanupSection, PassSection, StoreSection, TargetSection

FILE = ".cleanup/cleanup.schema.json"
"""Where commands that write a settings file put it, beside that file."""
MODELINE = f"# yaml-language-server: $schema={FILE}"
"""The first line of such a file: editors that speak to yaml-language-server go by it."""

Schema = dict[str, Any]
_ROOT = "#/definitions/"
_NULL = {"type": "null"}
_NULLABLE = {
    section.__name__
    for section in (
        CleanupSection,
        PassSection,
        GovernorSection,
        BrakesSection,
        AlertsSection,
        NotificationsSection,
        HistorySection,
        PlansSection,
        RemovalsSection,
        QuarantineSection,
        ExecutionSection,
    )
} | {"_App"}
"""Sections with nothing in them are as good as none."""
_TABLE_KEYS = {StoreType.POSTGRES: "table", StoreType.MONGO: "collection", StoreType.REDIS: "keys"}
_LISTS_OF_OTHERS = {
    StoreType.POSTGRES: ("unset",),
    StoreType.MONGO: ("set_null", "detach"),
    StoreType.REDIS: ("guards", "unset", "set_null", "detach"),
}


class _App(Section):
    """`app: {cleanup: ...}`, which is `cleanup: ...`."""

    cleanup: CleanupSection | None = None


class _File(Section):
    """What cleanup-pipeline cleans, where, how often and how gently."""

    cleanup: CleanupSection | None = None
    app: _App | None = None
    stores: dict[Kind, StoreSection] | None = None
    passes: Annotated[Any, shown_as(dict[Kind, PassSection | None] | None)] = None
    targets: dict[Kind, TargetSection] | None = None
    alerts: AlertsSection | None = None
    notifications: NotificationsSection | None = None
    history: HistorySection | None = None
    plans: PlansSection | None = None
    removals: RemovalsSection | None = None
    quarantine: QuarantineSection | None = None
    execution: ExecutionSection | None = None


_TOP = {
    "cleanup": "Switch, intervals and limits for all targets.",
    "app": "The same as `cleanup`, one level deeper.",
    "stores": "Connections, by name.",
    "passes": "Schedules, by name; `sessions` and `verification_tokens` exist by themselves.",
    "targets": "What is cleaned, by name: a table, a collection or a pattern of keys.",
    "alerts": "From when on something is too much.",
    "notifications": "Who is told.",
    "history": "How long what the product writes about itself is kept.",
    "plans": "How long a plan may be applied, and what it shows.",
    "removals": "The removal ledger: where it is, and how much of it is kept.",
    "quarantine": "The quarantine: where it is, and how much of it is kept.",
    "execution": "In which processes steps run, and where they leave what they hand on.",
}


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def json_schema() -> Schema:
    """The schema of a whole settings file."""
    made: Schema = _File.model_json_schema(ref_template=f"{_ROOT}{{model}}", schema_generator=_Generator)
    definitions: dict[str, Schema] = made.pop("$defs")
    for section in DESCRIPTIONS:
        if section.__name__ in definitions:
            _describe(definitions[section.__name__], section)
    for key, text in _TOP.items():
        made["properties"][key]["description"] = text
    for name in _NULLABLE:
        definitions[name]["type"] = ["object", "null"]
    _rules_between_keys(definitions)
    _targets(definitions)
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "cleanup.yaml",
        **{key: value for key, value in made.items() if key != "title"},
        "definitions": {name: definitions[name] for name in sorted(definitions)},
    }
    tidied: Schema = _tidied(schema)
    return tidied


@cache
def schema_text() -> str:
    """The same as it is written to a file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _describe(definition: Schema, section: type[Section]) -> None:
    for key, value in definition["properties"].items():
        value["description"] = description(section, key)


def _rules_between_keys(definitions: dict[str, Schema]) -> None:
    lifetimes = ("lifetime", "lifetime_column", "lifetime_by")
    definitions[StartSpec.__name__]["oneOf"] = [{"required": [key]} for key in lifetimes]
    for section in (StoreSection, ChannelSection):
        both = [{"required": [key, f"{key}_file"]} for key in ("url", "secret") if key in section.model_fields]
        if "urls" in section.model_fields:
            both += [{"required": ["urls", "url"]}, {"required": ["urls", "url_file"]}]
        definitions[section.__name__]["not"] = {"anyOf": both}
    definitions[PointerSpec.__name__]["dependencies"] = {"matches": ["hash_field"], "hash_field": ["matches"]}
    aliases = {name: info.alias or name for name, info in GuardSpec.model_fields.items()}
    forms = [sorted(aliases[name] for name in form) for form in GUARD_FORMS]
    definitions[GuardSpec.__name__]["anyOf"] = [{"required": form} for form in forms]


def _targets(definitions: dict[str, Schema]) -> None:
    """What a target has to have, and what depends on its layout or on where its records are."""
    target = definitions[TargetSection.__name__]
    known = layouts()
    target["properties"]["layout"] = {
        "description": description(TargetSection, "layout"),
        **words_schema(known),
        "markdownEnumDescriptions": [preset.title for preset in known.values()],
    }
    target["properties"]["params"] = {
        "description": description(TargetSection, "params"),
        "anyOf": [{"type": "object"}, {"type": "null"}],
    }
    target["required"] = ["store"]
    target["anyOf"] = [
        {"required": ["layout"]},
        *({"required": [key, "expires"]} for key in _TABLE_KEYS.values()),
    ]
    target["allOf"] = [*_by_place(), *(_by_layout(preset) for preset in known.values())]


def _by_place() -> Iterator[Schema]:
    """A table goes with PostgreSQL's rules, and so on."""
    for store_type, key in _TABLE_KEYS.items():
        rules = [{"$ref": f"{_ROOT}{spec.__name__}"} for spec in EXPIRY_SPECS[store_type]]
        others = [other for other in _TABLE_KEYS.values() if other != key]
        forbidden: Schema = dict.fromkeys(others, _NULL)
        forbidden |= {other: {"type": ["array", "null"], "maxItems": 0} for other in _LISTS_OF_OTHERS[store_type]}
        if store_type is StoreType.REDIS:
            forbidden["where"] = _NULL
        else:
            has_field = {"required": ["field"]}
            of_rows = store_type is StoreType.POSTGRES
            forbidden["guards"] = {"items": {"not": has_field} if of_rows else has_field}
        expires = {"anyOf": [*rules, _NULL]}
        yield {"if": {"required": [key]}, "then": {"properties": {"expires": expires, **forbidden}}}
    yield {"if": {"not": {"required": ["layout"]}}, "then": {"properties": {"params": _NULL, "columns": _NULL}}}


def _by_layout(preset: Preset) -> Schema:
    """The parameters and columns of one layout."""
    params = preset.params_model.model_json_schema(ref_template=f"{_ROOT}{{model}}", schema_generator=_Generator)
    shown: Schema = {"type": "object", "additionalProperties": False, "properties": params.get("properties", {})}
    for key, spec in preset.params.items():
        default = {} if spec.default is None else {"default": spec.default}
        shown["properties"][key] = {**shown["properties"][key], "description": spec.about, **default}
    required = [key for key, spec in preset.params.items() if spec.required]
    then: Schema = {"properties": {"params": {"anyOf": [shown, {"type": "null"}]}}}
    if required:
        then = {"properties": {"params": {**shown, "required": required}}, "required": ["params"]}
    if preset.columns:
        then["properties"]["columns"] = {"propertyNames": {"enum": list(preset.columns)}}
    if preset.report_only:
        then["properties"]["mode"] = {"not": {"const": "delete"}, "description": preset.report_only}
    condition = {"properties": {"layout": {"const": preset.name}}, "required": ["layout"]}
    return {"if": condition, "then": then}


def _tidied(value: Any) -> Any:
    """Without what pydantic adds of its own: titles, and defaults that only say that a key may be left out."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _tidied(item) for key, item in value.items() if not _is_noise(value, key)}
    named = kept.get("patternProperties")
    if isinstance(named, dict):
        # What has another name would pass unseen.
        kept.pop("patternProperties")
        kept |= {"propertyNames": {"pattern": f"^{NAME.pattern}$"}, "additionalProperties": next(iter(named.values()))}
    kept = _without_null(kept)
    if "$ref" in kept and len(kept) > 1:
        # In draft 7, what stands beside a reference does not count.
        kept["allOf"] = [{"$ref": kept.pop("$ref")}]
    return kept


def _without_null(schema: Schema) -> Schema:
    """A value that may also be null, said so that a fault in it has its own path and words, not those of a choice."""
    choices = schema.get("anyOf", [])
    others = [choice for choice in choices if choice != _NULL]
    if len(others) != 1 or len(choices) != 2:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    (only,) = others
    if isinstance(only.get("type"), str):
        return {**rest, **only, "type": [only["type"], "null"]}
    return {**rest, **only} if only.get("$ref", "").removeprefix(_ROOT) in _NULLABLE else schema


def _is_noise(schema: Mapping[str, Any], key: str) -> bool:
    value = schema[key]
    if key == "title":
        return isinstance(value, str) and value != "cleanup.yaml"
    return key == "default" and (value is None or value == [] or value == {})
