"""URLs, logins and servers that cannot be used; secrets and identifiers stay out of what is said about it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pymongo
import pytest
from bson import BSON
from bson.datetime_ms import DatetimeMS
from pymongo.errors import OperationFailure

from cleanup_pipeline.embedded.servers import start_mongo
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StopReason, StoreType
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError, TransientError, UnavailableError
from cleanup_pipeline.stores.mongo import MongoStore, open_mongo
from cleanup_pipeline.stores.mongo.connect import open_client
from cleanup_pipeline.stores.mongo.faults import translated
from tests.stores.mongo.conftest import Clean, Db, make_target

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
CONFIG = StoreConfig("docs", StoreType.MONGO, "mongodb://127.0.0.1/app", connect_timeout=timedelta(milliseconds=300))


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://joe:s3/cret@127.0.0.1/app",
        "mongodb://joe:s3@cret@127.0.0.1/app",
        "mongodb://joe:s3%cret@127.0.0.1/app",
        "mongodb://127.0.0.1:port/app",
        "postgresql://127.0.0.1/app",
        "mongodb://",
    ],
)
def test_a_url_that_is_none_is_not_quoted(url: str) -> None:
    with pytest.raises(StoreError) as fault:
        open_mongo(replace(CONFIG, url=url)).clock()
    said = str(fault.value)
    assert said.startswith("stores.docs.url: the value is not a MongoDB URL")
    assert "percent-encoded" in said
    assert "s3" not in said
    assert "cret" not in said
    assert fault.value.__cause__ is None
    assert fault.value.__suppress_context__


def test_a_server_that_would_not_say_what_it_deleted() -> None:
    with pytest.raises(StoreError, match=r"stores\.docs\.url: w=0 in the URL .*; leave w out"):
        open_mongo(replace(CONFIG, url="mongodb://127.0.0.1/app?w=0")).clock()


def test_dates_that_python_cannot_hold_are_read(db: Db, store: MongoStore) -> None:
    """Int64's largest value as a date means "never" to some; SecantusDB cannot store it, so only decoding is tried."""
    with open_client(store.config) as client:
        raw = BSON.encode({"e": DatetimeMS(2**63 - 1)})
        assert raw.decode(client.codec_options) == {"e": DatetimeMS(2**63 - 1)}
        assert BSON.encode({"e": NOW}).decode(client.codec_options)["e"].utcoffset() == timedelta(0)


def test_what_the_server_quotes_is_not_repeated() -> None:
    """mongod's refusal quotes the command, and in it the `_id`s: with connect-mongo those are session ids."""
    quoted = 'not authorized on app to execute command { delete: "c", deletes: [ { q: { _id: "s3cret-session" } } ] }'
    for code in (13, 999):
        with pytest.raises(StoreError) as fault, translated(CONFIG, make_target()):
            raise OperationFailure(quoted, code, {"errmsg": quoted, "code": code})
        assert "s3cret-session" not in str(fault.value)
        assert fault.value.__suppress_context__


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"errorCode": 10107}, TransientError),
        ({"errorCode": 112}, TransientError),
        ({"errorCode": 91}, TransientError),
        ({"closeConnection": True}, UnavailableError),
        ({"errorCode": 50}, BatchTimeoutError),
    ],
    ids=["not primary", "write conflict", "shutting down", "connection cut", "too slow"],
)
@pytest.mark.parametrize("index", [False, True], ids=["id sweep", "index walk"])
def test_the_same_cursor_goes_on_after_a_fault(
    db: Db, store: MongoStore, fail: Callable[..., None], data: dict[str, object], expected: type, index: bool
) -> None:
    db.c.insert_many([{"_id": n, "e": NOW - n * DAY if n % 2 else NOW + DAY} for n in range(40)])
    if index:
        db.c.create_index("e")
    target = make_target()
    plan = scan(store, target, dry_run=False)
    shard = plan.work.shards[0]
    first = store.delete_batch(target, plan.work, shard, None, 8, plan.cutoff)
    fail(["delete"], times=1, **data)
    with pytest.raises(expected) as fault:
        store.delete_batch(target, plan.work, shard, first.cursor, 8, plan.cutoff)
    assert type(fault.value) is expected
    cursor, deleted = first.cursor, first.deleted
    while cursor is not None:
        outcome = store.delete_batch(target, plan.work, shard, cursor, 8, plan.cutoff)
        cursor, deleted = outcome.cursor, deleted + outcome.deleted
    assert {d["_id"] for d in db.c.find()} == set(range(0, 40, 2))
    assert deleted == 20


@pytest.mark.parametrize("another_process", [False, True])
def test_an_index_dropped_under_way(db: Db, store: MongoStore, another_process: bool) -> None:
    """The delete step of a run may be another process than its scan, and so know nothing of the index."""
    db.c.insert_many([{"_id": n, "e": NOW - DAY if n % 2 else NOW + DAY} for n in range(20)])
    db.c.create_index("e")
    target = make_target()
    plan = scan(store, target, dry_run=False)
    shard = plan.work.shards[0]
    first = store.delete_batch(target, plan.work, shard, None, 4, plan.cutoff)
    db.c.drop_index("e_1")
    deleting = open_mongo(store.config) if another_process else store
    if not another_process:
        with pytest.raises(TransientError, match="the index was dropped under way; tried again without it"):
            store.delete_batch(target, plan.work, shard, first.cursor, 4, plan.cutoff)
    cursor = first.cursor
    while cursor is not None:
        cursor = deleting.delete_batch(target, plan.work, shard, cursor, 4, plan.cutoff).cursor
    deleting.close()
    assert (plan.work.strategy, {d["_id"] for d in db.c.find()}) == ("index_walk", set(range(0, 20, 2)))


def test_logins_and_a_server_that_goes_away(tmp_path: Path, clean: Clean) -> None:
    """A reader may plan and is told what is missing when it deletes; a server gone in the middle can be tried again."""
    server = start_mongo(tmp_path)
    with pymongo.MongoClient(server.url) as client:
        for user, role in (("reader", "read"), ("cleaner", "readWrite")):
            client.admin.command("createUser", user, pwd="s3cret-Pw", roles=[{"role": role, "db": "cleanup_demo"}])
        client.cleanup_demo.c.insert_many([{"_id": n, "e": NOW - DAY} for n in range(4)])
    server.stop()
    server = start_mongo(tmp_path, options=["--auth"])

    def as_user(name: str) -> MongoStore:
        url = server.url.replace("mongodb://", f"mongodb://{name}:s3cret-Pw@") + "&authSource=admin"
        return open_mongo(replace(CONFIG, url=url))

    try:
        target = make_target(database="cleanup_demo")
        reader = as_user("reader")
        report = clean(reader, target)
        reader.close()
        assert (report.expired_found, report.deleted, report.stop_reason) == (4, 0, StopReason.ERROR)
        assert report.error == (
            "targets.t: the login may not do this; "
            "grant find and remove on cleanup_demo.c, for example with role readWrite"
        )
        cleaner = as_user("cleaner")
        plan = scan(cleaner, target, dry_run=False)
        batch = cleaner.delete_batch(target, plan.work, plan.work.shards[0], None, 2, plan.cutoff)
        assert batch.deleted == 2
        server.stop()
        with pytest.raises(UnavailableError, match=r"stores\.docs\.url: cannot reach 127\.0\.0\.1:\d+/cleanup_demo"):
            cleaner.delete_batch(target, plan.work, plan.work.shards[0], batch.cursor, 2, plan.cutoff)
        cleaner.close()
        cleaner.close()
    finally:
        server.stop()
