"""Starting the program as a user does, following what it starts, and asking Dagster over GraphQL."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

from tests.cli.conftest import COMMAND, clean_environment

T = TypeVar("T")
MARK = "CLEANUP_TEST_MARK"


def wait_for(what: str, ask: Callable[[], T | None], seconds: float = 110) -> T:
    """The first answer that is not None or False. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def started_in(folder: Path) -> list[psutil.Process]:
    """The processes that `started` is the cause of, by the mark in their environment or the folder they work in.

    Valkey writes its title over its environment.
    """
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == str(folder) or Path(process.cwd()).is_relative_to(folder)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def marked(folder: Path) -> list[str]:
    """The command lines of the processes that are left of what was started in `folder`."""
    lines = []
    for process in started_in(folder):
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    return lines


@contextmanager
def started(folder: Path, *arguments: str, command: list[str] | None = None, **variables: str) -> Iterator["Program"]:
    """The program, running in `folder`, its output in `output.txt` there. In the end all of it is killed."""
    environment = clean_environment(**variables, **{MARK: str(folder)})
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [*(command or COMMAND), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    program = Program(process, folder)
    try:
        yield program
    finally:
        # A test that fails must not leave servers behind.
        for left in started_in(folder):
            left.kill()  # psutil compares start times, so that a pid in use again is left alone
        process.wait(30)


class Program:
    """A started program."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def output(self) -> str:
        return (self.folder / "output.txt").read_text("utf-8", "replace")

    def wait_until_it_says(self, words: str) -> None:
        def said() -> bool:
            assert words in self.output() or self.process.poll() is None, self.output()
            return words in self.output()

        wait_for(words, said)

    def end(self, sign: signal.Signals) -> int:
        """Its exit code after this signal: SIGINT to its process group, as a terminal does, any other to it alone."""
        if sign == signal.SIGINT:
            os.killpg(self.process.pid, sign)
        else:
            os.kill(self.process.pid, sign)
        return self.process.wait(60)


def graphql(port: int, query: str) -> Any:
    """The answer's data; None while nobody answers."""
    body = json.dumps({"query": query}).encode()
    try:
        with urlopen(
            Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}), timeout=10
        ) as answer:
            return json.load(answer)["data"]
    except (URLError, OSError):
        return None
