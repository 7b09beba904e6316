"""What a review of the deletion code found: each of these fails until it is mended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.stores.mongo import MongoStore, pulls
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def test_an_element_whose_expiry_lies_in_an_array_stays(db: Db, store: MongoStore, clean: Clean) -> None:
    """Of several instants nobody knows which is meant: the census calls it unparsable."""
    target = make_target("tokens.meta.e", pull="tokens")
    db.c.insert_one(
        {
            "_id": 1,
            "tokens": [
                {"n": 0, "meta": {"e": NOW - DAY}},
                {"n": 1, "meta": [{"e": NOW - DAY}, {"e": NOW + DAY}]},
                {"n": 2, "meta": [{"e": NOW - DAY}]},
                {"n": 3, "meta": {"e": NOW + DAY}},
            ],
        }
    )
    db.c.insert_one({"_id": 2, "tokens": [{"n": 4, "meta": [{"e": NOW - DAY}, {"e": NOW + DAY}]}]})
    plan = scan(store, target, dry_run=False)
    assert (plan.census.expired, plan.census.live, plan.census.unparsable) == (1, 1, 3)
    report = clean(store, target)
    left = {d["_id"]: [t["n"] for t in d["tokens"]] for d in db.c.find()}
    assert left == {1: [1, 2, 3], 2: [4]}
    assert report.deleted == 1


def test_an_element_that_was_renewed_meanwhile_is_not_counted(
    db: Db, store: MongoStore, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.c.insert_many([{"_id": n, "tokens": [{"n": 0, "e": NOW - DAY}]} for n in range(3)])
    pull = pulls._pull

    def after_a_refresh(*args: Any, **kwargs: Any) -> Any:
        db.c.update_one({"_id": 1}, {"$set": {"tokens.0.e": NOW + DAY}})
        return pull(*args, **kwargs)

    monkeypatch.setattr(pulls, "_pull", after_a_refresh)
    report = clean(store, make_target("tokens.e", pull="tokens"))
    assert [len(d["tokens"]) for d in db.c.find().sort("_id", 1)] == [0, 1, 0]
    assert report.deleted == 2


def test_no_more_than_a_thousand_elements_in_one_command(db: Db, store: MongoStore, clean: Clean) -> None:
    db.c.insert_one({"_id": 1, "tokens": [{"n": n, "e": NOW - DAY} for n in range(2500)]})
    report = clean(store, make_target("tokens.e", pull="tokens"))
    assert (report.deleted, report.survivors) == (2500, 0)
    assert report.largest_batch <= 1000
