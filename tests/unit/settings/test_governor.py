"""governor, run_window and veto_url: for all targets, for one, and what is refused."""

import re
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.run_window import RunWindow, parse_run_window
from cleanup_pipeline.settings.pace import GovernorSection
from tests.unit.settings.conftest import Faults, Load
from tests.unit.settings.test_docs import chapter

TARGET = "targets: {t: {store: main, layout: django-sessions%s}}\n"


def test_by_default_every_target_has_the_usual_pace(load: Load) -> None:
    assert load(TARGET % "").targets[0].pace == Pace()


def test_a_target_changes_single_keys_of_the_general_pace(load: Load) -> None:
    general = (
        "cleanup:\n  governor: {latency_target: 10ms, max_blocked: 3, max_replica_lag: off, pause_share: 0.5}\n"
        "  run_window: 23:00-04:00 Europe/Berlin\n  veto_url: https://freno.example/check?token=${TOKEN}\n"
    )
    own = ", governor: {max_blocked: 'off', max_memory_share: 0.8}, run_window: off"
    pace = load(general + TARGET % own, {"TOKEN": "hunter2"}).targets[0].pace
    assert pace == Pace(
        latency_target=timedelta(milliseconds=10),
        pause_share=0.5,
        max_replica_lag=None,
        max_blocked=None,
        max_memory_share=0.8,
        run_window=None,
        veto_url="https://freno.example/check?token=hunter2",
    )
    assert "hunter2" not in repr(pace)


def test_from_the_environment(load: Load) -> None:
    environ = {
        "CLEANUP_RUN_WINDOW": "01:00-05:00",
        "CLEANUP_VETO_URL": "http://localhost:3111/check",
        "CLEANUP__CLEANUP__GOVERNOR__MAX_CONNECTIONS_SHARE": "0.5",
    }
    pace = load(TARGET % "", environ).targets[0].pace
    assert (pace.run_window, pace.veto_url) == (RunWindow(time(1), time(5), "UTC"), "http://localhost:3111/check")
    assert pace.max_connections_share == 0.5


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("governor: {latency_target: 0}", "governor.latency_target", "at least 1ms"),
        ("governor: {max_blocked: -1}", "governor.max_blocked", "a whole number from 0"),
        ("governor: {max_connections_share: 1.5}", "governor.max_connections_share", "a number from 0 to 1"),
        ("governor: {pause_share: .nan}", "governor.pause_share", "a number from 0 to 100"),
        ("governor: {pause_share: true}", "governor.pause_share", "a number from 0 to 100"),
        ("governor: {min_batch: 5000}", "governor.min_batch", "1 to 1000"),
        ("governor: fast", "governor", "a mapping with"),
        ("run_window: at night", "run_window", "01:00-05:00 Europe/Berlin"),
        ("run_window: 01:00-01:00", "run_window", "01:00-05:00 Europe/Berlin"),
        ("run_window: 01:00-25:00", "run_window", "01:00-05:00 Europe/Berlin"),
        ("run_window: 01:00-02:00 Mars/Phobos", "run_window", "IANA time zone"),
        ("run_window: 01:00-02:00 ../../etc/passwd", "run_window", "IANA time zone"),
        ("veto_url: file:///etc/passwd", "veto_url", "http:// or https://"),
        ("veto_url: https://joe:hunter2@freno.example/", "veto_url", "without user and password"),
        ("veto_url: 'http://[::1'", "veto_url", "http:// or https://"),
        ("veto_url: 'http://freno.example:99999/'", "veto_url", "http:// or https://"),
    ],
)
def test_what_is_refused(faults: Faults, text: str, path: str, expected: str) -> None:
    general = faults(f"cleanup: {{{text}}}\n" + TARGET % "")
    assert expected in general[f"cleanup.{path}"].expected
    own = faults(TARGET % f", {text}")
    assert expected in own[f"targets.t.{path}"].expected


def test_the_nearest_right_name_is_that_of_the_governors_keys(faults: Faults) -> None:
    fault = faults("cleanup: {governor: {max_block: 3}}\n" + TARGET % "")["cleanup.governor.max_block"]
    assert fault.nearest == "max_blocked"


def test_the_documented_defaults_hold() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", chapter("governor"), re.MULTILINE)
    assert {name for name, _ in rows} == set(GovernorSection.model_fields)
    for name, text in rows:
        value = getattr(Pace(), name)
        if value is None:
            assert text == "off", name
        else:
            assert value == (parse_duration(text) if isinstance(value, timedelta) else float(text)), name


@pytest.mark.parametrize(
    ("window", "now", "opens"),
    [
        ("01:00-05:00 Europe/Berlin", "2026-07-01T02:59", "2026-07-01T02:59"),
        ("01:00-05:00 Europe/Berlin", "2026-07-01T03:00", "2026-07-01T23:00"),
        ("01:00-05:00 Europe/Berlin", "2026-01-01T05:00", "2026-01-02T00:00"),
        ("23:00-04:00", "2026-01-01T12:00", "2026-01-01T23:00"),
        # The clocks go from 02:00 to 03:00: this start does not exist.
        ("02:30-04:00 Europe/Berlin", "2026-03-29T00:00", "2026-03-29T01:30"),
    ],
)
def test_when_a_window_opens(window: str, now: str, opens: str) -> None:
    at = datetime.fromisoformat(f"{now}+00:00")
    parsed = parse_run_window(window)
    assert parsed.is_open(at) == (opens == now)
    assert parsed.opens_at(at) == datetime.fromisoformat(f"{opens}+00:00")


@given(start=st.times(), end=st.times(), seconds=st.integers(0, 10**9), part=st.floats(0, 1))
def test_a_window_is_closed_until_it_opens(start: time, end: time, seconds: int, part: float) -> None:
    start, end = start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    if start == end:
        return
    window = parse_run_window(f"{start:%H:%M}-{end:%H:%M} Asia/Kolkata")
    at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    opens = window.opens_at(at)
    assert at <= opens < at + timedelta(days=1)
    assert window.is_open(opens)
    before = at + (opens - at) * part
    assert before == opens or not window.is_open(before)
