"""`start` and `timezone` of a pass."""

from datetime import date
from pathlib import Path

import pytest

from cleanup_pipeline.settings import SettingsError, load_settings


def read(text: str, folder: Path, **environ: str) -> tuple[date | None, str]:
    file = folder / "cleanup.yaml"
    file.write_text(f"passes: {{sessions: {text}}}\n")
    of_pass = load_settings(file, environ).passes["sessions"]
    return of_pass.start, of_pass.timezone


def test_a_day_and_a_zone(tmp_path: Path) -> None:
    assert read("{}", tmp_path) == (None, "UTC")
    assert read("{start: 2026-11-01, timezone: Europe/Berlin}", tmp_path) == (date(2026, 11, 1), "Europe/Berlin")
    assert read("{start: '2026-11-01', timezone: utc}", tmp_path) == (date(2026, 11, 1), "UTC")
    assert read("{}", tmp_path, CLEANUP__PASSES__SESSIONS__START="2026-11-02")[0] == date(2026, 11, 2)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{start: soon}", "passes.sessions.start"),
        ("{start: 2026-11-01 10:00:00}", "passes.sessions.start"),
        ("{start: 1970-01-01}", "passes.sessions.start"),
        ("{start: 20261101}", "passes.sessions.start"),
        ("{timezone: Middle/Earth}", "passes.sessions.timezone"),
    ],
)
def test_what_is_no_day_or_zone_is_refused(text: str, path: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=path.replace(".", r"\.")):
        read(text, tmp_path)
