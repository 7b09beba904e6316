"""Ways in which deletion could go wrong, each on a real server."""

from datetime import UTC, datetime, timedelta

from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.stores.mongo import MongoStore
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
