"""Scenario files as a JSON schema, for editors: made from the models that they are checked with."""

import json
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.simulation.document import ScenarioFile

_ROOT = "#/definitions/"


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def json_schema() -> dict[str, Any]:
    """The schema of a whole scenario file, in draft 7."""
    made = ScenarioFile.model_json_schema(ref_template=f"{_ROOT}{{model}}", schema_generator=_Generator)
    definitions = made.pop("$defs")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "scenario.yaml",
        **{key: _tidied(value) for key, value in made.items() if key != "title"},
        "definitions": {name: _tidied(definitions[name]) for name in sorted(definitions)},
    }


def schema_text() -> str:
    """The same as it is written to a file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _tidied(value: Any) -> Any:
    """Without titles, and defaults that only say that a key may be left out."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    noise = {"title"} if isinstance(value.get("title"), str) else set[str]()
    if "default" in value and value["default"] is None:
        noise.add("default")
    return {key: _tidied(item) for key, item in value.items() if key not in noise}
