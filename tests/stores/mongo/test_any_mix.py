"""Whatever a collection holds and whatever happens to it meanwhile: no live document goes, no expired one stays."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StopReason, StoreType
from cleanup_pipeline.stores.mongo import MongoStore, open_mongo
from tests.engine.conftest import FREE
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Fate(Enum):
    """What a document is when the pass begins, or what becomes of it after the first batch."""

    LIVE = NOW + DAY
    EXPIRED = NOW - DAY
    LONG_EXPIRED = NOW - 400 * DAY
    NEVER = None
    EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
    TEXT = "2020-01-01T00:00:00Z"
    LIST = "an array with a date"
    MISSING = "no field at all"
    REFRESHED = NOW - 2 * DAY


STAYS = {Fate.LIVE, Fate.NEVER, Fate.EPOCH, Fate.TEXT, Fate.LIST, Fate.MISSING}


def document(number: int, fate: Fate) -> dict[str, Any]:
    if fate is Fate.MISSING:
        return {"_id": number}
    return {"_id": number, "e": [NOW - DAY] if fate is Fate.LIST else fate.value}


@given(
    fates=st.lists(st.sampled_from(list(Fate)), max_size=30),
    size=st.integers(1, 12),
    index=st.booleans(),
    refresh_after=st.integers(0, 3),
    faults=st.integers(0, 3),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_live_document_goes_and_no_expired_one_stays(
    db: Db,
    store: MongoStore,
    fail: Callable[..., None],
    fates: list[Fate],
    size: int,
    index: bool,
    refresh_after: int,
    faults: int,
) -> None:
    db.c.drop()
    db.create_collection("c")
    if index:
        db.c.create_index("e")
    if fates:
        db.c.insert_many([document(n, fate) for n, fate in enumerate(fates)])
    waiting = [n for n, fate in enumerate(fates) if fate is Fate.REFRESHED]
    refreshed: set[int] = set()

    def refresh(tally: Tally) -> None:
        """As a login does: renew what is still there; what is gone has to log in again."""
        if tally.batches >= refresh_after and waiting:
            for number in waiting:
                if db.c.update_one({"_id": number}, {"$set": {"e": NOW + DAY}}).modified_count:
                    refreshed.add(number)
            waiting.clear()

    if refresh_after == 0:
        refresh(Tally())
    target = make_target()
    plan = scan(store, target, dry_run=False)
    if faults:
        # Not the primary any more, as in a failover: the batch is tried again.
        fail(["delete"], times=faults, errorCode=10107)
    limits = Limits(batch_size=size, pause=timedelta(0), first_backoff=timedelta(milliseconds=1), pace=FREE)
    outcomes: list[ShardOutcome] = []
    for shard in plan.work.shards:
        clean_shard(store, target, plan.work, shard, plan.cutoff, limits, Watch(outcomes.append, refresh))
    fail(["delete"], times=0)
    assert {outcome.stop_reason for outcome in outcomes} == {StopReason.EXHAUSTED}
    stays = {n for n, fate in enumerate(fates) if fate in STAYS} | refreshed
    assert {d["_id"] for d in db.c.find({}, {"_id": 1})} == stays
    tally = sum((outcome.tally for outcome in outcomes), Tally())
    assert tally.deleted == len(fates) - len(stays)
    assert tally.largest_batch <= size


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "id sweep"])
def test_a_document_that_cannot_go_is_stepped_over(
    db: Db, store: MongoStore, clean: Clean, fail: Callable[..., None], index: bool
) -> None:
    db.c.insert_many([{"_id": n, "e": NOW - DAY} for n in range(12)])
    if index:
        db.c.create_index("e")
    # Too slow with four, two and one: the one is left behind.
    fail(["delete"], times=3, errorCode=50)
    report = clean(store, make_target(batch_size=4), size=4)
    assert (report.deleted, report.parked, report.survivors) == (11, 1, 1)
    assert report.error is not None
    assert db.c.count_documents({}) == 1


@pytest.mark.parametrize("index", [True, False], ids=["index walk", "id sweep"])
def test_windows_take_together_what_one_pass_would(db: Db, store: MongoStore, index: bool) -> None:
    db.c.insert_many([{"_id": n, "e": NOW - n * timedelta(minutes=25)} for n in range(1, 61)])
    db.c.insert_one({"_id": 99, "e": None})
    if index:
        db.c.create_index("e")
    hour = timedelta(hours=1)
    total = 0
    for window in range(24):
        start = NOW - 24 * hour + window * hour
        target = replace(make_target(), since=start)
        cutoff = start + hour
        mine = [n for n in range(1, 61) if start <= NOW - n * timedelta(minutes=25) < cutoff]
        store.preflight(target)
        census = store.census(target, cutoff, timedelta(seconds=5))
        assert (census.expired, census.without_expiry, census.unparsable) == (len(mine), 1, 0)
        assert store.survivors(target, cutoff, timedelta(seconds=5)) == len(mine)
        work = store.plan(target, cutoff, census)
        cursor = None
        while True:
            batch = store.delete_batch(target, work, work.shards[0], cursor, 2, cutoff)
            total += batch.deleted
            if (cursor := batch.cursor) is None:
                break
        assert store.survivors(target, cutoff, timedelta(seconds=5)) == 0
    assert {d["_id"] for d in db.c.find({}, {"_id": 1})} == {n for n in range(1, 61) if n * 25 > 24 * 60} | {99}
    assert total == 57


@pytest.mark.parametrize(("setting", "sent"), [("majority", "majority"), ("1", 1)])
def test_the_write_concern_of_the_settings_is_sent(mongo_url: str, db: Db, setting: str, sent: object) -> None:
    config = StoreConfig(
        "docs", StoreType.MONGO, mongo_url, write_concern=setting, read_preference="secondaryPreferred"
    )
    opened = open_mongo(config)
    try:
        db.c.insert_many([{"_id": n, "e": NOW - DAY} for n in range(3)])
        plan = scan(opened, make_target(), dry_run=False)
        assert plan.census.expired == 3
        assert opened._open().write_concern.document["w"] == sent
        assert opened._counted(make_target()).read_preference.name == "SecondaryPreferred"
        assert opened._collection(make_target()).read_preference.name == "Primary"
        gone = opened.delete_batch(make_target(), plan.work, plan.work.shards[0], None, 10, plan.cutoff)
        assert gone.deleted == 3
    finally:
        opened.close()
