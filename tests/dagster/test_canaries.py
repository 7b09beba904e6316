"""Canaries in a pass, on real servers of all three stores."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.dagster_defs.canaries import EVENT
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.switches import ALL, paused, resume
from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.model.canary import CANARY_PREFIX
from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.words import PassStatus, StopReason
from cleanup_pipeline.settings import Settings, load_settings
from tests.dagster.conftest import Run

STORES = """
cleanup: {pause: 0s}
stores:
  main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}
  cache: {type: redis, url: "${CLEANUP_REDIS_URL}"}
  docs: {type: mongo, url: "${CLEANUP_MONGO_URL}"}
targets:
"""
TARGETS = {
    "web": "{store: main, table: web, expires: {column: expires_at}, grace: 1h, mode: delete, canaries: CANARIES}",
    "keys": "{store: cache, keys: 's:*', key_type: hash, expires: {hash_field: e}, grace: 1h, mode: delete,"
    " canaries: CANARIES}",
    "docs": "{store: docs, collection: docs, expires: {field: e}, grace: 1h, mode: delete, canaries: CANARIES}",
}
EXPIRED, LIVE, WITHOUT = 7, 3, 2


@dataclass
class Stores:
    postgres: str
    redis: str
    mongo: str

    def settings(self, folder: Path, *targets: str, canaries: str = "true") -> Settings:
        lines = [f"  {name}: {TARGETS[name].replace('CANARIES', canaries)}" for name in targets]
        file = folder / "cleanup.yaml"
        file.write_text(STORES + "\n".join(lines) + "\n")
        urls = {"POSTGRES": self.postgres, "REDIS": self.redis, "MONGO": self.mongo}
        return load_settings(file, {f"CLEANUP_{name}_URL": url for name, url in urls.items()})

    def ids(self) -> set[str]:
        """Of every record that there is, in any store."""
        with psycopg.connect(self.postgres) as db:
            found = {row[0] for row in db.execute("SELECT id FROM web")}
        with redis.Redis.from_url(self.redis) as client:
            found |= {key.decode() for key in client.scan_iter("s:*")}
        with pymongo.MongoClient(self.mongo) as client:
            found |= {row["_id"] for row in client.get_default_database()["docs"].find()}
        return found

    def marked(self) -> set[str]:
        return {each for each in self.ids() if CANARY_PREFIX in each}


@pytest.fixture
def stores(postgres_url: str, redis_url: str, mongo_url: str) -> Stores:
    now = datetime.now(UTC)
    dead, alive = now - timedelta(days=2), now + timedelta(days=1)
    rows = [(f"dead{n}", dead) for n in range(EXPIRED)] + [(f"live{n}", alive) for n in range(LIVE)]
    rows += [(f"never{n}", None) for n in range(WITHOUT)]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id varchar(40) PRIMARY KEY, data text NOT NULL, expires_at timestamptz)")
        db.cursor().executemany("INSERT INTO web VALUES (%s, '', %s)", rows)
    with redis.Redis.from_url(redis_url) as client:
        for name, at in rows:
            client.hset(f"s:{name}", mapping={"e": int(at.timestamp())} if at else {"u": "1"})
    with pymongo.MongoClient(mongo_url) as mongo:
        docs = mongo.get_default_database()["docs"]
        docs.insert_many([{"_id": name, **({"e": at} if at else {})} for name, at in rows])
        docs.create_index("token", unique=True, sparse=True)
    return Stores(postgres_url, redis_url, mongo_url)


@pytest.fixture
def ledger(instance: dg.DagsterInstance) -> Iterator[Ledger]:
    opened = open_ledger(ledger_url(instance))
    yield opened
    opened.close()


def by_name(report: PassReport) -> dict[str, TargetReport]:
    return {target.target: target for target in report.targets}


FIGURES = ("scanned", "expired_found", "deleted", "kept_live", "without_expiry", "unparsable", "survivors", "repaired")


def figures(report: PassReport) -> dict[str, dict[str, Any]]:
    return {target.target: {name: getattr(target, name) for name in FIGURES} for target in report.targets}


def test_planted_watched_and_gone_without_a_trace_in_any_figure(
    stores: Stores, tmp_path: Path, run: Run, ledger: Ledger
) -> None:
    result, report = run(stores.settings(tmp_path, "web", "keys", "docs"))
    assert report.status is PassStatus.SUCCEEDED, [target.error for target in report.targets]
    for target in report.targets:
        assert any("5 canaries planted" in finding.what for finding in target.findings), target.target
        assert (target.deleted, target.kept_live, target.without_expiry) == (EXPIRED, LIVE, WITHOUT)
        assert (target.expired_found, target.unparsable, target.survivors) == (EXPIRED, 0, 0)
    assert stores.marked() == set()
    shards = [shard for shard in ledger.detail(result.run_id).shards]
    assert {shard.target: shard.deleted for shard in shards} == dict.fromkeys(TARGETS, EXPIRED)
