"""`canaries:` of a target, by file and by environment."""

from pathlib import Path

import pytest

from cleanup_pipeline.model.canary import CanaryKind, CanarySettings
from cleanup_pipeline.settings import SettingsError, load_settings

TEXT = """
stores: {{main: {{type: postgres, url: "${{CLEANUP_POSTGRES_URL}}"}}}}
targets: {{web: {{store: main, table: web, expires: {{column: e}}{canaries}}}}}
"""


def read(folder: Path, canaries: str = "", **environ: str) -> CanarySettings | None:
    file = folder / "cleanup.yaml"
    file.write_text(TEXT.format(canaries=f", canaries: {canaries}" if canaries else ""))
    [target] = load_settings(file, {"CLEANUP_POSTGRES_URL": "postgresql://u@h/d", **environ}).targets
    return target.canaries


def test_off_unless_asked_for(tmp_path: Path) -> None:
    assert read(tmp_path) is None and read(tmp_path, "false") is None
    assert read(tmp_path, "{enabled: false}") is None
    assert read(tmp_path, "true") == CanarySettings()
    assert read(tmp_path, CLEANUP__TARGETS__WEB__CANARIES="true") == CanarySettings()
    assert read(tmp_path, "true", CLEANUP__TARGETS__WEB__CANARIES="false") is None


def test_how_they_are_made(tmp_path: Path) -> None:
    found = read(tmp_path, "{kinds: [expired, live], values: {user_id: 7, role: x}, allow_triggers: true}")
    assert found == CanarySettings(
        frozenset({CanaryKind.EXPIRED, CanaryKind.LIVE}), {"user_id": 7, "role": "x"}, allow_triggers=True
    )


@pytest.mark.parametrize("wrong", ["7", "{kinds: [expired]}", "{kinds: [dead]}", "{values: [1]}", "{valeus: {}}"])
def test_what_is_wrong_is_named(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"targets\.web\.canaries"):
        read(tmp_path, wrong)
