"""`check` as a person and a script see it."""

import json
import os
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from cleanup_pipeline.cli.main import app
from tests.cli.conftest import COMMAND, Program
from tests.cli.terminal import on_terminal

SETTINGS = """
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
  away: {type: postgres, url: "postgresql://nobody@127.0.0.1:9/none"}
targets:
  web: {store: main, table: web, expires: {column: expires_at}}
  calls: {store: main, pass: verification_tokens, table: calls, expires: {column: ends}}
  gone: {store: away, pass: verification_tokens, table: web, expires: {column: expires_at}}
"""


def test_what_is_in_the_way_and_what_to_do(program: Program, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id int PRIMARY KEY, expires_at timestamptz); CREATE INDEX ON web (expires_at)")
        db.execute("CREATE TABLE child (web int REFERENCES web)")

    ran = program("check", "web", "--strict", settings=SETTINGS, CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 1
    assert "do: CREATE INDEX CONCURRENTLY ON child (web)" in ran.stdout
    assert ran.stdout.endswith("0 errors, 2 warnings\n")
    ran = program("check", "sessions", "--json", CLEANUP_POSTGRES_URL=postgres_url)
    said = json.loads(ran.stdout)
    assert (ran.returncode, said["errors"], said["warnings"]) == (0, 0, 2)
    assert [each["name"] for each in said["targets"]] == ["web"]
    assert {"severity", "what", "remedy", "evidence", "code"} == set(said["targets"][0]["findings"][0])

    ran = program("check", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 1
    assert "table calls does not exist" in ran.stdout
    assert ran.stdout.endswith("2 errors, 2 warnings, 1 target not looked at\n")
    ran = program("check", "wep", CLEANUP_POSTGRES_URL=postgres_url)
    assert (ran.returncode, ran.stderr) == (2, "there is no pass and no target wep; did you mean web?\n")


def test_a_store_without_targets_is_looked_at(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLEANUP_")]:
        monkeypatch.delenv(name)
    before, _ = SETTINGS.split("targets:")
    (tmp_path / "cleanup.yaml").write_text(before + "targets: {}\n")
    ran = CliRunner().invoke(app, ["check"], env={"CLEANUP_POSTGRES_URL": postgres_url})
    assert ran.exit_code == 1
    assert "store main  postgres at " in ran.stdout and "store away  postgres at " in ran.stdout
    assert ran.stdout.endswith("1 error, 0 warnings\n")


def test_it_fits_a_terminal(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(
            "CREATE TABLE web (id int PRIMARY KEY, expires_at timestamptz); CREATE TABLE calls (ends timestamptz)"
        )
        db.execute("CREATE TABLE a_table_of_a_rather_long_name (web int REFERENCES web)")
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    plain = on_terminal([*COMMAND, "check", "web"], tmp_path, CLEANUP_POSTGRES_URL=postgres_url, NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    # What a line was too short for goes on under its own words.
    assert "\n           do: CREATE INDEX CONCURRENTLY ON a_table_of_a_rather_long_name (web)\n" in plain
    coloured = on_terminal([*COMMAND, "check", "web"], tmp_path, CLEANUP_POSTGRES_URL=postgres_url)
    assert "\x1b[33m  warning" in coloured
