"""A notification, received by a real HTTP server that may refuse it first."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cleanup_pipeline.observability.notify import ATTEMPTS, VARIABLE, notify


class Receiver:
    def __init__(self) -> None:
        self.refuse, self.asked, self.got = 0, 0, list[dict[str, Any]]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.asked += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refused = receiver.asked <= receiver.refuse
                if not refused:
                    receiver.got.append(body)
                self.send_response(503 if refused else 204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=hunter2"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    monkeypatch.setenv(VARIABLE, made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_it_arrives_once_also_when_it_is_refused_first(receiver: Receiver) -> None:
    receiver.refuse = 2
    assert notify("pass_given_up", "it failed", {"pass": "sessions"}) is None
    [got] = receiver.got
    assert (got["event"], got["text"], got["pass"], receiver.asked) == ("pass_given_up", "it failed", "sessions", 3)


def test_what_cannot_be_delivered_is_said_without_the_url(receiver: Receiver) -> None:
    receiver.refuse = 99
    assert notify("x", "y", {}) == f"{VARIABLE}: nobody was told (HTTPError)"
    assert receiver.asked == ATTEMPTS and receiver.got == []


@pytest.mark.parametrize(
    ("url", "answer"), [("", None), ("file:///etc/passwd", f"{VARIABLE}: found no http:// or https:// URL")]
)
def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, url: str, answer: str | None) -> None:
    monkeypatch.setenv(VARIABLE, url)
    assert notify("x", "y", {}) == answer
