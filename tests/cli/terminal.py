"""A program on a terminal of its own."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from cleanup_pipeline.cli.main import app
from tests.cli.conftest import clean_environment


def on_terminal(command: Sequence[str], folder: Path, answers: Sequence[str] = (), **variables: str) -> str:
    """What a program shows on a terminal of 80x24, given a line at each prompt; its exit code has to be 0 or 1."""
    environment = clean_environment(TERM="xterm-256color", **variables)
    environment.pop("COLUMNS")
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=child, stdout=child, stderr=child, start_new_session=True
    )
    os.close(child)
    shown, left = b"", list(answers)
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:
            # The program has ended.
            break
        shown += part
        # The last space comes when the echo is off, which drops what was typed before.
        if left and shown.endswith(b"(empty: none): "):
            os.write(parent, f"{left.pop(0)}\n".encode())
    os.close(parent)
    assert process.wait(60) in {0, 1}, shown
    return shown.decode().replace("\r\n", "\n")


def seen_at(columns: int, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """What a command of this process shows on a terminal that is so wide; its exit code has to be 0 or 1."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    parent, child = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=_read, args=(parent, shown))
    reader.start()
    try:
        with os.fdopen(child, "w", encoding="utf-8") as terminal, monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", terminal)
            patched.setattr(sys, "stderr", terminal)
            code = app(list(arguments), prog_name="cleanup-pipeline", standalone_mode=False)
    finally:
        reader.join(60)
        os.close(parent)
    text = b"".join(shown).decode().replace("\r\n", "\n")
    assert code in {None, 0, 1}, text
    return text


def _read(parent: int, shown: list[bytes]) -> None:
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:
            return
        shown.append(part)
