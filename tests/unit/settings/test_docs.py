"""docs/settings.md names every key, variable and layout there is, with the limits that hold."""

import re
from pathlib import Path

import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.expiry_spec import EXPIRY_SPECS, spec_keys
from cleanup_pipeline.layouts.field_types import Section
from cleanup_pipeline.settings.alerts import AlertsSection
from cleanup_pipeline.settings.brakes import BrakesSection
from cleanup_pipeline.settings.canaries import CanariesSection
from cleanup_pipeline.settings.environment import SECTION_VARIABLES, STORE_VARIABLES, VARIABLES
from cleanup_pipeline.settings.execution import ExecutionSection
from cleanup_pipeline.settings.history import HistorySection
from cleanup_pipeline.settings.keeping import QuarantineSection, RemovalsSection
from cleanup_pipeline.settings.notifications import ChannelSection, NotificationsSection
from cleanup_pipeline.settings.pace import GovernorSection
from cleanup_pipeline.settings.plans import PlansSection
from cleanup_pipeline.settings.schema import CleanupSection, PassSection, StoreSection, TargetSection

TEXT = (Path(__file__).parents[3] / "docs" / "settings.md").read_text(encoding="utf-8")


def chapter(title: str) -> str:
    match = re.search(rf"^##+ {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match, title
    return match[1]


def documented(title: str) -> set[str]:
    rows = [line.split("|")[1] for line in chapter(title).splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("cleanup", CleanupSection),
        ("stores", StoreSection),
        ("passes", PassSection),
        ("targets", TargetSection),
        ("governor", GovernorSection),
        ("brakes", BrakesSection),
        ("canaries", CanariesSection),
        ("alerts", AlertsSection),
        ("notifications", NotificationsSection),
        ("channels", ChannelSection),
        ("history", HistorySection),
        ("plans", PlansSection),
        ("removals", RemovalsSection),
        ("quarantine", QuarantineSection),
        ("execution", ExecutionSection),
    ],
)
def test_every_key_has_its_row_and_every_row_its_key(title: str, model: type[Section]) -> None:
    assert documented(title) == set(spec_keys(model))


def test_every_expiry_rule_is_there() -> None:
    text = chapter("expires")
    for store_type, specs in EXPIRY_SPECS.items():
        for spec in specs:
            assert f"| {store_type} | `{{{spec_keys(spec)[0]}: " in text
            for key in spec_keys(spec):
                assert re.search(rf"\b{key}\b", text), key


def test_every_layout_is_there() -> None:
    rows = {
        tuple(cell.strip(" `") for cell in line.split("|")[1:3])
        for line in chapter("Layouts").splitlines()
        if "`" in line
    }
    assert rows == {(layout.name, layout.store_type.value) for layout in layouts().values()}


def test_every_variable_is_there() -> None:
    of_sections = {variable: path[-1] for variable, path in SECTION_VARIABLES.items()}
    for variable, key in {**VARIABLES, **of_sections}.items():
        assert re.search(rf"^\| `{key}`.*\| `{variable}` \|$", TEXT, re.MULTILINE), variable
    for variable in STORE_VARIABLES:
        assert variable in TEXT
