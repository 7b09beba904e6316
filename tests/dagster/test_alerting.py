"""The sensor that looks, tells and delivers: on a real instance, a real ledger and a real receiver."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cleanup_pipeline.dagster_defs.alerting import Tick, alerts_sensor, evaluate, looked_since, looks
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.telling import tell
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.model.outcome import TargetReport
from cleanup_pipeline.model.words import StopReason, StoreType
from cleanup_pipeline.settings import Settings, load_settings
from tests.observability.receiver import CANARY, Receiver, is_signed, running

NOW = datetime.now(UTC)
REPORT = TargetReport("web", "main", StoreType.POSTGRES, "session", "index_walk", StopReason.EXHAUSTED, survivors=0)
LOG = logging.getLogger("test")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path, receiver: Receiver) -> Settings:
    file = tmp_path / "cleanup.yaml"
    file.write_text(
        """
stores: {main: {type: postgres, url: "${DB}"}}
targets:
  web: {store: main, table: web, expires: {column: e}, mode: delete}
  app: {store: main, table: app, expires: {column: e}, mode: delete}
"""
    )
    return load_settings(
        file,
        {
            "DB": "postgresql://u:p@127.0.0.1:1/x",
            "CLEANUP_NOTIFY_URL": receiver.url,
            "CLEANUP_NOTIFY_SECRET": CANARY,
            "CLEANUP_ALLOW_NETWORKS": "127.0.0.1",
        },
    )


@pytest.fixture
def ledger(instance: dg.DagsterInstance) -> Iterator[Ledger]:
    opened = open_ledger(ledger_url(instance))
    yield opened
    opened.close()


def cleaned(ledger: Ledger, run: str, *, seconds: float = 1.0, error: str | None = None, **target: Any) -> None:
    ledger.begin_pass(run, "sessions")
    for name in ("web", "app"):
        ledger.record_target(run, replace(REPORT, target=name, seconds=seconds, error=error, **target))
    ledger.close_pass(run, "failed" if error else "succeeded")


def look(ledger: Ledger, settings: Settings, now: datetime) -> Tick:
    return evaluate(ledger, settings, {}, now, LOG, lambda: now)


def test_it_starts_and_ends_with_one_message_each(
    instance: dg.DagsterInstance, settings: Settings, ledger: Ledger, receiver: Receiver
) -> None:
    sensor = alerts_sensor(settings)
    context = dg.build_sensor_context(instance)

    def tick() -> str:
        result = sensor(context)
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)

    assert tick() == "nothing fires"
    assert set(json.loads(str(context.cursor))["passes"]) == {"sessions"}
    cleaned(ledger, "r1", seconds=75.0)
    assert tick() == "firing: CleanupSlow app, CleanupSlow web; 1 messages delivered"
    assert tick() == "firing: CleanupSlow app, CleanupSlow web"
    [started] = receiver.arrived
    assert started.json["event"] == "alert_started" and started.json["title"] == "alerts: 2 started"
    assert [each["subject"] for each in started.json["alerts"]] == ["app", "web"]
    first, second, last = started.json["text"].splitlines()
    assert first == second.replace("web", "app") and second == "CleanupSlow: target web took 1 m 15 s, more than 1m"
    assert last.startswith("Since 20") and last.endswith(" UTC. What to do: docs/alerts.md#cleanupslow")
    assert is_signed(started, CANARY)
    # An hour later both were quick.
    later = replace(settings, alerts=replace(settings.alerts, slow_after=timedelta(minutes=2)))
    assert str(look(ledger, later, NOW + timedelta(hours=1))).startswith(
        "nothing fires; CleanupSlow app ended; CleanupSlow web ended; 1 messages"
    )
    ended = receiver.arrived[1].json
    assert ended["event"] == "alert_ended" and ended["alerts"][0]["lasted_seconds"] > 1800
    assert "CleanupSlow web is over. It lasted " in ended["text"]


def test_a_pass_that_never_ends_is_missed_from_the_first_look_on(
    instance: dg.DagsterInstance, settings: Settings, ledger: Ledger
) -> None:
    cursor = looks(settings, None, NOW)
    two_hours = timedelta(hours=2, minutes=6)
    assert looked_since(looks(settings, cursor, NOW + two_hours)) == {"sessions": NOW}
    tick = evaluate(ledger, settings, looked_since(cursor), NOW + two_hours, LOG)
    assert [(row.name, row.subject, row.severity) for row in tick.firing] == [
        ("CleanupNotRunning", "sessions", "critical")
    ]
    # While it is off nobody waits for it, nor, when it is on again, for what was then.
    off = replace(settings, passes={**settings.passes, "sessions": replace(settings.passes["sessions"], enabled=False)})
    assert evaluate(ledger, off, {}, NOW + two_hours, LOG).firing == []
    cursor = looks(off, cursor, NOW + two_hours)
    assert looked_since(looks(settings, cursor, NOW + 2 * two_hours)) == {"sessions": NOW + 2 * two_hours}


def test_what_is_unknown_keeps_an_alert_as_it_is(settings: Settings, ledger: Ledger) -> None:
    cleaned(ledger, "r1", seconds=75.0)
    look(ledger, settings, NOW)
    tick = look(ledger, settings, NOW + timedelta(hours=5))
    assert "CleanupSlow web (unknown now)" in str(tick)
    assert tick.changes.ended == ()


def test_a_receiver_that_is_away_gets_it_later(settings: Settings, ledger: Ledger, receiver: Receiver) -> None:
    receiver.answers = [503, 503]
    cleaned(ledger, "r1", error="broken")
    for minutes in (0, 1, 2):
        look(ledger, settings, NOW + timedelta(minutes=minutes))
    assert [each.answered for each in receiver.asked] == [503, 503, 204]
    assert len({each.id for each in receiver.asked}) == 1
    assert receiver.arrived[0].json["title"] == "CleanupHighErrorRate sessions started"


def test_what_sensors_tell_goes_the_same_way(
    instance: dg.DagsterInstance,
    settings: Settings,
    ledger: Ledger,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        tell(ledger_url(instance), settings.notifications, "pass_given_up", "it failed", "run 1", LOG)
    assert receiver.asked == [] and caplog.messages == ["it failed"] * 2
    look(ledger, settings, NOW + timedelta(hours=1))
    [told] = receiver.arrived
    assert (told.json["event"], told.json["text"]) == ("pass_given_up", "it failed")


def test_while_the_ledger_is_away_it_is_told_at_once(
    settings: Settings, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "postgresql://u:hunter2@127.0.0.1:1/x"
    tell(away, settings.notifications, "pass_given_up", "it failed", "run 1", LOG)
    assert [each.json["text"] for each in receiver.arrived] == ["it failed"]
    receiver.answers = [500]
    tell(away, settings.notifications, "pass_given_up", "it failed", "run 2", LOG)
    assert caplog.messages[-1] == "channel default was not told: HTTP 500"
    assert "hunter2" not in caplog.text and CANARY not in caplog.text
    monkeypatch.setenv("CLEANUP_LEDGER_URL", away)
    with dg.instance_for_test() as instance:
        result = alerts_sensor(settings)(dg.build_sensor_context(instance))
    assert isinstance(result, dg.SkipReason) and str(result.skip_message).startswith("nothing is known: CLEANUP_LEDGER")
