"""Everything that the research knows has a preset, or a reason why not, and every preset says what proves it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cleanup_pipeline.cli.layouts import app
from cleanup_pipeline.layouts import Layout, layouts
from cleanup_pipeline.model.target import CollectionSource, KeySource, TableSource
from cleanup_pipeline.model.words import StoreType
from tests.layouts.case import case_names as table_cases
from tests.layouts.case import read_case
from tests.layouts.keys_case import case_names as key_cases

HERE = Path(__file__).parent
CATALOGUE: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "catalogue.yaml").read_text(encoding="utf-8"))
SECTIONS = [f"{part}{n}" for part, last in (("A", 29), ("B", 8), ("C", 11)) for n in range(1, last + 1)]
ITS_OWN_PAGE = "sso-"
"""Presets of one application, which no catalogue of frameworks knows."""


def test_no_section_of_the_research_is_left_out() -> None:
    assert {entry.split(" ", 1)[0] for entry in CATALOGUE} == set(SECTIONS)


def test_every_preset_is_there_for_something() -> None:
    named = {name for entry in CATALOGUE.values() for name in entry.get("presets", ())}
    assert {name for name in layouts() if not name.startswith(ITS_OWN_PAGE)} == named


@pytest.mark.parametrize("entry", CATALOGUE)
def test_it_has_presets_or_a_reason(entry: str) -> None:
    says = CATALOGUE[entry]
    assert set(says) <= {"presets", "with", "columns", "of", "reason", "report_only"}
    if "reason" in says:
        assert set(says) == {"reason"} and len(says["reason"]) > 60
        return
    given, columns = says.get("with", {}), says.get("columns", {})
    found: list[str] = []
    taken: set[str] = set()
    for name in says["presets"]:
        preset = layouts()[name]
        mine = {key: value for key, value in given.items() if key in preset.params}
        taken |= set(mine)
        assert not set(columns) - set(preset.columns), f"{name} has no such columns"
        steps = preset.resolve(preset.params_model.model_validate(mine), columns)
        assert steps
        found += [_place(step) for step in steps]
        assert bool(preset.report_only) == says.get("report_only", False), f"{name} only reports, or does not"
    assert taken == set(given), "a parameter that no preset of it has"
    assert set(says.get("of", ())) <= set(found)


def _place(layout: Layout) -> str:
    match layout.source:
        case TableSource(table=table, schema=schema):
            return f"{schema}.{table}" if schema else table
        case CollectionSource(collection=collection, database=database):
            return f"{database}.{collection}" if database else collection
        case KeySource(pattern=pattern):
            return pattern.replace("\\", "")


TESTS = {file: file.read_text(encoding="utf-8") for file in HERE.glob("test_*.py")}


@pytest.mark.parametrize("name", layouts())
def test_it_is_proven_as_it_says_and_the_list_says_so(name: str) -> None:
    preset = layouts()[name]
    assert bool(preset.differential) + bool(preset.must_keep) == 1
    if preset.differential:
        # A pass of it stands beside the framework in a test that `make test-layouts` runs.
        beside = [file.name for file, text in TESTS.items() if _beside_a_framework(file, text, name)]
        assert beside, f"{name} says that it is compared, and no test of a framework names it"
    # A case, too: it is what judges when a guard is taken out.
    of_tables = {read_case(case).preset for case in table_cases()}
    own = of_tables if preset.store_type is StoreType.POSTGRES else set(key_cases(preset.store_type))
    assert name in own, f"{name} has no case"


def _beside_a_framework(file: Path, text: str, name: str) -> bool:
    runs = re.search(r"from tests\.layouts\.(differential|node) import|from flask_session import", text)
    return bool(runs) and f'"{name}"' in text


def test_layouts_list_says_what_proves_each() -> None:
    said = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert said.exit_code == 0
    for name, preset in layouts().items():
        (line,) = [line for line in said.output.splitlines() if line.split(" ", 1)[0] == name]
        word = {"differential test": "diff", "must-keep test": "keep"}[preset.kind_of_proof]
        assert line.split()[2] == word, line
        assert f"{word}, {preset.kind_of_proof}: " in said.output


def test_every_case_has_something_that_goes_and_something_that_stays() -> None:
    for name in table_cases():
        fates = {row.fate for row in read_case(name).rows}
        assert "stays" in fates and fates & {"goes", "nulled", "changed"}, name
