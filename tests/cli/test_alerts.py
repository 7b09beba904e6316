"""`alerts` and `notifications`, as typed, on a ledger that somebody else filled."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.outbox import Failure, Message
from cleanup_pipeline.model.alert import AlertState, Condition
from tests.ledger.records import REPORT
from tests.observability.receiver import CANARY, Receiver, is_signed, running

SETTINGS = """
stores: {main: {type: postgres, url: "postgresql://u@127.0.0.1:1/x"}}
targets: {web: {store: main, table: web, expires: {column: e}, mode: delete}}
"""
NOW = datetime.now(UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as made:
        yield made


Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Command:
    """The command line in this process: each of its own would cost seconds."""
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEANUP_LEDGER_URL", url)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_alerts(command: Command, ledger: Ledger) -> None:
    ledger.begin_pass("r1", "sessions")
    ledger.record_target("r1", replace(REPORT, seconds=75.0))
    ledger.close_pass("r1", "succeeded")
    ran = command("alerts")
    assert ran.exit_code == 0, ran.stderr
    assert "CleanupSlow  not on record" in ran.stdout and "target web took 1 m 15 s, more than 1m" in ran.stdout
    slow = Condition("CleanupSlow", "web", AlertState.FIRING, value=75.0, summary="target web took 1 m 15 s")
    held = replace(slow, name="CleanupHeldBack", summary="target web: the governor stopped its last pass")
    ledger.set_alerts([slow, held], NOW - timedelta(hours=2))
    ledger.set_alerts([slow], NOW - timedelta(hours=1))
    ran = command("alerts", "--all")
    firing, over = ran.stdout.split("over ")
    assert f"CleanupSlow  {NOW - timedelta(hours=2):%m-%d %H:%M}" in firing
    assert "CleanupHeldBack" in over and "1 h" in over and "not known: CleanupSurvivorsTooOld web" in over
    found = json.loads(command("alerts", "--json").stdout)
    assert {each["name"]: each["state"] for each in found["now"]}["CleanupSlow"] == "firing"
    assert [row["name"] for row in found["record"]] == ["CleanupHeldBack", "CleanupSlow"]


def test_notifications(command: Command, ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANUP_NOTIFY_URL", receiver.url)
    monkeypatch.setenv("CLEANUP_NOTIFY_SECRET", CANARY)
    ran = command("notifications", "--test")
    assert ran.exit_code == 1 and "a loopback address; name its network in cleanup.allow_networks" in ran.stderr
    monkeypatch.setenv("CLEANUP_ALLOW_NETWORKS", "10.0.0.0/8,127.0.0.1")
    ran = command("notifications", "--test")
    assert (ran.exit_code, ran.stdout) == (0, "default (webhook): delivered\n")
    assert receiver.arrived[0].json["event"] == "test" and is_signed(receiver.arrived[0], CANARY)
    receiver.answers = [404]
    ran = command("notifications", "--test")
    assert (ran.exit_code, ran.stderr) == (1, "default (webhook): HTTP 404\n")
    ledger.outbox.put([Message(f"msg_{n}", "default", "test", {"title": f"title {n}"}) for n in range(2)], 20, NOW)
    claimed = ledger.outbox.claim("default", NOW)
    assert claimed is not None
    ledger.outbox.failed(claimed, Failure("HTTP 410", gone=True), NOW)
    shown = command("notifications").stdout
    assert "title 0 (HTTP 410)" in shown and "title 1" in shown and CANARY not in shown
    dead = command("notifications", "--dead").stdout
    assert "title 0" in dead and "title 1" not in dead
    ran = command("notifications", "--retry", "nonsense")
    assert isinstance(ran.exception, UsageError) and "no message that was given up" in str(ran.exception)
    assert command("notifications", "--retry-dead").stdout == "1 message will be sent again by the daemon\n"
    assert ledger.outbox.kept(dead=True) == []
    assert isinstance(command("notifications", "--dead", "--test").exception, UsageError)
