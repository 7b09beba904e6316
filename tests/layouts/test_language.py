"""Everything that the research wants a rule to say can be written in cleanup.yaml, is said by presets, and is tried."""

import ast
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cleanup_pipeline.layouts import Layout, layouts
from cleanup_pipeline.layouts.expiry_spec import choose_spec
from cleanup_pipeline.layouts.table_spec import GuardSpec
from cleanup_pipeline.settings import load_settings

ROOT = Path(__file__).parents[2]
LANGUAGE: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (Path(__file__).parent / "language.yaml").read_text(encoding="utf-8")
)
SOURCES = {"postgres": {"table": "s"}, "mongo": {"collection": "s"}, "redis": {"keys": "session:*"}}
URLS = {"postgres": "postgresql://db/x", "mongo": "mongodb://db/x", "redis": "redis://db/0"}
KNOWN = {"store", "expires", "guard", "where", "grace", "source", "step", "report_only", "presets", "tests"}


def test_no_number_is_left_out() -> None:
    assert [name.split(" ")[0] for name in LANGUAGE if name.startswith("E")] == [f"E{n}" for n in range(1, 18)]
    assert {name[0] for name in LANGUAGE} == {"E", "G", "A", "X"}


@pytest.mark.parametrize("name", LANGUAGE)
def test_it_can_be_written_and_is_tried(name: str, tmp_path: Path) -> None:
    for one in LANGUAGE[name]:
        assert set(one) <= KNOWN
        assert one["presets"] or one["tests"]
        if "store" in one:
            _load(one, tmp_path)
        for preset in one["presets"]:
            assert any(_says(step, one) for step in layouts()[preset].every_layout()), f"{preset} does not say it"
            assert bool(layouts()[preset].report_only) == (name == "A report only" or preset == "keycloak")
        for test in one["tests"]:
            file, _, function = test.partition("::")
            assert function in _functions(file), f"{test} is no function of a test file"


def _load(one: dict[str, Any], folder: Path) -> None:
    """As a target of one's own."""
    kind = one["store"]
    expires = one.get("expires", {"postgres": {"column": "x"}, "mongo": {"field": "x"}, "redis": {"json": "x"}}[kind])
    guards = [one["guard"]] if "guard" in one else []
    if "gone" in one.get("guard", {}):
        expires = {"start": "created_at", "lifetime": "1d"}
    target = {"store": "main", "kind": "session", **SOURCES[kind], **one.get("source", {}), "expires": expires}
    target |= {"guards": guards} if guards else {}
    target |= {key: one[key] for key in ("where", "grace") if key in one}
    target |= one.get("step", {})
    if "unset" in one.get("step", {}):
        target["unset"] = [*target["unset"], "x"]
    file = folder / "cleanup.yaml"
    document = {"stores": {"main": {"type": kind, "url": URLS[kind]}}, "targets": {"t": target}}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    (loaded,) = load_settings(file, {}).targets
    assert loaded.name == "t"


def _says(step: Layout, one: dict[str, Any]) -> bool:
    """Whether a step of a preset says the same, with values of its own."""
    kind = step.store_type
    if "expires" in one:
        spec = choose_spec(kind, one["expires"])
        assert spec is not None
        if not _as_much(spec.model_validate(one["expires"]).build(), step.expiry):
            return False
    if "guard" in one and not any(_as_much(GuardSpec.model_validate(one["guard"]).build(), g) for g in step.guards):
        return False
    wanted = {_ATTRIBUTES.get(key, key) for key in (*one.get("step", ()), *({"where", "grace"} & set(one)))}
    of_source = {"types": "field_types", "exclude": "exclude"}
    in_source = [name for key, name in of_source.items() if key in one.get("source", ())]
    return all(getattr(step, name) for name in wanted) and all(getattr(step.source, name) for name in in_source)


_ATTRIBUTES = {"children": "children_first"}
_NAMES = {"column", "field", "table", "key", "by", "path", "keys", "values", "prefix", "prefixes", "target_prefix"} | {
    "above"
}


def _as_much(wanted: Any, have: Any) -> bool:
    """Whether `have` is of the same kind and says as much, whatever its names and values are."""
    if not is_dataclass(wanted):
        return isinstance(have, type(wanted))
    return type(wanted) is type(have) and all(
        _says_this(one, getattr(wanted, one.name), getattr(have, one.name)) for one in fields(wanted)
    )


def _says_this(one: "Field[Any]", mine: Any, theirs: Any) -> bool:
    if is_dataclass(mine) or one.name == "lifetime":
        return _as_much(mine, theirs)
    if one.name in _NAMES or mine == _default(one):
        return True
    return bool(mine == theirs) if one.name in {"test", "null_means", "codec"} else theirs != _default(one)


def _default(one: "Field[Any]") -> Any:
    return None if one.default is MISSING else one.default


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and "test" in node.name)
