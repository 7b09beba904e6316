"""docs/cleanup.schema.json is current, accepts every file that is shipped, and refuses what people get wrong."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from cleanup_pipeline.cli.init import StoreSeen, document
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.params import MADE_UP
from cleanup_pipeline.layouts.recognise import Recognised
from cleanup_pipeline.model.location import Location
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.settings.json_schema import json_schema, schema_text

ROOT = Path(__file__).parents[3]
SCHEMA = json_schema()
CHECKS = Draft7Validator(SCHEMA)
STORES = "stores: {main: {type: postgres, url: '${URL}'}}\n"
VALUES = {
    **MADE_UP,
    "duration": "2h",
    "zone": "utc",
    "table": "t",
    "schema": "s",
    "column": "c",
    "prefix": "p",
    "database": "d",
    "key_type": "string",
    "codec": "raw",
}


def faults(text: str) -> list[str]:
    """What is wrong with a file by the schema alone, as an editor would read it."""
    content = _as_json(yaml.safe_load(text))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in CHECKS.iter_errors(content)]


def _as_json(value: Any) -> Any:
    """Without PyYAML's dates, which YAML 1.2 has not."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def test_the_committed_file_is_what_the_command_prints() -> None:
    committed = (ROOT / "docs" / "cleanup.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(), "make schema"
    result = CliRunner().invoke(app, ["schema"], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, committed)
    Draft7Validator.check_schema(json.loads(committed))


def test_every_key_says_what_it_is_and_what_it_takes() -> None:
    for name, definition in SCHEMA["definitions"].items():
        for key, value in definition["properties"].items():
            if name != "_App":
                assert value.get("description", "").endswith((".", ")")), f"{name}.{key}"
            assert set(value) - {"description", "default"}, f"{name}.{key} takes anything"
        assert definition["additionalProperties"] is False


def _shipped() -> Iterator[tuple[str, str]]:
    for file in (ROOT / "examples" / "cleanup.yaml", ROOT / "cleanup_pipeline" / "embedded" / "demo.yaml"):
        yield file.name, file.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / "docs" / "layouts").glob("*.md")]:
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            yield f"{page.name} {number}", block


def _whole(block: str) -> str:
    """A file of a piece of one: targets, or what a target holds. What stands open in it is filled in."""
    named = re.search(r"^ +layout: ([a-z0-9-]+)", block, re.MULTILINE)
    params = layouts()[named[1]].params if named else {}
    for key, spec in params.items():
        block = re.sub(rf"\b{key}: \.\.\.", f"{key}: {json.dumps(VALUES[spec.type])}", block)
    content = yaml.safe_load(block)
    if isinstance(content, dict) and "attributes" in content:
        # A component of a Dagster project: the same keys, one level down.
        content = content["attributes"]
    if isinstance(content, dict) and "store" in content:
        content = {"targets": {"example": content}}
    elif isinstance(content, dict) and {"table", "collection", "keys"} & set(content):
        content = {"targets": {"example": {"store": "main", **content}}}
    elif isinstance(content, dict) and all(isinstance(each, dict) and "store" in each for each in content.values()):
        content = {"targets": content}
    return yaml.safe_dump(content)


@pytest.mark.parametrize(("name", "text"), [pytest.param(name, text, id=name) for name, text in _shipped()])
def test_it_accepts_what_is_shipped(name: str, text: str) -> None:
    assert faults(_whole(text)) == []


def test_it_accepts_every_layout_with_its_parameters() -> None:
    for preset in layouts().values():
        params = {key: VALUES[spec.type] for key, spec in preset.params.items()}
        target = {"store": "main", "layout": preset.name, "params": params or None}
        assert faults(yaml.safe_dump({"targets": {"a": target}})) == [], preset.name
        needed = [key for key, spec in preset.params.items() if spec.required]
        if needed:
            assert faults(yaml.safe_dump({"targets": {"a": {**target, "params": {}}}})), preset.name
        assert faults(yaml.safe_dump({"targets": {"a": {**target, "params": {"no_such": 1}}}})), preset.name


def test_it_accepts_what_init_writes() -> None:
    seen = []
    for store_type in StoreType:
        known = [preset for preset in layouts().values() if preset.store_type is store_type]
        found = [Recognised(preset, Location(), missing=tuple(preset.missing(None))) for preset in known]
        seen.append(StoreSeen(store_type.value, store_type, f"CLEANUP_{store_type}_URL".upper(), tuple(found)))
    text = document(seen)
    assert text.startswith("# yaml-language-server: $schema=.cleanup/cleanup.schema.json\n")
    assert len(yaml.safe_load(text)["targets"]) > 30
    assert faults(text) == []


