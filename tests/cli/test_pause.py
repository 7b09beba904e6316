"""Pausing and resuming targets: seen by the next pass and by one that is running."""

import json
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import COMMAND, clean_environment
from tests.e2e.support import started, wait_for

SETTINGS = """
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
cleanup: {batch_size: 100, pause: 200ms}
targets:
  visits: {store: main, pass: sessions, table: visits, expires: {column: expires_at}, mode: delete}
  calls: {store: main, pass: sessions, table: calls, expires: {column: expires_at}, mode: delete}
passes:
  sessions: {every: 1h}
"""


def ask(folder: Path, url: str, *arguments: str) -> tuple[int, str]:
    import subprocess

    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=clean_environment(CLEANUP_POSTGRES_URL=url),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path, postgres_url: str) -> Path:
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        for table, rows in (("visits", 20_000), ("calls", 10)):
            db.execute(f"CREATE TABLE {table} (id int, expires_at timestamptz)")
            db.execute(f"INSERT INTO {table} SELECT n, now() - interval '1 day' FROM generate_series(1, {rows}) n")
    return tmp_path


def test_a_pass_that_is_running_ends_and_the_next_leaves_the_target_out(folder: Path, postgres_url: str) -> None:
    def rows(table: str) -> int:
        with psycopg.connect(postgres_url) as db:
            row = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return row[0] if row else 0

    with started(folder, "run", "sessions", "--json", CLEANUP_POSTGRES_URL=postgres_url) as program:
        wait_for("the first batches", lambda: rows("visits") < 20_000)
        code, told = ask(folder, postgres_url, "pause", "visits", "--for", "2h")
        assert code == 0
        assert told.startswith("visits: paused by ")
        assert program.process.wait(60) == 1
    left = rows("visits")
    assert 0 < left < 20_000
    targets = {target["target"]: target for target in json.loads(program.output().splitlines()[0])["targets"]}
    assert (targets["visits"]["stop_reason"], targets["visits"]["survivors"]) == ("paused", left)
    assert "stopped: paused" in targets["visits"]["error"]
    assert targets["calls"]["deleted"] == 10

    code, told = ask(folder, postgres_url, "run", "sessions", "--json")
    targets = {target["target"]: target for target in json.loads(told.splitlines()[0])["targets"]}
    assert code == 0
    assert targets["visits"]["stop_reason"] == "skipped"
    assert "paused by" in targets["visits"]["why"] or "paused by" in json.dumps(targets["visits"])
    assert rows("visits") == left

    assert ask(folder, postgres_url, "resume", "visits") == (0, "visits: resumed\n")
    assert ask(folder, postgres_url, "resume", "visits") == (0, "visits was not paused\n")
    assert ask(folder, postgres_url, "pause") == (0, "nothing is paused\n")


def test_all_and_wrong_names(folder: Path, postgres_url: str) -> None:
    code, told = ask(folder, postgres_url, "pause", "--all")
    assert code == 0
    assert told.startswith("all targets: paused by ")
    assert told.rstrip().endswith("until it is resumed")
    code, told = ask(folder, postgres_url, "run", "sessions")
    assert code == 0
    assert told.count("paused by") == 2
    assert ask(folder, postgres_url, "resume", "--all") == (0, "all targets: resumed\n")
    code, told = ask(folder, postgres_url, "pause", "visit")
    assert (code, told) == (2, "there is no target visit; did you mean visits?\n")
    code, told = ask(folder, postgres_url, "pause", "visits", "--for", "soon")
    assert (code, told) == (2, "--for soon: expected a duration such as 30m, 2h or 1d\n")


@pytest.mark.parametrize(
    "off",
    [
        pytest.param("cleanup: {enabled: false, ", marks=pytest.mark.long),
        pytest.param("passes: {sessions: {enabled: false}}", marks=pytest.mark.long),
        "mode: dry_run",
    ],
)
def test_switched_off_in_the_settings_it_ends_too(folder: Path, postgres_url: str, off: str) -> None:
    def rows(table: str) -> int:
        with psycopg.connect(postgres_url) as db:
            row = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return row[0] if row else 0

    file = folder / "cleanup.yaml"
    with started(folder, "run", "sessions", "--json", CLEANUP_POSTGRES_URL=postgres_url) as program:
        wait_for("the first batches", lambda: rows("visits") < 20_000)
        # Half a file is no order: a pass that is running keeps to what it began with.
        file.write_text(SETTINGS[:90])
        so_far = rows("visits")
        wait_for("a second of it", lambda: rows("visits") < so_far - 2_000)
        replaced = {"cleanup: {": off} if off.startswith("cleanup") else {"mode: delete": off}
        if off.startswith("passes"):
            replaced = {"passes:\n  sessions: {every: 1h}": off}
        [(old, new)] = replaced.items()
        (folder / "new.yaml").write_text(SETTINGS.replace(old, new))
        (folder / "new.yaml").rename(file)
        assert program.process.wait(60) == 1
    left = rows("visits")
    assert 0 < left < 20_000
    targets = {target["target"]: target for target in json.loads(program.output().splitlines()[0])["targets"]}
    assert (targets["visits"]["stop_reason"], targets["visits"]["survivors"]) == ("paused", left)
