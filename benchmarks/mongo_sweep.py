"""How fast expired documents leave MongoDB: ours beside one delete_many (the limit) and plain `_id` batches.

    python -m benchmarks.mongo_sweep [--url mongodb://...] [--documents 3000] [--expired 50] [--repeat 3] [--index]

By default against an embedded SecantusDB, which is far slower than mongod: only the ratios say something. With --url,
works in a database of its own name on that server and drops it afterwards.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo
from pymongo.database import Database

from cleanup_pipeline.embedded.servers import start_mongo
from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.stores.mongo import open_mongo

Documents = Database[dict[str, Any]]
DATABASE = "cleanup_pipeline_bench"
TARGET = Target(
    "sessions", "docs", StoreType.MONGO, "sessions", "session",
    CollectionSource("sessions", DATABASE), FieldExpiry("expires_at"), mode=Mode.DELETE, pause=timedelta(0),
)  # fmt: skip


def fill(database: Documents, count: int, expired: int, index: bool) -> None:
    database.sessions.drop()
    now = datetime.now(UTC)
    for start in range(0, count, 500):
        database.sessions.insert_many(
            [
                {
                    "number": n,
                    "data": "x" * 200,
                    "expires_at": now + timedelta(minutes=-n - 1 if n % 100 < expired else n + 60),
                }
                for n in range(start, min(count, start + 500))
            ]
        )
    if index:
        database.sessions.create_index("expires_at")


def ours(url: str, _: Documents, target: Target = TARGET) -> int:
    store = open_mongo(StoreConfig("docs", StoreType.MONGO, url))
    try:
        plan = scan(store, target, dry_run=True)
        watch = Watch(lambda _: None)
        return clean_shard(
            store, target, plan.work, plan.work.shards[0], plan.cutoff, limits_of(target), watch
        ).tally.deleted
    finally:
        store.close()


def one_delete_many(_: str, database: Documents) -> int:
    return database.sessions.delete_many({"expires_at": {"$lt": datetime.now(UTC)}}).deleted_count


def id_batches(_: str, database: Documents) -> int:
    total = 0
    while found := list(database.sessions.find({"expires_at": {"$lt": datetime.now(UTC)}}, {"_id": 1}).limit(1000)):
        total += database.sessions.delete_many({"_id": {"$in": [one["_id"] for one in found]}}).deleted_count
    return total


WAYS: dict[str, Callable[[str, Documents], int]] = {
    "one delete_many": one_delete_many,
    "ours": ours,
    "_id batches": id_batches,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url")
    arguments.add_argument("--documents", type=int, default=3000)
    arguments.add_argument("--expired", type=int, default=50, help="per cent")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--index", action="store_true", help="with an index on the expiry")
    given = arguments.parse_args()
    with ExitStack() as stack:
        url = given.url
        if url is None:
            server = start_mongo(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            stack.callback(server.stop)
            url = server.url
        client: pymongo.MongoClient[dict[str, Any]] = stack.enter_context(pymongo.MongoClient(url))
        stack.callback(client.drop_database, DATABASE)
        print(f"{'way':<18}{'documents/s':>14}{'of the limit':>14}")
        limit = 0.0
        for name, way in WAYS.items():
            rates = []
            for _ in range(given.repeat):
                fill(client[DATABASE], given.documents, given.expired, given.index)
                began = time.perf_counter()
                deleted = way(url, client[DATABASE])
                rates.append(deleted / (time.perf_counter() - began))
            rate = statistics.median(rates)
            limit = limit or rate
            print(f"{name:<18}{rate:>14,.0f}{rate / limit:>13.2f}x")
            line = {"bench": "mongo_sweep", "way": name, "documents": given.documents, "expired": given.expired}
            print(
                json.dumps(line | {"index": given.index, "per_s": round(rate, 1), "of_limit": round(rate / limit, 3)})
            )


if __name__ == "__main__":
    main()
