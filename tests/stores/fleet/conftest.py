"""Settings with targets that stand for many, and a pass over one of them without Dagster."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import ShardOutcome, TargetReport
from cleanup_pipeline.reporting.fold import fold_target
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.open import open_store, store_for

Pass = Callable[..., tuple[TargetReport, list[ShardOutcome]]]


@pytest.fixture
def db(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def tenant(db: psycopg.Connection[Any], name: str, expired: int, live: int = 2, *, days: int = 1) -> None:
    """A schema with a table of sessions: the expired ones died that many days ago."""
    db.execute(f'CREATE SCHEMA "{name}"')
    db.execute(f'CREATE TABLE "{name}".sessions (id int PRIMARY KEY, expires_at timestamptz)')
    db.execute(f'CREATE INDEX ON "{name}".sessions (expires_at)')
    fill(db, name, expired, live, days=days)


def fill(db: psycopg.Connection[Any], name: str, expired: int, live: int = 2, *, days: int = 1) -> None:
    died = f"now() - interval '{days} days' - n * interval '1 second'"
    db.execute(
        f'INSERT INTO "{name}".sessions SELECT n, CASE WHEN n <= {expired} THEN {died}'
        f" ELSE now() + interval '1 day' END FROM generate_series(1, {expired + live}) n"
    )


def left(db: psycopg.Connection[Any], name: str) -> int:
    row = db.execute(f'SELECT count(*) FROM "{name}".sessions').fetchone()
    assert row is not None
    return int(row[0])


def settings_of(text: str, folder: Path, environ: Mapping[str, str]) -> Settings:
    file = folder / "cleanup.yaml"
    file.write_text(text)
    return load_settings(file, environ)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Pass]:
    """A whole pass over the first target of a settings text: scan, every shard under a lease, recount."""
    opened: list[Store] = []

    def _run(text: str, **more: Any) -> tuple[TargetReport, list[ShardOutcome]]:
        environ = more.pop("environ")
        settings = settings_of(text, tmp_path, environ)
        target = settings.targets[0]
        store = open_store(settings.stores[target.store])
        opened.append(store)
        plan = scan(store, target, dry_run=more.pop("dry_run", False))
        before = more.pop("before_deleting", None)
        if before is not None:
            before()
        outcomes: list[ShardOutcome] = []
        for shard in () if plan.dry_run else plan.work.shards:
            limits = limits_of(target)
            lease = Lease("this-run", shard.index, "here")
            watch = Watch(outcomes.append, **more)
            clean_shard(store, target, plan.work, shard, plan.cutoff, limits, watch, lease=lease)
        counted = store_for(store, target).survivors(target, plan.cutoff, timedelta(seconds=10))
        return fold_target(plan, outcomes, counted), outcomes

    yield _run
    for store in opened:
        store.close()
