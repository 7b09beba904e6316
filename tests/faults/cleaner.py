"""Passes in processes of their own, as instances on other machines would be, and the three stores that they clean."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import redis

CONTEXT = get_context("forkserver")
# Dagster takes a second to import; what is forked has it already.
CONTEXT.set_forkserver_preload(["cleanup_pipeline.dagster_defs.launch", "cleanup_pipeline.dagster_defs.build"])

SETTINGS = """
cleanup: {{batch_size: {batch}, pause: {pause}, max_shards: 2}}
stores:
  main: {{type: postgres, url: "${{CLEANUP_POSTGRES_URL}}", lease: {lease}}}
  cache: {{type: redis, url: "${{CLEANUP_REDIS_URL}}", lease: {lease}}}
  docs: {{type: mongo, url: "${{CLEANUP_MONGO_URL}}", lease: {lease}}}
passes: {{sessions: {{every: 1h}}}}
targets:
"""
TARGETS = {
    "web": "{store: main, pass: sessions, table: web, expires: {column: e}, mode: delete}",
    "keys": "{store: cache, pass: sessions, keys: 's:*', expires: {value: s}, mode: delete}",
    "docs": "{store: docs, pass: sessions, collection: docs, expires: {field: e}, mode: delete}",
}


@dataclass
class Stores:
    """One table, one keyspace, one collection; what is in them by number, and how much they have lost."""

    postgres: str
    redis: str
    mongo: str
    live: int = 3
    made: int = 0
    by_target: dict[str, int] = field(default_factory=dict)

    def create(self) -> None:
        with psycopg.connect(self.postgres, autocommit=True) as db:
            db.execute("CREATE TABLE web (id text PRIMARY KEY, e timestamptz)")
        self.fill("live", dict.fromkeys(TARGETS, self.live), timedelta(days=1))

    def fill(self, name: str, counts: dict[str, int], alive: timedelta = -timedelta(days=1)) -> None:
        """So many records for each target, dead unless `alive` is positive."""
        dies = datetime.now(UTC) + alive
        with psycopg.connect(self.postgres, autocommit=True) as db:
            db.execute(
                "INSERT INTO web SELECT %s || n, %s FROM generate_series(1, %s::int) n",
                (name, dies, counts.get("web", 0)),
            )
        with redis.Redis.from_url(self.redis) as client:
            values = {f"s:{name}{n}": str(int(dies.timestamp())) for n in range(counts.get("keys", 0))}
            if values:
                client.mset(values)
        with pymongo.MongoClient(self.mongo) as mongo:
            docs = [{"_id": f"{name}{n}", "e": dies} for n in range(counts.get("docs", 0))]
            if docs:
                mongo.get_default_database()["docs"].insert_many(docs)

    def left(self) -> dict[str, int]:
        with psycopg.connect(self.postgres, autocommit=True) as db:
            row = db.execute("SELECT count(*) FROM web").fetchone()
        with redis.Redis.from_url(self.redis) as client:
            keys = sum(1 for _ in client.scan_iter("s:*", count=1000))
        with pymongo.MongoClient(self.mongo) as mongo:
            docs = mongo.get_default_database()["docs"].count_documents({})
        return {"web": row[0] if row else 0, "keys": keys, "docs": docs}

    @property
    def only_live(self) -> dict[str, int]:
        return dict.fromkeys(TARGETS, self.live)


def write_settings(folder: Path, targets: list[str], *, batch: int = 50, pause: str = "0s", lease: str = "30s") -> None:
    lines = [f"  {name}: {TARGETS[name]}" for name in targets]
    folder.mkdir(exist_ok=True)
    text = SETTINGS.format(batch=batch, pause=pause, lease=lease) + "\n".join(lines) + "\n"
    (folder / "cleanup.yaml").write_text(text)


@dataclass
class Cleaner:
    """One pass in a process of its own, with a Dagster of its own in `folder`."""

    process: ForkServerProcess
    folder: Path

    def end(self, seconds: float = 90) -> dict[str, Any]:
        """The report, once it has ended."""
        self.process.join(seconds)
        assert self.process.exitcode == 0, f"ended with {self.process.exitcode}"
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def send(self, sign: signal.Signals) -> None:
        os.kill(self.process.pid or 0, sign)


def start(folder: Path, stores: Stores) -> Cleaner:
    (folder / "report.json").unlink(missing_ok=True)
    urls = {
        "CLEANUP_POSTGRES_URL": stores.postgres,
        "CLEANUP_REDIS_URL": stores.redis,
        "CLEANUP_MONGO_URL": stores.mongo,
    }
    process = CONTEXT.Process(target=_clean, args=(folder, urls))
    process.start()
    return Cleaner(process, folder)


def clean(folder: Path, stores: Stores) -> dict[str, Any]:
    return start(folder, stores).end()


def _clean(folder: Path, urls: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("CLEANUP_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ.update(urls)
    from cleanup_pipeline.cli.home import dagster_home
    from cleanup_pipeline.dagster_defs.launch import instance_at, run_pass
    from cleanup_pipeline.reporting.codec import pass_document
    from cleanup_pipeline.settings import load_settings

    settings = load_settings()
    with instance_at(dagster_home()) as instance:
        report = run_pass(settings, "sessions", instance=instance)
    (folder / "report.json").write_text(json.dumps(pass_document(report)))


def ledger_url(folder: Path) -> str:
    return f"sqlite:///{folder / '.cleanup' / 'artifacts' / 'cleanup-ledger.db'}"


Wait = Callable[[], bool]
