"""`advise` as a person and a script see it."""

import json
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from cleanup_pipeline.cli.main import app

SETTINGS = """
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
targets:
  web: {store: main, table: web, expires: {column: expires_at}, grace: 7d}
  gone: {store: main, table: gone, expires: {column: expires_at}}
"""


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    (tmp_path / "cleanup.yaml").write_text(SETTINGS)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id text PRIMARY KEY, expires_at timestamptz NOT NULL)")
        db.execute("INSERT INTO web SELECT 'a' || n, now() - interval '30 days' FROM generate_series(1, 12) n")
    return str(tmp_path / "cleanup.yaml")


def test_in_words_and_as_json(settings: str, postgres_url: str) -> None:
    ran = CliRunner().invoke(app, ["advise", "web", "--settings", settings])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith("web  web in main: not with the records as they are\n  expired now: 12\n")
    assert "     cleanup-pipeline plan web\n" in ran.stdout, "a pass would only look"
    assert '     CREATE TABLE "public"."web_by_expiry" (LIKE "public"."web" ' in ran.stdout
    assert "  but a key is unique only together with the expiry" in ran.stdout

    ran = CliRunner().invoke(app, ["advise", "web", "--json", "--settings", settings])
    [advice] = json.loads(ran.stdout)["targets"]
    assert (advice["target"], advice["native"], advice["backlog"]) == ("web", "change_first", 12)
    with psycopg.connect(postgres_url) as db:
        assert db.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'web%'").fetchone() == (2,)


def test_what_cannot_be_looked_at_is_red_and_the_rest_is_told(settings: str) -> None:
    ran = CliRunner().invoke(app, ["advise", "--settings", settings])
    assert ran.exit_code == 1
    assert "web  web in main" in ran.stdout and "table gone does not exist" in ran.output
