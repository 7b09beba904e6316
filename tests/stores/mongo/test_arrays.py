"""Elements of an array: pulled when they have expired, by the update itself; documents and all other elements stay."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.database import Database

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.words import EpochUnit, Severity
from cleanup_pipeline.stores.mongo import MongoStore
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
TARGET = make_target("tokens.e", pull="tokens")


def tokens(*ages: int) -> list[dict[str, Any]]:
    """Elements that died so many days ago; alive below 0."""
    return [{"n": n, "e": NOW - age * DAY} for n, age in enumerate(ages)]


def test_what_goes_and_what_stays(db: Db, store: MongoStore, clean: Clean) -> None:
    stays = [
        {"n": 10, "e": NOW + DAY},
        {"n": 11, "e": None},
        {"n": 12},
        {"n": 13, "e": "2020-01-01"},
        {"n": 14, "e": 0},
    ]
    stays += [{"n": 15, "e": [NOW - DAY]}, {"n": 16, "e": datetime(1970, 1, 1, tzinfo=UTC)}, 17, None, "x"]  # type: ignore[list-item]
    db.c.insert_many(
        [
            {"_id": 1, "name": "joe", "tokens": [*tokens(1), *stays, *tokens(400, 2)]},
            {"_id": 2, "tokens": []},
            {"_id": 3},
            {"_id": 4, "tokens": {"e": NOW - DAY}},
            {"_id": 5, "tokens": tokens(1, 2, 3)},
        ]
    )
    plan = scan(store, TARGET, dry_run=False)
    assert (plan.census.expired, plan.census.live) == (6, 1)
    assert plan.work.strategy == "array_pull"
    report = clean(store, TARGET)
    assert (report.deleted, report.survivors, report.error) == (6, 0, None)
    left = {d["_id"]: d.get("tokens") for d in db.c.find()}
    assert [t if not isinstance(t, dict) else t["n"] for t in left[1]] == [*range(10, 18), None, "x"]
    assert left[2] == []
    assert left[3] is None
    assert isinstance(left[4], dict)
    assert left[5] == []
    first = db.c.find_one({"_id": 1})
    assert first is not None
    assert first["name"] == "joe"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("window", [4, 5000])
def test_in_batches(
    db: Db, store: MongoStore, clean: Clean, size: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleanup_pipeline.stores.mongo.batches.WINDOW", window)
    db.c.insert_many([{"_id": n if n % 2 else f"s{n}", "tokens": tokens(*([1] * (n % 5)), -1)} for n in range(40)])
    report = clean(store, make_target("tokens.e", pull="tokens", batch_size=size), size=size)
    assert (report.deleted, report.survivors) == (80, 0)
    assert report.largest_batch <= max(size, 4)
    assert all(len(d["tokens"]) == 1 for d in db.c.find())


def test_an_element_that_is_renewed_stays(db: Db, store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    db.c.insert_many([{"_id": n, "tokens": tokens(1, 2)} for n in range(5)])
    plan = scan(store, TARGET, dry_run=False)
    original = Database.command

    def renew_first(self: Database[Any], command: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(command, dict) and "update" in command:
            db.c.update_one({"_id": 3, "tokens.n": 1}, {"$set": {"tokens.$.e": NOW + DAY}})
        return original(self, command, *rest, **options)

    monkeypatch.setattr(Database, "command", renew_first)
    store.delete_batch(TARGET, plan.work, plan.work.shards[0], None, 1000, plan.cutoff)
    assert {d["_id"]: [t["n"] for t in d["tokens"]] for d in db.c.find()} == {0: [], 1: [], 2: [], 3: [1], 4: []}


def test_numbers_and_guards(db: Db, store: MongoStore, clean: Clean) -> None:
    second = int(NOW.timestamp())
    db.c.insert_many(
        [
            {"_id": 1, "app": "web", "auth": {"tokens": [{"exp": second - 9}, {"exp": second + 9999}, {"exp": 0}]}},
            {"_id": 2, "app": "other", "auth": {"tokens": [{"exp": second - 9}]}},
        ]
    )
    report = clean(
        store, make_target("auth.tokens.exp", pull="auth.tokens", unit=EpochUnit.SECONDS, where={"app": "web"})
    )
    assert (report.deleted, report.survivors) == (1, 0)
    assert {d["_id"]: [t["exp"] - second for t in d["auth"]["tokens"]] for d in db.c.find()} == {
        1: [9999, -second],
        2: [-9],
    }


def test_a_ttl_index_on_an_array_is_told(db: Db, store: MongoStore) -> None:
    db.c.insert_one({"tokens": tokens(-1)})
    db.c.create_index("tokens.e", expireAfterSeconds=0)
    findings = scan(store, TARGET, dry_run=False).findings
    assert any(f.severity is Severity.WARNING and "removes the whole document" in f.what for f in findings)


def test_windows(db: Db, store: MongoStore, clean: Clean) -> None:
    from dataclasses import replace

    db.c.insert_one({"_id": 1, "tokens": tokens(1, 5, 9, -1)})
    target = replace(TARGET, since=NOW - 6 * DAY)
    report = clean(store, target)
    assert (report.expired_found, report.deleted, report.survivors) == (2, 2, 0)
    assert [t["n"] for d in db.c.find() for t in d["tokens"]] == [2, 3]


def test_what_the_server_refuses_is_red(db: Db, store: MongoStore, clean: Clean, fail: Callable[..., None]) -> None:
    db.c.insert_one({"_id": 1, "tokens": tokens(1)})
    fail(["update"], errorCode=13)
    report = clean(store, TARGET)
    assert report.error is not None
    assert report.deleted == 0
