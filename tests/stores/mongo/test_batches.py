"""Whole drains in small batches, and documents that change under way."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import Binary, ObjectId
from pymongo.database import Database

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.stores.mongo import MongoStore
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def identifier(number: int) -> Any:
    """`_id`s of six types: an index bound walks through all, a comparison in a query would stay in one."""
    kinds = [number, f"s{number}", ObjectId(), {"n": number}, Binary.from_uuid(uuid4()), NOW - number * DAY]
    return kinds[number // 3 % len(kinds)]


def fill(db: Db, count: int) -> set[str]:
    """Every third is alive; the names of those."""
    documents = [
        {"_id": identifier(n), "n": n, "e": NOW + DAY if n % 3 == 0 else NOW - n % 7 * DAY - DAY} for n in range(count)
    ]
    db.c.insert_many(documents)
    return {d["n"] for d in documents if d["e"] > NOW}


@pytest.mark.parametrize("index", [False, True], ids=["id sweep", "index walk"])
@pytest.mark.parametrize("window", [30, 5000])
def test_drains_exactly(
    db: Db, store: MongoStore, clean: Clean, index: bool, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleanup_pipeline.stores.mongo.batches.WINDOW", window)
    live = fill(db, 240)
    if index:
        db.c.create_index("e")
    report = clean(store, make_target(batch_size=20), size=20)
    assert {d["n"] for d in db.c.find()} == live
    assert (report.deleted, report.survivors, report.largest_batch) == (160, 0, 20)


def test_index_walk_goes_oldest_first(db: Db, store: MongoStore) -> None:
    db.c.insert_many([{"_id": n, "e": NOW - n * DAY} for n in range(1, 11)])
    db.c.create_index([("e", -1), ("other", 1)])
    plan = scan(store, make_target(), dry_run=False)
    assert plan.work.strategy == "index_walk"
    store.delete_batch(make_target(), plan.work, plan.work.shards[0], None, 4, plan.cutoff)
    assert sorted(d["_id"] for d in db.c.find()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("index", [False, True], ids=["id sweep", "index walk"])
def test_renewed_between_finding_and_deleting_stays(
    db: Db, store: MongoStore, clean: Clean, index: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.c.insert_many([{"_id": n, "e": NOW - DAY} for n in range(40)])
    if index:
        db.c.create_index("e")
    original = Database.command

    def renew_first(self: Database[Any], command: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(command, dict) and "delete" in command:
            db.c.update_many({"_id": {"$lt": 15}}, {"$set": {"e": NOW + DAY}})
        return original(self, command, *rest, **options)

    monkeypatch.setattr(Database, "command", renew_first)
    report = clean(store, make_target(), size=10)
    assert {d["_id"] for d in db.c.find()} == set(range(15))
    assert (report.deleted, report.survivors) == (25, 0)


def test_a_partial_index_is_not_walked(db: Db, store: MongoStore, clean: Clean) -> None:
    db.c.create_index("e", partialFilterExpression={"kind": "x"})
    db.c.insert_one({"_id": 1, "kind": "y", "e": NOW - DAY})
    report = clean(store, make_target())
    assert (report.strategy, report.deleted) == ("id_sweep", 1)


def test_dry_look_changes_nothing(db: Db, store: MongoStore) -> None:
    fill(db, 60)
    before = list(db.c.find().sort("n"))
    plan = scan(store, make_target(), dry_run=True)
    assert (plan.census.expired, store.survivors(make_target(), plan.cutoff, timedelta(seconds=5))) == (40, 40)
    assert list(db.c.find().sort("n")) == before
