"""A real HTTP server that answers as it is told and remembers what it was asked; signatures checked anew."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

LOOPBACK = (ip_network("127.0.0.1"),)
CANARY = "c4n4ry-hunter2"


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    body: bytes
    answered: int

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Answers with `answers` one after another, then with 204. `hang`: does not answer until it is set."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.extra: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.hang: threading.Event | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.hang is not None:
                    receiver.hang.wait(30)
                code = receiver.answers.pop(0) if receiver.answers else 204
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.asked.append(Asked(self.path, headers, body, code))
                self.send_response(code)
                for name, value in receiver.extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook?token={CANARY}"

    @property
    def arrived(self) -> list[Asked]:
        return [each for each in self.asked if 200 <= each.answered < 300]


@contextmanager
def running() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.hang is not None:
            receiver.hang.set()
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


def is_signed(asked: Asked, secret: str, *, stamp: str | None = None) -> bool:
    """Whether one of the signatures is right, by the words of the specification and nothing of ours.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = b".".join([asked.id.encode(), (stamp or asked.headers["webhook-timestamp"]).encode(), asked.body])
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    given = [part.split(",", 1) for part in asked.headers.get("webhook-signature", "").split()]
    return any(version == "v1" and hmac.compare_digest(value, expected) for version, value in given)