def test_it_accepts_all_spellings() -> None:
    assert (
        faults(
            STORES
            + """
app: {cleanup: {session_cleanup_interval: 120m, batch_size: "500", enabled: '${ON}', run_window: off, pause: 0}}
passes: {sessions: , nightly: {every: 24h, start: 2026-11-01}}
alerts: {late_after: off, error_share: 0.1}
notifications:
  channels: {ops: {type: webhook, url: '${HOOK}', secret: ['${A}', '${B}'], only: [pass_given_up, CleanupNotRunning]}}
history: {keep: 1w}
targets:
  a: {store: main, table: t, expires: {start: {column: c, zone: session}, lifetime_by: {column: k, values: {s: 14d}}}}
  b: {store: main, table: s.t, expires: {latest: [{column: a, null_means: dead}, {start: b, lifetime: 1h}]}}
  c: {store: main, layout: '${LAYOUT}', mode: '${MODE}'}
"""
        )
        == []
    )


TARGET = STORES + "targets: {a: {store: main, table: t, expires: {column: c}}}"
MISTAKES = {
    "an unknown key": TARGET.replace("table: t", "table: t, tabel: t"),
    "an unknown section": TARGET + "\ntarget: {}",
    "a batch of more than 1000": TARGET + "\ncleanup: {batch_size: 1001}",
    "a duration without unit": TARGET + "\ncleanup: {pause: 30}",
    "a duration in words": TARGET.replace("}}}", "}, grace: 7 days}}"),
    "a mode that is none": TARGET.replace("}}}", "}, mode: remove}}"),
    "a flag that is none": TARGET + "\ncleanup: {enabled: maybe}",
    "a unit that is none": TARGET.replace("column: c", "column: c, unit: sec"),
    "no store": STORES + "targets: {a: {table: t, expires: {column: c}}}",
    "no rule": STORES + "targets: {a: {store: main, table: t}}",
    "no source": STORES + "targets: {a: {store: main, expires: {column: c}}}",
    "a rule of another store": TARGET.replace("table: t", "keys: 'a:*'"),
    "two sources": TARGET.replace("table: t", "table: t, collection: c"),
    "a layout that is none": STORES + "targets: {a: {store: main, layout: djangosessions}}",
    "a parameter that is none": STORES + "targets: {a: {store: main, layout: django-sessions, params: {tabel: x}}}",
    "a parameter that is missing": STORES + "targets: {a: {store: main, layout: laravel-sessions}}",
    "a column that the layout has not": STORES
    + "targets: {a: {store: main, layout: django-sessions, columns: {expires: x}}}",
    "delete where only a report is wanted": STORES
    + "targets: {a: {store: main, layout: keycloak, mode: delete, params: {}}}",
    "two lifetimes": TARGET.replace("column: c", "start: c, lifetime: 1h, lifetime_column: {column: d}"),
    "half a guard": TARGET.replace("}}}", "}, guards: [{column: status}]}}"),
    "half a pointer": STORES
    + "targets: {a: {store: main, keys: 'i:*', expires: {pointer_to: 's:', prefix: 'i:', matches: x}}}",
    "every key of the store": STORES + "targets: {a: {store: main, keys: '*', expires: {ttl: native}}}",
    "a name in capitals": TARGET.replace("{a:", "{Sessions:"),
    "a password in the file": TARGET.replace("'${URL}'", "postgresql://me:hush@db/app"),
    "a type of store that is none": TARGET.replace("postgres,", "mysql,"),
    "a pass without pace": TARGET + "\npasses: {nightly: {every: daily}}",
    "a channel's URL in the file": TARGET + "\nnotifications: {channels: {a: {type: webhook, url: 'https://h/x'}}}",
    "two places for a URL": STORES.replace("url:", "url_file: f, url:"),
    "a guard on a field of a table": TARGET.replace("}}}", "}, guards: [{field: a, exists: true}]}}"),
    "a guard on a column of a document": TARGET.replace("table: t", "collection: t")
    .replace("column: c", "field: c")
    .replace("}}}", "}, guards: [{column: a, is_null: true}]}}"),
    "a guard on keys": STORES
    + "targets: {a: {store: main, keys: 'a:*', expires: {ttl: native}, guards: [{field: a, exists: true}]}}",
    "fields of a row to unset": TARGET.replace("}}}", "}, unset: [c]}}"),
    "where on keys": STORES + "targets: {a: {store: main, keys: 'a:*', expires: {ttl: native}, where: {a: 1}}}",
    "parameters without a layout": TARGET.replace("}}}", "}, params: {lifetime: 1h}}}"),
    "a list for targets": STORES + "targets: [{store: main}]",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_refuses(mistake: str) -> None:
    assert faults(MISTAKES[mistake]), mistake


def test_what_it_refuses_is_otherwise_right() -> None:
    assert faults(TARGET) == []
