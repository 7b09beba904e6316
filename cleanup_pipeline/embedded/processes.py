"""Starting a server on a free loopback port, and making sure that it ends: on stop, at exit, and with its parent."""

import atexit
import ctypes
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cleanup_pipeline.embedded.folders import as_user

START_SECONDS = 60.0
STOP_SECONDS = 15.0
_PORTS = 5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ServerError(Exception):
    """A server that did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Server:
    """A running server. `stop` may be called twice."""

    name: str
    url: str
    pid: int
    _process: "subprocess.Popen[bytes]" = field(repr=False)
    _stop_signal: signal.Signals = field(default=signal.SIGTERM, repr=False)

    def stop(self) -> None:
        """Ask the process to end, and kill it when it does not within 15 s."""
        _end(self._process, self._stop_signal)
        atexit.unregister(self.stop)


def start(
    name: str,
    command: Callable[[int], list[str]],
    ready: Callable[[int], str | None],
    log: Path,
    *,
    user: pwd.struct_passwd | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    orphan_signal: signal.Signals | None = None,
) -> Server:
    """Run `command(port)` until `ready(port)` answers with a URL. Raises ServerError when it does not within 60 s.

    On Linux the server also ends when the thread that called this does, however that happens: by `orphan_signal`, and
    without one by `stop_signal`.
    """
    deadline = time.monotonic() + START_SECONDS
    for _ in range(_PORTS):
        port = _free_port()
        with log.open("ab") as lines:
            process = subprocess.Popen(
                command(port),
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                cwd=log.parent,
                # Out of the terminal's process group: on Ctrl-C whoever started the server stops it, after its clients.
                start_new_session=True,
                preexec_fn=_end_with_parent(orphan_signal or stop_signal),
                **as_user(user),
            )
        try:
            url = _wait(process, ready, port, deadline)
        except BaseException:
            _end(process, stop_signal)
            raise
        if url is not None:
            server = Server(name, url, process.pid, process, stop_signal)
            atexit.register(server.stop)
            return server
        if process.poll() is None:
            _end(process, stop_signal)
            break
        # Another process may have taken the port between the choice and the start.
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise ServerError(f"{name} did not start; the end of its log:\n" + "\n".join(last))


def _wait(
    process: "subprocess.Popen[bytes]", ready: Callable[[int], str | None], port: int, deadline: float
) -> str | None:
    """The URL at which the server answers; None when it ended or the deadline came first."""
    while process.poll() is None and time.monotonic() < deadline:
        url = ready(port)
        # On a port that was taken meanwhile it is another server that answers, and ours has ended.
        if url is not None and process.poll() is None:
            return url
        time.sleep(0.05)
    return None


def _end(process: "subprocess.Popen[bytes]", stop_signal: signal.Signals) -> None:
    if process.poll() is not None:
        return
    process.send_signal(stop_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """What the child does before it becomes the server: ask the kernel for `stop_signal` when its parent is gone."""
    if sys.platform != "linux":
        return None
    # Looked up here, because a child of a program with threads must not take any of its locks.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
