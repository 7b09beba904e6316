"""The outputs and pictures of docs/first-hour.md: its commands on a terminal of 80x24 (tmux), its pages in Chromium.

Starts servers of its own, walks the page from top to bottom,
and writes what it saw into the page. Needs tmux and chromium.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import redis

from cleanup_pipeline.embedded import processes
from cleanup_pipeline.embedded.servers import start_postgres, start_redis

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "first-hour.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
WIDTH, HEIGHT = 80, 24
PLAN = "PLAN"
READY = "Ctrl-C stops it."
ASKS = "(empty: none):"


def main() -> None:
    """Walk the page and write it anew."""
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="captures-") as place, _stores(Path(place)) as (postgres, cache):
        app = Path(place) / "app"
        app.mkdir()
        os.chdir(app)
        PAGE.write_text(_walk(text, postgres, cache), encoding="utf-8")


def _walk(text: str, postgres: Any, cache: Any) -> str:
    made: list[str] = []
    printed, plan, end = "", "", 0
    for block in BLOCK.finditer(text):
        made.append(text[end : block.start()])
        end = block.end()
        language, content = block.groups()
        match language:
            case "sql":
                postgres.execute(content)
            case "redis":
                for line in content.splitlines():
                    cache.execute_command(*shlex.split(line))
            case "sh":
                _shell(content)
            case "bash":
                # The id of the plan is another one each time.
                content = re.sub(r"(?<=apply )\w+", plan, content)
                printed = _on_terminal(content.strip())
                if not plan and (found := re.search(r"cleanup-pipeline apply (\w+)", printed)):
                    plan = found[1]
            case "text":
                content = printed + "\n"
        made.append(f"```{language}\n{content}```")
    return "".join([*made, text[end:]])


def _shell(content: str) -> None:
    for line in content.splitlines():
        if found := re.fullmatch(r"export (CLEANUP_\w+)=(\S+)", line):
            assert os.environ[found[1]] == found[2], f"the page says {found[2]}, the server is {os.environ[found[1]]}"
        elif line.startswith("sed "):
            subprocess.run(shlex.split(line), check=True)


def _on_terminal(command: str) -> str:
    """What a command shows, with what has scrolled off."""
    # A server each, as one that was told to end takes a moment.
    with tempfile.TemporaryDirectory(prefix="captures-") as place:
        return _seen(command, str(Path(place) / "tmux"))


def _seen(command: str, socket: str) -> str:
    def _tmux(*arguments: str) -> str:
        line = ["tmux", "-S", socket, "-f", "/dev/null", *arguments]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout

    _tmux("new-session", "-d", "-s", "first", "-x", str(WIDTH), "-y", str(HEIGHT), "sleep 600")
    _tmux("set", "-g", "status", "off")
    _tmux("set", "-g", "remain-on-exit", "on")
    _tmux("set", "-g", "history-limit", "5000")
    _tmux("new-window", "-t", "first:1", f"NO_COLOR=1 {command}")
    shown, asked = "", False
    try:
        while _tmux("list-panes", "-t", "first:1", "-F", "#{pane_dead}").strip() == "0":
            shown = _tmux("capture-pane", "-p", "-S", "-", "-t", "first:1")
            if not asked and shown.rstrip().endswith(ASKS):
                asked = True
                _tmux("send-keys", "-t", "first:1", "Enter")
            if READY in shown:
                _photograph(shown)
                _tmux("send-keys", "-t", "first:1", "C-c")
                break
            time.sleep(0.1)
        else:
            shown = _tmux("capture-pane", "-p", "-S", "-", "-t", "first:1")
        while _tmux("list-panes", "-t", "first:1", "-F", "#{pane_dead}").strip() == "0":
            time.sleep(0.1)
    finally:
        _tmux("kill-server")
    lines = [line.rstrip() for line in re.sub(r"Pane is dead.*", "", shown).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    print(f"$ {command}\n" + "\n".join(lines), flush=True)
    if len(lines) > HEIGHT:
        print(f"({len(lines)} lines: the first {len(lines) - HEIGHT + 1} scroll off)")
    return "\n".join(lines)


def _photograph(shown: str) -> None:
    found = re.search(r"http://127\.0\.0\.1:\d+", shown)
    assert found, shown
    url = found[0]
    query = '{runsOrError(filter: {pipelineName: "clean_sessions"}) {... on Runs {results {runId}}}}'
    body = json.dumps({"query": query}).encode()
    request = Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310 - our own loopback address
    with urlopen(request, timeout=20) as answer:  # noqa: S310
        run = json.load(answer)["data"]["runsOrError"]["results"][-1]["runId"]
    pages = {
        "first-graph": "locations/cleanup_pipeline/jobs/clean_sessions",
        "first-run": f"runs/{run}?logs=step%3Asummarize",
        "first-asset": "assets/cleanup/django_sessions",
    }
    for name, path in pages.items():
        _picture(f"{url}/{path}", DOCS / "images" / f"{name}.png")


def _picture(url: str, file: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=15000"]
    size = ["--window-size=1400,900", f"--screenshot={file}"]
    with tempfile.TemporaryDirectory(prefix="captures-") as profile:
        command = ["chromium", *options, *size, f"--user-data-dir={profile}", url]
        subprocess.run(command, check=True, capture_output=True, timeout=180)
    print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


@contextmanager
def _stores(place: Path) -> Iterator[tuple[Any, Any]]:
    place.chmod(0o755)
    ports = iter([5432, 6379])
    processes._free_port = lambda: next(ports)
    postgres, cache = start_postgres(place / "postgres"), start_redis(place / "redis")
    for name in [each for each in os.environ if each.startswith(("CLEANUP_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ |= {"CLEANUP_POSTGRES_URL": postgres.url, "CLEANUP_REDIS_URL": cache.url}
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    try:
        with psycopg.connect(postgres.url, autocommit=True) as db, redis.Redis.from_url(cache.url) as client:
            yield db, client
    finally:
        postgres.stop()
        cache.stop()


if __name__ == "__main__":
    main()
