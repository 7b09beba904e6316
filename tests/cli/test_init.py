"""`init` against stores that the real frameworks filled."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import redis

from cleanup_pipeline.embedded.sample import write_samples
from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import Mode
from cleanup_pipeline.settings import load_settings
from tests.cli.conftest import COMMAND, Program
from tests.cli.terminal import on_terminal

LOOKS = ["+@read", "+@connection", "+time"]


def test_it_finds_what_is_there_and_approves_nothing(
    program: Program, tmp_path: Path, postgres_url: str, redis_url: str, mongo_url: str
) -> None:
    write_samples(postgres_url, redis_url, mongo_url)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE accesstoken (token text, created_at timestamptz, user_id uuid)")
    with pymongo.MongoClient[Any](mongo_url) as client:
        # Flask-Session's own name for it; the sample has another one.
        client.get_default_database().sessions.insert_one({"id": "a", "val": b"", "expiration": datetime.now(UTC)})
    urls = {"CLEANUP_POSTGRES_URL": postgres_url, "CLEANUP_REDIS_URL": redis_url, "CLEANUP_MONGO_URL": mongo_url}
    ran = program("init", "--redis", redis_url, **{k: v for k, v in urls.items() if "REDIS" not in k})
    assert ran.returncode == 0, ran.stderr
    assert "set CLEANUP_REDIS_URL, which the file refers to" in ran.stdout
    file = tmp_path / "cleanup.yaml"
    text = file.read_text()
    assert redis_url not in text and postgres_url not in text
    settings = load_settings(file, urls)
    assert {target.layout for target in settings.targets} == {p.name for p in layouts().values() if p.default}
    assert {target.mode for target in settings.targets} == {Mode.DRY_RUN}
    assert "  #   layout: fastapi-users\n  #   params:\n  #     lifetime:   # a duration such as 2h or 30d\n" in text
    assert "  # Needs lifetime: lifetime_seconds of DatabaseStrategy;" in text

    file.write_text("mine")
    ran = program("init", **urls)
    assert (ran.returncode, file.read_text()) == (2, "mine")
    assert "is not written over" in ran.stderr
    ran = program("init", "-o", "other.yaml")
    assert ran.returncode == 2 and "no store to look at" in ran.stderr
    ran = program("init", "-o", "other.yaml", "--postgres", "postgresql://nobody:hush@127.0.0.1:9/x")
    assert ran.returncode == 1 and "cannot reach" in ran.stderr and "hush" not in ran.stderr
    assert not (tmp_path / "other.yaml").exists()


def test_it_reads_only(program: Program, tmp_path: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("session:1", b"\x81\xaa_permanent\xc3")
        client.acl_setuser("looker", enabled=True, nopass=True, keys=["*"], commands=LOOKS)
        before = client.dbsize()
        try:
            ran = program("init", "--redis", redis_url.replace("redis://", "redis://looker:x@"))
        finally:
            client.acl_deluser("looker")
        assert (ran.returncode, client.dbsize()) == (0, before), ran.stderr
    assert "layout: flask-session-redis" in (tmp_path / "cleanup.yaml").read_text()


def test_it_asks_on_a_terminal(tmp_path: Path, postgres_url: str) -> None:
    """By a pseudo-terminal of 80x24: URLs are asked for without showing them, an empty answer is no store."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE django_session (session_key text, session_data text, expire_date timestamptz)")
        db.execute("CREATE TABLE invite_tokens (id int, secret text, valid_until timestamptz)")
    screen = on_terminal([*COMMAND, "init"], tmp_path, [postgres_url, "", ""], NO_COLOR="1")
    assert postgres_url not in screen
    assert "URL of postgres (empty: none)" in screen
    assert "found    django-sessions" in screen
    assert "unknown  table public.invite_tokens (valid_until timestamp with time zone)" in screen
    assert "set CLEANUP_POSTGRES_URL, which the file refers to" in screen
    assert "\x1b" not in screen, "NO_COLOR"
    text = (tmp_path / "cleanup.yaml").read_text()
    assert "# Seen: table public.django_session, never analyzed." in text
    command = "cleanup-pipeline layouts new --table invite_tokens --expires valid_until"
    assert f"\n    {command}\n" in screen
    assert f"  # - table public.invite_tokens (valid_until timestamp with time zone)\n  #   {command}\n" in text
    assert max(map(len, screen.splitlines())) <= 80
