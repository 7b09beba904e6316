"""Cleaners that are killed between keeping a batch and deleting it, or at any moment: nothing is lost.

Two rounds for each store, or as many as CLEANUP_ROUNDS says: `make undo-rounds` does a hundred.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.keeping.opening import reading
from cleanup_pipeline.keeping.undoing import Undone, undo_target
from cleanup_pipeline.model.removed import Fate
from cleanup_pipeline.settings import Settings, load_settings
from cleanup_pipeline.stores.open import open_store
from tests.e2e.support import wait_for
from tests.faults.cleaner import TARGETS, Stores, write_settings
from tests.faults.undo_worker import environ_of, start

ROUNDS = int(os.environ.get("CLEANUP_ROUNDS", "2"))
SEED = int(os.environ.get("CLEANUP_SEED", "20261126"))
RECORDS, BATCH = {"web": 400, "keys": 400, "docs": 100}, 20


@pytest.fixture
def stores(postgres_url: str, redis_url: str, mongo_url: str) -> Stores:
    made = Stores(postgres_url, redis_url, f"{mongo_url}&serverMonitoringMode=poll")
    made.create()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_settings(tmp_path, list(TARGETS), batch=BATCH, lease="1s")
    return tmp_path


def content(stores: Stores, name: str) -> dict[Any, Any]:
    """Every record of a store, as it is."""
    if name == "web":
        with psycopg.connect(stores.postgres) as db:
            return dict(db.execute("SELECT id, w::text FROM web w").fetchall())
    if name == "keys":
        with redis.Redis.from_url(stores.redis) as client:
            # Live keys get a TTL from any pass, as they lack one.
            return {key: client.dump(key) for key in client.scan_iter("s:*", count=1000)}
    with pymongo.MongoClient(stores.mongo) as mongo:
        return {document["_id"]: document for document in mongo.get_default_database()["docs"].find({})}


def undone(settings: Settings, folder: Path, name: str, run: str) -> Iterator[Undone]:
    """The undo of a run, again until the dead cleaner's lease has run out."""
    [target] = [each for each in settings.targets if each.name == name]
    reader = reading(settings.quarantine, folder)
    while True:
        store = open_store(settings.stores[target.store])
        try:
            kept = reader.kept(run)
            yield undo_target(store, target, reader, kept, run, host="here", before=lambda: None, dry=False)
        finally:
            store.close()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(TARGETS))
def test_killed_between_keeping_and_deleting_nothing_is_lost(stores: Stores, folder: Path, name: str) -> None:
    chance = random.Random(f"{SEED} {name}")
    settings = load_settings(folder / "cleanup.yaml", environ_of(stores))
    stores.fill("r", {name: RECORDS[name]})
    before = content(stores, name)
    gone = again = deaths = 0
    for number in range(ROUNDS):
        # One in three dies right behind a batch that was kept, one right behind its deletion, the others at any moment.
        die_after = chance.randint(1, RECORDS[name] // BATCH) if number % 3 < 2 else 0
        run = f"run-{number}"
        at = ("hold", "gone", "")[number % 3]
        process = start(folder, stores, name, run, die_after, at)
        if not die_after:
            process.join(chance.uniform(0.3, 3))
            process.kill()
        process.join(60)
        # On a machine that stands still for a second the lease is lost first, and the cleaner ends by itself.
        killed = process.exitcode == -9
        assert killed or process.exitcode == 0, process.exitcode
        deaths += killed
        left = content(stores, name)
        gone += len(before) - len(left)
        assert all(left[key] == before[key] for key in left)
        results = undone(settings, folder, name, run)

        def over(results: Iterator[Undone] = results) -> Undone | None:
            result = next(results)
            return result if result.error is None else None

        result = wait_for("the undo of what the dead one left", over, 30)
        results.close()  # type: ignore[attr-defined]
        assert not result.red, result
        assert result.fates[Fate.RESTORED] == len(before) - len(left), f"round {number}, seed {SEED}"
        # In both places, or in one: never in none. And what came back is what it was.
        assert content(stores, name) == before, f"round {number}, seed {SEED}"
        again += result.unconfirmed
        assert at != "gone" or not killed or 0 < result.unconfirmed <= BATCH, (number, result)
        if number % 10 == 9:
            print(f"{name}: {number + 1} rounds: {gone} records had gone and came back, {again} of batches cut off")
    assert deaths > ROUNDS // 2
    began = time.monotonic()
    process = start(folder, stores, name, "last", 0)
    process.join(60)
    assert process.exitcode == 0
    assert len(content(stores, name)) == stores.live
    print(f"{name}: {ROUNDS} rounds, seed {SEED}: {gone} records had gone and came back, {again} of batches cut off;")
    print(f"the pass after them took {time.monotonic() - began:.1f} s")
