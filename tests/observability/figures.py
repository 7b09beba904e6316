"""A ledger in a file, settings for it, and what is in it. Its fixtures are imported by those who use them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.tables import passes, shards, targets, witnesses
from cleanup_pipeline.settings import Settings, load_settings

YAML = """
stores: {main: {type: postgres, url: "postgresql://user@127.0.0.1/db"}}
targets:
  web: {store: main, table: web, expires: {column: expires_at}, mode: delete}
  links: {store: main, pass: verification_tokens, kind: verification_token, table: links,
          expires: {column: expires_at}, mode: delete}
  idle: {store: main, kind: revoked_token, table: idle, expires: {column: expires_at}}
"""
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "cleanup.yaml").write_text(YAML, encoding="utf-8")
    return load_settings(tmp_path / "cleanup.yaml")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


def add_pass(ledger: Ledger, run_id: str, at: datetime, target: str = "web", **more: Any) -> None:
    """A pass that is over, with one target and one shard, written as of `at`."""
    of_pass = {"sessions": "session", "verification_tokens": "verification_token"}
    name = more.get("pass_name", "sessions")
    belongs = {"run_id": run_id, "target": target, "store": "main", "kind": more.get("kind", of_pass[name])}
    dry_run = more.get("dry_run", False)
    status = more.get("status", "dry_run" if dry_run else "succeeded")
    of_target = {"stop_reason": "exhausted", "seconds": 1.5, "survivors": 0, "expired_found": None, "since": None}
    of_target |= {name: more[name] for name in (*of_target, "error") if name in more}
    of_shard = {"deleted": 100, "seconds": 10.0, "waited_seconds": 0.0, "paused_seconds": 2.0, "slowed": {}}
    of_shard |= {"latency_ms": [0, 3, *[0] * 9, 1], "stop_reason": "exhausted", "bytes_freed": None}
    of_shard |= {name: more[name] for name in of_shard if name in more}
    with ledger.place.writing() as connection:
        when = {"started_at": at, "ended_at": at, "heartbeat_at": at}
        connection.execute(insert(passes).values(run_id=run_id, pass_name=name, dry_run=dry_run, status=status, **when))
        known = {"dry_run": dry_run, "survivors_known": True, "reported_at": at}
        connection.execute(insert(targets).values(**belongs, **known, **of_target))
        if not dry_run:
            of_shard["at_most"] = of_shard["deleted"]
            connection.execute(insert(shards).values(**belongs, **of_shard, shard=0, started_at=at, ended_at=at))


def add_witness(ledger: Ledger, target: str, at: datetime, **more: Any) -> None:
    """What the witness found."""
    row = {"survivors": 0, "oldest_survivor": None, "known": True, "objective_seconds": 7200.0, **more}
    with ledger.place.writing() as connection:
        connection.execute(insert(witnesses).values(target=target, checked_at=at, **row))


def without(settings: Settings, target: str) -> Settings:
    """The same settings, one target less."""
    return replace(settings, targets=tuple(each for each in settings.targets if each.name != target))
