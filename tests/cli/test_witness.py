"""`cleanup-pipeline witness` and `prune-history`: what they print, and how they exit."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg

from cleanup_pipeline.dagster_defs.launch import instance_at
from tests.cli.conftest import Program

SETTINGS = """
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
targets:
  web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}
  looked_at: {store: main, table: web, expires: {column: expires_at}}
"""


def words(text: str) -> str:
    return " ".join(text.split())


def test_witness_and_prune_history(program: Program, tmp_path: Path, postgres_url: str, monkeypatch: Any) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        db.execute("INSERT INTO web SELECT n, now() - interval '3 days' FROM generate_series(1, 7) n")
        ran = program("witness", settings=SETTINGS, CLEANUP_POSTGRES_URL=postgres_url)
        assert ran.returncode == 1, ran.stderr
        assert "web_sessions          7     3 d 0 h  FAILED" in ran.stdout
        assert "ought to be gone since 3d (at most 2h), 7 left" in words(ran.stdout)
        assert "looked_at: not judged: the target is in mode dry_run" in ran.stdout
        db.execute("DELETE FROM web")
    ran = program("witness", "web_sessions", "--json", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 0, ran.stderr
    [found] = json.loads(ran.stdout)
    assert (found["target"], found["survivors"], found["oldest_survivor"], found["freshness"]) == (
        "web_sessions", 0, True, True,
    )  # fmt: skip
    ran = program("witness", "web_session", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 2 and "did you mean web_sessions?" in ran.stderr

    # What it found is on the target's page, of which it is the only one to know so far.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", "")  # set anew by what opens an instance, and put back after the test
    with instance_at(tmp_path / ".cleanup") as instance:
        key = dg.AssetCheckKey(dg.AssetKey(["cleanup", "web_sessions"]), "oldest_survivor")
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
        assert [record.status.value for record in history] == ["SUCCEEDED", "FAILED"]
    ran = program("prune-history", "--dry-run", CLEANUP_POSTGRES_URL=postgres_url)
    assert ran.returncode == 0, ran.stderr
    assert "400d passes of the ledger, folded into days 0" in words(ran.stdout) and "would go" in ran.stdout
    ran = program("prune-history", CLEANUP_POSTGRES_URL=postgres_url, CLEANUP_HISTORY_KEEP_RUNS="2d")
    assert "2d runs of Dagster, with their files 0" in words(ran.stdout) and "removed" in ran.stdout
    ran = program("prune-history", CLEANUP_POSTGRES_URL=postgres_url, CLEANUP_HISTORY_KEEP_RUNS="5m")
    assert ran.returncode == 2 and "CLEANUP_HISTORY_KEEP_RUNS (history.keep_runs): found '5m'" in ran.stderr


def test_a_store_that_cannot_be_reached_is_not_well(program: Program) -> None:
    ran = program("witness", "web_sessions", settings=SETTINGS, CLEANUP_POSTGRES_URL="postgresql://user@127.0.0.1:1/db")
    assert ran.returncode == 1, ran.stdout
    assert "web_sessions: unknown: stores.main.url: cannot reach 127.0.0.1:1/db" in words(ran.stdout)
