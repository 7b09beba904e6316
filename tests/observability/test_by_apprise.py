"""Messages through Apprise, to a real HTTP server and to something that speaks enough SMTP."""

import logging
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from cleanup_pipeline.ledger.outbox import Message
from cleanup_pipeline.observability.notifications.by_apprise import send_apprise
from cleanup_pipeline.settings.notifications import Channel, ChannelType

from .receiver import CANARY, LOOPBACK, Receiver

MESSAGE = Message(
    "msg_1",
    "team",
    "alert_started",
    {"title": "CleanupSlow web started", "text": "x", "severity": "critical", "host": "h1"},
)


def channel(url: str) -> Channel:
    return Channel("team", ChannelType.APPRISE, url, networks=LOOPBACK)


class Mailbox(socketserver.StreamRequestHandler):
    mails: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.say("220 test")
        data = False
        lines: list[str] = []
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            if data:
                if line == ".":
                    data = False
                    self.mails.append("\n".join(lines))
                    self.say("250 kept")
                else:
                    lines.append(line)
            elif line.upper().startswith("DATA"):
                data = True
                self.say("354 go on")
            elif line.upper().startswith("QUIT"):
                self.say("221 bye")
                return
            else:
                self.say("250 fine")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def smtp_port() -> Iterator[int]:
    Mailbox.mails = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_json(receiver: Receiver) -> None:
    assert send_apprise(channel(f"json://127.0.0.1:{receiver.port}/{CANARY}"), MESSAGE) is None
    [asked] = receiver.asked
    assert (asked.json["title"], asked.json["message"], asked.json["type"]) == (
        "CleanupSlow web started (h1)",
        "x",
        "failure",
    )


def test_mail(smtp_port: int) -> None:
    url = f"mailto://127.0.0.1:{smtp_port}/?from=cleanup@example.org&to=team@example.org&smtp=127.0.0.1&mode=insecure"
    assert send_apprise(channel(url), MESSAGE) is None
    [mail] = Mailbox.mails
    assert "Subject: CleanupSlow web started (h1)" in mail and "To: team@example.org" in mail.replace("<", "").replace(
        ">", ""
    )


@pytest.mark.parametrize("url", ["json://127.0.0.1:1/" + CANARY, f"nosuchthing://{CANARY}", f"slack://{CANARY}", "::"])
def test_what_fails_is_said_without_the_url(
    url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "apprise"):
        failure = send_apprise(channel(url), MESSAGE)
    assert failure is not None
    out = capfd.readouterr()
    assert CANARY not in failure.reason + caplog.text + out.out + out.err


def test_who_has_no_such_channel_does_not_load_it() -> None:
    code = "import sys, cleanup_pipeline.observability.notifications; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
