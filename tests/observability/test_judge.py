"""What is judged from which figures, unknown ones above all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cleanup_pipeline.ledger.operations import Operation, WitnessRow
from cleanup_pipeline.model.alert import AlertName, AlertState, Condition
from cleanup_pipeline.observability.alerts import Figures, judge
from cleanup_pipeline.observability.alerts.figures import PassFigures, TargetFigures
from cleanup_pipeline.settings.alerts import AlertSettings

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRING, CLEAR, UNKNOWN = AlertState.FIRING, AlertState.CLEAR, AlertState.UNKNOWN


def minutes(count: float) -> datetime:
    """So many minutes ago."""
    return NOW - timedelta(minutes=count)


def of_pass(**more: Any) -> Condition:
    name = more.pop("alert")
    thresholds = more.pop("thresholds", AlertSettings())
    figures = {"last_end": NOW, "first": None, "looked_since": None, "operations": 0, "failed": 0, **more}
    [found] = [
        each
        for each in judge(Figures((PassFigures("sessions", HOUR, **figures),), ()), thresholds, NOW)
        if each.name == name
    ]
    return found


def of_target(alert: str, *recent: Operation, witness: WitnessRow | None = None, **thresholds: Any) -> Condition:
    figures = Figures((), (TargetFigures("web", HOUR, recent, witness),))
    [found] = [each for each in judge(figures, AlertSettings(**thresholds), NOW) if each.name == alert]
    return found


def operation(ago: float = 1, **more: Any) -> Operation:
    known = {"seconds": 1.0, "stop_reason": "exhausted", "failed": False, "survivors": 0, **more}
    return Operation(minutes(ago), **known)


@pytest.mark.parametrize(
    ("figures", "state", "value"),
    [
        ({"last_end": minutes(125)}, CLEAR, 125),
        ({"last_end": minutes(126)}, FIRING, 126),
        # It never ended: since the ledger knows of it, or somebody looks.
        ({"last_end": None, "first": minutes(124)}, CLEAR, 124),
        ({"last_end": None, "first": minutes(126)}, FIRING, 126),
        ({"last_end": None, "looked_since": minutes(126)}, FIRING, 126),
        ({"last_end": None, "looked_since": minutes(1)}, CLEAR, 1),
        ({"last_end": None}, UNKNOWN, None),
        # It was off until now.
        ({"last_end": minutes(9999), "looked_since": minutes(10)}, CLEAR, 10),
        ({"last_end": minutes(126), "thresholds": AlertSettings(late_after=3)}, CLEAR, 126),
    ],
)
def test_not_running(figures: dict[str, Any], state: AlertState, value: float | None) -> None:
    found = of_pass(alert="CleanupNotRunning", **figures)
    assert (found.state, found.subject, found.severity) == (state, "sessions", "critical")
    assert found.value == (None if value is None else value * 60)


@pytest.mark.parametrize(
    ("operations", "failed", "state"),
    [(0, 0, UNKNOWN), (1, 1, CLEAR), (2, 2, FIRING), (40, 2, CLEAR), (39, 2, FIRING), (24, 1, CLEAR), (24, 0, CLEAR)],
)
def test_high_error_rate(operations: int, failed: int, state: AlertState) -> None:
    assert of_pass(alert="CleanupHighErrorRate", operations=operations, failed=failed).state is state


def test_slow() -> None:
    def state(*recent: Operation, **thresholds: Any) -> AlertState:
        return of_target("CleanupSlow", *recent, **thresholds).state

    assert state(operation(seconds=60.0)) is CLEAR
    assert state(operation(), operation(61, seconds=60.1)) is FIRING
    assert state(operation(), operation(126, seconds=99.0)) is CLEAR
    assert state() is state(operation(126)) is UNKNOWN
    assert state(operation(seconds=2.0), slow_after=timedelta(seconds=1)) is FIRING
    found = of_target("CleanupSlow", operation(seconds=75.4))
    assert (found.value, found.summary) == (75.4, "target web took 1 m 15 s, more than 1m")


def test_survivors_too_old() -> None:
    def state(ago: float, *, known: bool = True, checked: float = 1) -> AlertState:
        witness = WitnessRow(minutes(checked), known, minutes(checked + ago), 3600.0)
        return of_target("CleanupSurvivorsTooOld", witness=witness).state

    assert (state(60), state(61)) == (CLEAR, FIRING)
    assert state(61, known=False) is state(61, checked=126) is UNKNOWN
    assert of_target("CleanupSurvivorsTooOld").state is UNKNOWN
    clean = WitnessRow(minutes(1), known=True, oldest_survivor=None, objective_seconds=3600.0)
    assert of_target("CleanupSurvivorsTooOld", witness=clean).state is CLEAR


@pytest.mark.parametrize(
    ("newest_first", "state"),
    [
        ((4, 3, 2, 1), FIRING),
        ((4, 3, 2, 2), CLEAR),
        ((1, 3, 2, 1), CLEAR),
        ((4, 3, 2), UNKNOWN),
        ((3, 3), CLEAR),
        ((), UNKNOWN),
        ((4, None, 2, 1), UNKNOWN),
        ((None, 3, 2, 1), UNKNOWN),
        ((4, None, 2, 3), CLEAR),
        ((9, 8, 7, 6, 99), FIRING),
    ],
)
def test_backlog_growing(newest_first: tuple[int | None, ...], state: AlertState) -> None:
    found = of_target("CleanupBacklogGrowing", *(operation(survivors=count) for count in newest_first))
    assert found.state is state


def test_held_back() -> None:
    def state(**more: Any) -> AlertState:
        return of_target("CleanupHeldBack", operation(**more), operation(stop_reason="governor")).state

    assert of_target("CleanupHeldBack").state is UNKNOWN
    assert state() is CLEAR
    assert state(stop_reason="governor", slowed={"blocked": 3}) is FIRING
    assert state(waited_seconds=51.0, busy_seconds=100.0) is FIRING
    assert state(waited_seconds=50.0, busy_seconds=100.0) is CLEAR
    # Half of next to nothing; and what the settings ask for.
    assert state(waited_seconds=0.9, busy_seconds=1.0) is CLEAR
    assert state(stop_reason="governor", slowed={"run_window": 1}) is CLEAR
    assert state(stop_reason="governor", slowed={"run_window": 1, "veto": 1}) is FIRING
    found = of_target("CleanupHeldBack", operation(waited_seconds=60.0, busy_seconds=80.0, slowed={"replica_lag": 9}))
    assert found.summary == "target web: the governor held its last pass back for 75% of its time (replica_lag)"


def test_each_can_be_off() -> None:
    figures = Figures(
        (PassFigures("sessions", HOUR, NOW, None, None, 9, 0),), (TargetFigures("web", HOUR, (operation(),), None),)
    )

    def names(**settings: Any) -> set[str]:
        return {each.name for each in judge(figures, AlertSettings(**settings), NOW)}

    assert names() == set(AlertName)
    assert names(enabled=False) == set()
    off: dict[str, Any] = {
        "late_after": None,
        "error_share": None,
        "slow_after": None,
        "survivors_too_old": False,
        "backlog_growing": False,
        "held_back": False,
    }
    assert {name for key, value in off.items() for name in set(AlertName) - names(**{key: value})} == set(AlertName)
    assert names(**off) == set()
