"""Deletions that keep to ranges of a shard key. SecantusDB has no shards: that each command names one range is seen in
the commands, not in what a router makes of them; the cluster's list of chunks is one that the test wrote."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from bson.max_key import MaxKey
from bson.min_key import MinKey
from pymongo import monitoring

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Chunks
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo import MongoStore, chunks, open_mongo
from cleanup_pipeline.stores.mongo.chunks import Range
from tests.stores.mongo.conftest import Clean, Db, make_target

DEAD = datetime.now(UTC) - timedelta(days=1)
LIVE = datetime.now(UTC) + timedelta(days=1)
KEYS: list[Any] = [*"abckmnxyz", 5, None, datetime(2026, 1, 1, tzinfo=UTC)]


def fill(db: Db) -> None:
    db.c.create_index("e")
    for key in KEYS:
        db.c.insert_many([{"user": key, "e": DEAD} for _ in range(4)])
        db.c.insert_one({"user": key, "e": LIVE})
    db.c.insert_one({"e": DEAD})


class Commands(monitoring.CommandListener):
    def __init__(self) -> None:
        self.deletes: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "delete" and event.command["delete"] == "c":
            self.deletes += [dict(each["q"]) for each in event.command["deletes"]]

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Of no interest."""


def test_every_document_goes_whatever_its_key_and_each_deletion_names_one_range(
    db: Db, store: MongoStore, clean: Clean, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(db)
    target = make_target(chunks=Chunks("user", ("k", "x")), max_shards=4)
    seen = Commands()
    client = pymongo.MongoClient[dict[str, Any]](mongo_url, tz_aware=True, event_listeners=[seen])
    monkeypatch.setattr(store, "_client", client)
    report = clean(store, target, size=5)
    assert report.deleted == 4 * len(KEYS) + 1 and report.survivors == 0 and report.error is None
    assert db.c.count_documents({}) == len(KEYS) == db.c.count_documents({"e": {"$gt": DEAD}})
    ranges = [query["user"] for query in seen.deletes if "user" in query]
    assert {tuple(sorted(one.items())) for one in ranges} == {
        (("$lt", "k"),),
        (("$gte", "k"), ("$lt", "x")),
        (("$gte", "x"),),
    }
    # What has no key, or one of another type, is in no range, and comes last.
    rest = [index for index, query in enumerate(seen.deletes) if "user" not in query]
    assert rest and rest == list(range(len(ranges), len(seen.deletes)))


def test_several_ranges_in_one_shard_are_gone_through_one_by_one(db: Db, store: MongoStore, clean: Clean) -> None:
    fill(db)
    target = make_target(chunks=Chunks("user", tuple("bcdefghkmnpqrx")), max_shards=2)
    plan = scan(store, target, dry_run=False)
    assert len(plan.work.shards) == 2
    assert clean(store, target, size=3).deleted == 4 * len(KEYS) + 1
    assert db.c.count_documents({}) == len(KEYS)


def plant(db: Db, name: str, key: dict[str, Any], rows: list[tuple[Any, Any, str]]) -> None:
    """A list of chunks as a cluster keeps it."""
    config = db.client["config"]
    config["collections"].replace_one({"_id": name}, {"_id": name, "key": key, "uuid": name}, upsert=True)
    config["chunks"].delete_many({"uuid": name})
    config["chunks"].insert_many([{"uuid": name, "min": low, "max": high, "shard": at} for low, high, at in rows])


def test_the_cluster_s_own_chunks(db: Db, store: MongoStore, clean: Clean) -> None:
    fill(db)
    name = f"{db.name}.c"
    edges = [MinKey(), "c", "k", "x", MaxKey()]
    at = ["s0", "s0", "s1", "s0"]
    rows = [({"user": low}, {"user": high}, on) for low, high, on in zip(edges, edges[1:], at, strict=False)]
    plant(db, name, {"user": 1}, rows)
    target = make_target(chunks=Chunks("user"), max_shards=8)
    # The two that lie side by side on one shard are one range.
    found = chunks.ranges_of(db.client, db.c, target)
    assert [(one.high, one.shard) for one in found] == [("k", "s0"), ("x", "s1"), (MaxKey(), "s0")]
    assert "3 ranges of user" in scan(store, target, dry_run=True).work.why
    assert clean(store, target).deleted == 4 * len(KEYS) + 1


def test_chunks_that_part_within_a_value_of_the_first_field(db: Db) -> None:
    name = f"{db.name}.c"
    low, high = {"user": MinKey(), "n": MinKey()}, {"user": MaxKey(), "n": MaxKey()}
    a, b = {"user": "m", "n": 1}, {"user": "m", "n": 9}
    plant(db, name, {"user": 1, "n": 1}, [(low, a, "s0"), (a, b, "s1"), (b, high, "s2")])
    found = chunks.ranges_of(db.client, db.c, make_target(chunks=Chunks("user")))
    assert found == [Range(MinKey(), "m", "s0"), Range("m", MaxKey(), "s2")]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ({"user": "hashed"}, "by a hash of user"),
        ({"tenant": 1}, "sharded by tenant, not by user"),
        (None, "not sharded"),
    ],
)
def test_a_list_that_does_not_help_is_a_fault(
    db: Db, store: MongoStore, key: dict[str, Any] | None, problem: str
) -> None:
    fill(db)
    name = f"{db.name}.c"
    if key is not None:
        plant(db, name, key, [({"user": MinKey()}, {"user": MaxKey()}, "s0")])
    with pytest.raises(StoreError, match=problem):
        scan(store, make_target(chunks=Chunks("user")), dry_run=False)


def test_without_an_index_on_the_expiry_the_collection_is_read_once(db: Db, mongo_url: str, clean: Clean) -> None:
    fill(db)
    db.c.drop_indexes()
    opened = open_mongo(StoreConfig("docs", StoreType.MONGO, mongo_url))
    target = make_target(chunks=Chunks("user", ("k",)))
    assert scan(opened, target, dry_run=True).work.strategy == "id_sweep"
    assert clean(opened, target).deleted == 4 * len(KEYS) + 1
    opened.close()
