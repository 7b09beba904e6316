"""`alerts:`, by file and by environment."""

from datetime import timedelta

import pytest

from cleanup_pipeline.settings.alerts import AlertSettings

from .conftest import Faults, Load


def test_defaults(load: Load) -> None:
    assert load("").alerts == load("alerts:\n").alerts == AlertSettings()
    assert AlertSettings() == AlertSettings(True, 2.0, 0.05, timedelta(minutes=1), True, True, True)


def test_each_by_file_and_environment(load: Load) -> None:
    text = "alerts: {late_after: 3, error_share: off, slow_after: 90s, held_back: off, backlog_growing: false}"
    expected = AlertSettings(True, 3.0, None, timedelta(seconds=90), True, False, False)
    assert load(text).alerts == expected
    by_environment = {
        "CLEANUP__ALERTS__LATE_AFTER": "3",
        "CLEANUP__ALERTS__ERROR_SHARE": "off",
        "CLEANUP__ALERTS__SLOW_AFTER": "90s",
        "CLEANUP__ALERTS__HELD_BACK": "off",
        "CLEANUP__ALERTS__BACKLOG_GROWING": "off",
    }
    assert load("alerts: {slow_after: 1s}", by_environment).alerts == expected
    assert not load("", {"CLEANUP__ALERTS__ENABLED": "false"}).alerts.enabled


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("alerts: {late_after: 0}", "alerts.late_after", "0"),
        ("alerts: {error_share: 5%}", "alerts.error_share", "'5%'"),
        ("alerts: {slow_after: 60}", "alerts.slow_after", "60"),
        ("alerts: {held_back: maybe}", "alerts.held_back", "'maybe'"),
        ("alerts: {slow: 1m}", "alerts.slow", "an unknown key"),
        ("alerts: [slow_after]", "alerts", "a list"),
    ],
)
def test_faults(faults: Faults, text: str, path: str, found: str) -> None:
    [(where, fault)] = faults(text).items()
    assert (where, fault.found) == (path, found)
