"""`cleanup-pipeline report` with the real program."""

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.report import _day, _write
from cleanup_pipeline.dagster_defs.launch import instance_at
from cleanup_pipeline.dagster_defs.resources import ledger_url as by_dagster
from cleanup_pipeline.ledger import open_ledger
from tests.cli.conftest import Program, clean_environment
from tests.reporting.example import fill
from tests.reporting.rows import operation

TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = f"sqlite:///{tmp_path_factory.mktemp('example') / 'ledger.db'}"
    ledger = open_ledger(made)
    fill(ledger, datetime.now(UTC), days=8)
    ledger.close()
    return made


def test_a_table_for_people_and_one_for_programs(program: Program, url: str, tmp_path: Path) -> None:
    ran = program("report", "--since", "8d", CLEANUP_LEDGER_URL=url)
    assert ran.returncode == 0 and ran.stderr == ""
    assert "django_sessions" in ran.stdout and "by day" in ran.stdout and "why shards ended" in ran.stdout
    assert "refresh_tokens: 2,140 left" in ran.stdout
    # It leaves nothing behind, and needs neither settings nor Dagster.
    assert list(tmp_path.iterdir()) == []
    ran = program("report", "--since", "8d", "--by", "kind", "--format", "csv", CLEANUP_LEDGER_URL=url)
    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert {row["group"] for row in rows} > {"session", "refresh_token"}
    ran = program("report", "--since", "8d", "--format", "json", CLEANUP_LEDGER_URL=url)
    found = json.loads(ran.stdout)
    assert found["total"]["deleted"] == sum(int(row["deleted"]) for row in rows)
    assert found["until"] == str(TODAY) and found["since"] == str(TODAY - timedelta(days=7))


def test_a_file_is_written_whole_and_its_name_says_how(program: Program, url: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    ran = program("report", "-o", "report.html", CLEANUP_LEDGER_URL=url)
    assert ran.returncode == 0 and ran.stdout.startswith("report.html: ")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    ran = program("report", "-o", "report.md", CLEANUP_LEDGER_URL=url)
    assert (tmp_path / "report.md").read_text().startswith("## Cleanup, ")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md"}
    (tmp_path / "folder").mkdir()
    ran = program("report", "-o", "folder", CLEANUP_LEDGER_URL=url)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "--output: found folder, which is a folder; name a file in it, such as report.html\n"
    with pytest.raises(UsageError, match=r"report\.html cannot be written \(No such file"):
        _write(tmp_path / "nowhere" / "report.html", "")


def words(text: str) -> str:
    return " ".join(text.split())


def test_nothing_on_record(program: Program, tmp_path: Path) -> None:
    ran = program("report")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "no pass is on record\n", "")
    empty = f"sqlite:///{tmp_path / 'ledger.db'}"
    ran = program("report", CLEANUP_LEDGER_URL=empty)
    assert "there is no ledger yet where CLEANUP_LEDGER_URL says it is" in words(ran.stdout) and ran.returncode == 0
    open_ledger(empty).close()
    ran = program("report", "--since", "2020-01-01", "--until", "2020-01-31", CLEANUP_LEDGER_URL=empty)
    assert (ran.returncode, ran.stdout) == (0, "no pass is on record from 2020-01-01 to 2020-01-31\n")


def test_what_was_asked_wrongly(program: Program, tmp_path: Path) -> None:
    for text in ("soon", "2026-13-01", "-5x", ""):
        with pytest.raises(UsageError, match=f"--since: found {text}, expected a number of days such as 30d, or a day"):
            _day(text, TODAY, "--since")
    assert _day("12h", TODAY, "--since") == TODAY - timedelta(days=1)
    assert _day("7d ago", TODAY, "--until") == TODAY - timedelta(days=7)
    ran = program("report", "--since", "2026-11-30", "--until", "2026-11-01")
    assert ran.returncode == 2 and "the period ends before it begins" in ran.stderr
    ran = program("report", CLEANUP_LEDGER_URL="mysql://user:hunter2@host/db")
    assert ran.returncode == 2 and "expected sqlite or postgresql" in ran.stderr and "hunter2" not in ran.stderr


def test_it_imports_no_dagster_and_no_store(url: str) -> None:
    code = (
        "import sys; from cleanup_pipeline.cli.main import app\n"
        "try: app(['report', '--format', 'html'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'dagster', 'psycopg', 'redis', 'pymongo', 'alembic'} & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(CLEANUP_LEDGER_URL=url),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.startswith("<!doctype html>") and ran.stderr == "[]\n"


def test_loading_the_definitions_imports_no_pandas(tmp_path: Path) -> None:
    code = "import sys, cleanup_pipeline.definitions; print({'pandas', 'jinja2', 'numpy'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert "pandas" not in ran.stdout and "numpy" not in ran.stdout


STORAGE = """
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {base_dir: %s}
"""


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        (None, {}),
        ("telemetry: {enabled: false}\n", {}),
        (STORAGE % "relative/place", {}),
        (STORAGE % "/tmp/cleanup-somewhere", {}),  # noqa: S108 - nothing is written there
        (STORAGE % "{env: CLEANUP_TEST_BASE}", {"CLEANUP_TEST_BASE": "from/variable"}),
        (None, {"DAGSTER_HOME": "home"}),
        (None, {"CLEANUP_LEDGER_URL": "sqlite:///named.db"}),
    ],
    ids=["none", "no entry", "relative", "absolute", "variable", "home", "named"],
)
def test_the_ledger_is_where_dagster_says(
    text: str | None, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("CLEANUP_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        if name == "DAGSTER_HOME":
            (tmp_path / value).mkdir()
            value = str(tmp_path / value)
        monkeypatch.setenv(name, value)
    if text is not None:
        (tmp_path / "dagster.yaml").write_text(text)
    from cleanup_pipeline.cli.home import dagster_home

    found = ledger_url()
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    with instance_at(dagster_home()) as instance:
        assert found == by_dagster(instance)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def test_names_do_not_reach_the_terminal_as_commands(program: Program, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = open_ledger(place)
    operation(ledger, TODAY, "[red]\x1b]0;x\x07[/red]", 5, error="\x1b[2J[bold]gone")
    ledger.close()
    ran = program("report", CLEANUP_LEDGER_URL=place)
    assert ran.returncode == 0 and "[red]" in ran.stdout and "[bold]gone" in ran.stdout
    assert not {"\x1b", "\x07"} & set(ran.stdout)
