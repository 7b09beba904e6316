"""A real TLS server in front of a real store, which it talks to in plain; PostgreSQL's way to ask for TLS included."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-SSLREQUEST"""


@dataclass
class Authority:
    """A certificate authority of this test, the file that names it, and servers' certificates that it signed."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        ends = datetime.now(UTC) - timedelta(days=1) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names, not_after=ends).configure_cert(context)
        return context


@dataclass
class Front:
    """Listens on `port` of the loopback. `context` None: answers as a server that has no TLS."""

    backend: tuple[str, int]
    context: ssl.SSLContext | None
    postgres: bool = False
    handshakes: int = 0

    def __post_init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]

    def serve(self) -> None:
        while True:
            try:
                taken, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.handle, args=(taken,), daemon=True).start()

    def handle(self, taken: socket.socket) -> None:
        with suppress(OSError), taken, socket.create_connection(self.backend) as behind:
            front: socket.socket = taken
            if self.postgres:
                asked = taken.recv(8, socket.MSG_WAITALL)
                assert asked == SSL_REQUEST
                taken.sendall(b"N" if self.context is None else b"S")
            if self.context is not None:
                front = self.context.wrap_socket(taken, server_side=True)
                self.handshakes += 1
            back = threading.Thread(target=pump, args=(behind, front), daemon=True)
            back.start()
            pump(front, behind)
            back.join()
            front.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def in_front(port: int, *, postgres: bool = False) -> Iterator[Front]:
    front = Front(("127.0.0.1", port), None, postgres)
    thread = threading.Thread(target=front.serve, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        # Closing alone does not wake the thread that waits for a connection.
        with suppress(OSError):
            front.listening.shutdown(socket.SHUT_RDWR)
        front.listening.close()
        thread.join()
