"""docs/first-hour.md from top to bottom: its commands as they stand there, on real servers."""

import re
import shlex
import signal
import subprocess
import tomllib
from contextlib import chdir
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest
import redis

from cleanup_pipeline.settings import load_settings
from tests.cli.conftest import COMMAND, Program
from tests.cli.pages import blocks, type_in
from tests.cli.terminal import on_terminal
from tests.e2e.support import marked, started, wait_for

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
# What is another each time, or on another machine.
VARIES = [
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "TIME"),
    (r"\d\d-\d\d \d\d:\d\d(:\d\d)?", "TIME"),
    (r"\d{4}-\d\d-\d\d", "DAY"),
    (r"\b[0-9a-f]{16}\b", "HASH"),
    (r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,10}\b", "ID"),
    (r"127\.0\.0\.1:\d+\S*", "HOST"),
    (r"postgres at HOST", "HOST"),
    (r"(PostgreSQL|Valkey) [\d.]+", r"\1 VERSION"),
    (r"-?[\d.]+ s apart", "SECONDS apart"),
    (r"[\d,.]+ (MiB|ms|s|m|h|d)\b( \d+ (s|m|h)\b)?", "AMOUNT"),
    (r"[\d,.]+(/s| records/s|%| %)", "SHARE"),
    (r"cost \d+ \([^)]+\)", "COST"),
]


LOOKS = {"history", "report"}


def stable(text: str) -> list[str]:
    """The words of an output, without how they were wrapped and what varies."""
    text = " ".join(text.split())
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return text.split()


@pytest.fixture
def stores(
    postgres_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[psycopg.Connection[Any], redis.Redis]:
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "CLEANUP_SETTINGS", "CLEANUP_LEDGER_URL", "CLEANUP_MONGO_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("CLEANUP_REDIS_URL", redis_url)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    return psycopg.connect(postgres_url, autocommit=True), redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.mark.timeout(300)
def test_the_page_from_top_to_bottom(
    stores: tuple[psycopg.Connection[Any], redis.Redis],
    program: Program,
    tmp_path: Path,
    postgres_url: str,
    redis_url: str,
) -> None:
    db, cache = stores
    urls = {"CLEANUP_POSTGRES_URL": postgres_url, "CLEANUP_REDIS_URL": redis_url}
    walked, plan = [], ""
    with db, cache:
        for language, block in blocks(PAGE):
            match language:
                case "sql":
                    db.execute(block)  # type: ignore[call-overload]
                case "redis":
                    for line in block.splitlines():
                        cache.execute_command(*shlex.split(line))
                case "sh":
                    by_shell(block, tmp_path)
                case "bash":
                    command = re.sub(r"(?<=apply )\w+", plan, block.strip())
                    printed = run(command, program, tmp_path, urls)
                    walked.append(command.split()[1])
                    if not plan and (found := re.search(r"cleanup-pipeline apply (\w+)", printed)):
                        plan = found[1]
                case "text":
                    words, page = stable(printed), stable(block)
                    if walked[-1] in LOOKS:
                        # `up` may be there at the full hour: a pass more, of which nothing went.
                        words = [word for word in page if word in words or re.search(r"\d", word)]
                        assert walked[-1] == "history" or "removed 4,001 records" in " ".join(printed.split())
                    assert words == page, f"{walked[-1]}: docs/first-hour.md is not true any more; make captures"
        assert walked == ["init", "check", "plan", "plan", "apply", "run", "up", "history", "report"]
        assert [row[0] for row in db.execute("SELECT count(*) FROM django_session")] == [1001]
        assert sorted(cache.keys("session:*")) == ["session:91bc", "session:c0de"]
    assert {str(target.mode) for target in load_settings(tmp_path / "cleanup.yaml").targets} == {"delete"}


def by_shell(block: str, folder: Path) -> None:
    """Lines for a shell. Those that install are compared with pyproject.toml: building a wheel takes too long here."""
    for line in block.splitlines():
        if line.startswith("export CLEANUP_"):
            assert line.split("=")[0].removeprefix("export ") in {"CLEANUP_POSTGRES_URL", "CLEANUP_REDIS_URL"}
        elif line.startswith("sed "):
            subprocess.run(shlex.split(line), cwd=folder, check=True)
        else:
            assert line in {
                "python3 -m venv venv",
                "venv/bin/python -m pip install .",
                'export PATH="$PWD/venv/bin:$PATH"',
            }


def run(command: str, program: Program, folder: Path, urls: dict[str, str]) -> str:
    """What a command prints: `init` asks, and `up` goes on until it is stopped."""
    if command == "cleanup-pipeline init":
        return on_terminal([*COMMAND, "init"], folder, [""], NO_COLOR="1", **urls)
    if command == "cleanup-pipeline up":
        return up(folder, urls)
    _, *words = command.split()
    if words[0] in {"apply", "run"}:
        # Dagster loads the settings once a process.
        ran = program(*words, **urls)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout
    return type_in(command)


def up(folder: Path, urls: dict[str, str]) -> str:
    # Whatever works in the folder is ended with it.
    with chdir(ROOT), started(folder, "up", **urls) as program:
        program.wait_until_it_says("Ctrl-C stops it")
        printed = program.output()
        found = re.search(r"http://127\.0\.0\.1:\d+", printed)
        assert found
        with urlopen(found[0], timeout=20) as answer:  # noqa: S310 - our own loopback address
            assert answer.status == 200 and b"Dagster" in answer.read()
        assert program.end(signal.SIGINT) == 0
        wait_for("nothing is left of it", lambda: not marked(folder))
    return printed


def test_what_it_says_of_installing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"].startswith(">=3.11") and "Python 3.11 or newer" in PAGE
    assert "cleanup-pipeline" in project["scripts"]


def test_its_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"\]\((images/\S+\.png)\)", PAGE)
    assert len(pictures) == 3
    for picture in pictures:
        assert 20_000 < (ROOT / "docs" / picture).stat().st_size < 200_000
    links = [link for link in re.findall(r"\]\((\S+?\.md)[#)]", PAGE) if not link.startswith("http")]
    assert all((ROOT / "docs" / link).exists() for link in links)
