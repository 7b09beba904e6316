"""`cleanup-pipeline up`: the Dagster UI and the daemon that keeps the schedules, in one command."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import typer

from cleanup_pipeline.cli.demo import demo_stores, has_demo
from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.home import STATE, URL_VARIABLES, dagster_home, settings_for, workspace
from cleanup_pipeline.cli.run import SettingsOption
from cleanup_pipeline.cli.show import console
from cleanup_pipeline.cli.stopping import Stopped
from cleanup_pipeline.ledger.database import database_url
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.settings import Settings

FIRST_PORT = 3000
START_SECONDS = 90


def up(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the UI. Default: the first free one from 3000.")
    ] = None,
    settings_file: SettingsOption = None,
) -> None:
    """Clean on schedule, with the Dagster UI; Ctrl-C stops it.

    Starts Dagster's webserver and its daemon. The UI listens on 127.0.0.1 only, telemetry is off, and everything is
    kept in .cleanup/. Without settings and without a store's URL it goes on with what `cleanup-pipeline demo` left, on
    the same servers.

    \b
    Examples:
      cleanup-pipeline up
      cleanup-pipeline up --port 3100 --settings staging.yaml
    """
    with ExitStack() as stack:
        if _wants_demo(settings_file):
            stack.enter_context(demo_stores())
        settings = settings_for(settings_file)
        serve(settings, port)


def _wants_demo(settings_file: Path | None) -> bool:
    named = settings_file or os.environ.get("CLEANUP_SETTINGS") or Path("cleanup.yaml").exists()
    return not named and not any(os.environ.get(name) for name in URL_VARIABLES) and has_demo()


def serve(settings: Settings, port: int | None) -> None:
    """Run webserver and daemon until Ctrl-C. Raises UsageError when they do not start."""
    chosen = _free_port() if port is None else port
    if _taken(chosen):
        raise UsageError(f"--port: something listens on 127.0.0.1:{chosen} already; name another port")
    url = f"http://127.0.0.1:{chosen}"
    STATE.mkdir(exist_ok=True)
    if database_url() is not None:
        from cleanup_pipeline.dagster_defs.launch import instance_at

        # What is wrong with the database is said here and not in a log; and its tables are made by one process.
        with instance_at(dagster_home()):
            pass
    log = STATE / "up.log"
    command = [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(chosen)]
    command += ["--workspace", str(workspace())]
    environment = {**os.environ, "DAGSTER_HOME": str(dagster_home().resolve()), "DAGSTER_DISABLE_TELEMETRY": "1"}
    out = console()
    with log.open("ab") as lines:
        # A session of its own: Ctrl-C comes here first, and everything Dagster starts can be stopped together.
        process = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines, start_new_session=True)
    try:
        _wait_until_up(process, url, log)
        out.print(f"Dagster is up: [bold]{url}[/bold]   (log: {log})")
        for name, settings_of_pass in settings.passes.items():
            count = len(settings.targets_of(name))
            state = "on" if settings.enabled and settings_of_pass.enabled and count else "off"
            out.print(
                f"  pass {name}: {count} targets, every {format_duration(settings_of_pass.every)}, schedule {state}",
                markup=False,
            )
        out.print("Ctrl-C stops it.")
        code = process.wait()
        raise UsageError(f"Dagster stopped by itself with code {code}; see {log}")
    except Stopped:
        out.print("stopping")
    finally:
        _stop(process)


def _wait_until_up(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            entries = _locations(url)
        except (URLError, OSError, ValueError):
            time.sleep(0.2)
            continue
        # The webserver answers before the code location has loaded, and goes on without it when it does not load.
        if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
            broken = [entry["locationOrLoadError"]["message"] for entry in entries if _failed(entry)]
            if broken:
                raise UsageError(f"Dagster could not load the passes: {broken[0].strip()}; see {log}")
            return
        time.sleep(0.2)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise UsageError(f"Dagster did not come up at {url}; the end of {log}:\n" + "\n".join(last))


def _failed(entry: dict[str, Any]) -> bool:
    return "message" in (entry["locationOrLoadError"] or {})


def _locations(url: str) -> list[dict[str, Any]]:
    fault = "locationOrLoadError{... on PythonError{message}}"
    query = f"{{workspaceOrError{{... on Workspace{{locationEntries{{loadStatus {fault}}}}}}}}}"
    body = json.dumps({"query": query}).encode()
    # Our own loopback address.
    request = Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=5) as answer:  # noqa: S310
        entries: list[dict[str, Any]] = json.load(answer)["data"]["workspaceOrError"]["locationEntries"]
        return entries


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for sign, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if not _alive(process.pid):
            return
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while _alive(process.pid) and time.monotonic() < deadline:
            process.poll()
            time.sleep(0.1)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        if not _taken(port):
            return port
    raise UsageError(f"no free port from {FIRST_PORT} to {FIRST_PORT + 99}; name one with --port")
