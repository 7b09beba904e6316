"""How the commands look: help that fits a screen, tables that fit 80 columns, colours where they are wanted, Tab."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.completion import completion_init
from typer.testing import CliRunner

from cleanup_pipeline.cli.completing import layouts as offered
from cleanup_pipeline.cli.completing import plans
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.layouts import layouts
from tests.cli.conftest import Program
from tests.cli.terminal import seen_at
from tests.cli.test_bad_input import fill

SETTINGS = """
cleanup: {pause: 0s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web_sessions_of_the_customer_portal: {store: main, table: web, expires: {column: expires_at}, mode: delete}
  app_sessions: {store: main, table: app, expires: {column: expires_at}}
"""
SCREEN = 30
"""Lines: a terminal has 24 at least, and few today have no more."""
LONGER = {"": 56, "layouts new": 50}
"""31 commands, a line each; and 28 options."""
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n]*\r")


def commands() -> Iterator[str]:
    """Every command that there is, and the program itself."""
    root: Any = typer.main.get_command(app)
    context = typer.Context(root)
    yield ""
    for name in root.list_commands(context):
        found = root.get_command(context, name)
        yield name
        yield from (f"{name} {inner}" for inner in getattr(found, "commands", {}))


@pytest.mark.parametrize("command", commands())
def test_help_fits_a_screen_and_has_an_example(command: str) -> None:
    result = CliRunner().invoke(
        app, [*command.split(), "--help"], prog_name="cleanup-pipeline", env={"COLUMNS": "80", "FORCE_COLOR": "1"}
    )
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith(f"Usage: cleanup-pipeline {command}".rstrip())
    assert max(map(len, lines)) <= 80
    assert len(lines) <= LONGER.get(command, SCREEN), command
    examples = [line.strip() for line in lines if line.startswith("    cleanup-pipeline ")]
    assert any(line.startswith(f"cleanup-pipeline {command}".rstrip()) for line in examples)
    assert "\x1b" not in result.output and "[[" not in lines[0]
    # One voice: what it does, as an order, or as a sentence of the program.
    assert re.match(r"  [A-Z][a-z]+ ", lines[2]), lines[2]


def test_the_list_of_commands_says_what_each_is() -> None:
    lines = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output.splitlines()
    for command in commands():
        if command and " " not in command:
            (line,) = [line for line in lines if line.startswith(f"  {command} ")]
            assert re.fullmatch(r"  \S+ +[A-Z].+\.", line), line


@pytest.fixture
def place(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "CLEANUP_SETTINGS", "CLEANUP_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    fill(postgres_url, "web")
    fill(postgres_url, "app")
    return tmp_path


SHOWING = ["plan", "plans", "check", "advise", "history", "report", "witness", "alerts --all", "leases"]
SHOWING += ["release-brake", "pause", "notifications", "prune-history --dry-run", "layouts list"]
SHOWING += ["layouts show django-sessions", "report --by kind --since 7d"]
COPIED = re.compile(r"^ +(CREATE|ALTER|INSERT|GRANT|DROP|LOCK|SELECT) ")


def test_what_they_show_fits_80_columns_and_colours_can_be_had_or_not(
    monkeypatch: pytest.MonkeyPatch, program: Program, place: Path, postgres_url: str
) -> None:
    # A process of its own: Dagster loads the settings once in each.
    assert program("run", "sessions", CLEANUP_POSTGRES_URL=postgres_url).returncode == 0
    assert (place / ".cleanup").is_dir()
    coloured = []
    for command in SHOWING:
        plain = seen_at(80, command.split(), monkeypatch, NO_COLOR="1")
        assert not ESCAPE.search(plain), command
        # A statement is to be copied, and stays in one line.
        wide = [line for line in CURSOR.sub("", plain).splitlines() if len(line) > 80 and not COPIED.match(line)]
        assert not wide, (command, wide)
        if command in {"plan", "history", "check"}:
            coloured.append(seen_at(80, command.split(), monkeypatch))
        piped = CliRunner().invoke(app, command.split(), env={"COLUMNS": "80"})
        assert "\x1b" not in piped.output, command
    assert all(ESCAPE.search(text) for text in coloured)
    # A plan of one target, with a finding.
    assert len(seen_at(80, ["plan", "app_sessions"], monkeypatch, NO_COLOR="1").splitlines()) <= 26


def completed(*words: str) -> list[str]:
    """What a shell is offered for the last word. Nobody listens where the store's URL points to."""
    completion_init()
    asked = {
        "_CLEANUP_PIPELINE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["cleanup-pipeline", *words]),
        "COMP_CWORD": str(len(words)),
        "CLEANUP_POSTGRES_URL": "postgresql://nobody@127.0.0.1:9/x",
    }
    result = CliRunner().invoke(app, [], prog_name="cleanup-pipeline", env=asked)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.split()


@pytest.mark.usefixtures("place")
def test_tab_knows_the_names() -> None:
    assert completed("re") == ["retry", "resume", "release-brake", "report"]
    assert completed("run", "ver") == ["verification_tokens"]
    assert completed("check", "s") == ["sessions"]
    assert completed("pause", "web") == ["web_sessions_of_the_customer_portal"]
    assert completed("roles", "") == ["main"]
    assert completed("run", "--d") == ["--dry-run"]
    assert "layouts" in completed("la") and completed("layouts", "n") == ["new"]


@pytest.mark.usefixtures("place")
def test_tab_knows_plans_and_layouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert plans("") == [], "there is no ledger, and none is made"
    assert not (tmp_path / ".cleanup").exists()
    made = CliRunner().invoke(app, ["plan", "app_sessions"], catch_exceptions=False)
    plan = re.search(r"apply (\w+)", made.output)
    assert plan
    assert plans(plan[1][:4]) == [(plan[1], "app_sessions")]
    assert plans("zz") == []
    assert {name for name, _ in offered("")} == set(layouts())
    assert [name for name, _ in offered("django-s")] == ["django-sessions"]
    monkeypatch.setenv("CLEANUP_LEDGER_URL", "postgresql://nobody@127.0.0.1:9/x")
    assert plans("") == [], "a ledger on a server is not asked"


def test_a_faulty_file_offers_nothing_and_says_nothing(program: Program) -> None:
    """As a shell asks the program itself."""
    asked = {"COMP_WORDS": "cleanup-pipeline pause ", "COMP_CWORD": "2"}
    ran = program(settings="targets: [", _CLEANUP_PIPELINE_COMPLETE="complete_bash", **asked)
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")
    assert (
        "prune-history" in program(_CLEANUP_PIPELINE_COMPLETE="complete_bash", COMP_WORDS="x pr", COMP_CWORD="1").stdout
    )
