"""What cannot be cleaned says so in one line; what passes is tried again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.embedded.servers import start_mongo
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StopReason, StoreType
from cleanup_pipeline.stores.base import SourceMissingError, StoreError, UnavailableError
from cleanup_pipeline.stores.mongo import MongoStore, open_mongo
from tests.stores.mongo.conftest import Clean, Db, make_target

DEAD = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(autouse=True)
def documents(db: Db) -> None:
    db.sessions.insert_many([{"_id": n, "e": DEAD, "text": "2020", "n": 1_600_000_000} for n in range(5)])


def test_missing_collection_names_the_nearest(store: MongoStore) -> None:
    with pytest.raises(SourceMissingError, match=r"targets\.t\.collection: .*sesions does .*did you mean sessions\?"):
        scan(store, make_target(collection="sesions"), dry_run=False)


def test_another_frameworks_collection(store: MongoStore) -> None:
    with pytest.raises(SourceMissingError, match=r"not that of layout x: its documents have no refresh_token; name"):
        scan(store, make_target(collection="sessions", required=("refresh_token",), layout="x"), dry_run=False)


@pytest.mark.parametrize(
    ("field", "says", "remedy"),
    [
        ("text", "text is string, not a date, in 5 of 5 documents", "name a field that holds the expiry as a date"),
        ("n", "n is int, not a date, in 5 of 5 documents", "set `unit: s` (ms, ns) in targets.t.expires"),
    ],
)
def test_a_field_that_is_no_date_is_told_and_left(
    db: Db, store: MongoStore, clean: Clean, field: str, says: str, remedy: str
) -> None:
    report = clean(store, make_target(field, "sessions"))
    assert any(says in finding.what and remedy in finding.remedy for finding in report.findings)
    assert (report.deleted, report.unparsable, db.sessions.count_documents({})) == (0, 5, 5)


def test_no_index_comes_with_the_command_that_makes_one(db: Db, store: MongoStore) -> None:
    remedies = [f.remedy for f in store.preflight(make_target(collection="sessions"))]
    assert remedies == ['db.sessions.createIndex({"e": 1})']


def test_a_ttl_index_is_noticed(db: Db, store: MongoStore) -> None:
    db.ttl.insert_one({"e": datetime.now(UTC) + timedelta(days=1)})
    db.ttl.create_index("e", expireAfterSeconds=60)
    (finding,) = store.preflight(make_target(collection="ttl"))
    assert finding.what.startswith("TTL index e_1 removes dates 60 s after")


def test_server_down_names_the_setting_and_no_password() -> None:
    config = StoreConfig(
        "docs", StoreType.MONGO, "mongodb://joe:s3cret-Pw@127.0.0.1:9/db", connect_timeout=timedelta(milliseconds=300)
    )
    with pytest.raises(UnavailableError) as fault:
        open_mongo(config).clock()
    assert str(fault.value).startswith("stores.docs.url: cannot reach 127.0.0.1:9/db (connection refused)")
    assert "s3cret" not in str(fault.value) + repr(config)


def test_wrong_password_is_no_riddle(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = start_mongo(tmp_path_factory.mktemp("auth"), options=["--auth"])
    try:
        url = server.url.replace("mongodb://", "mongodb://joe:s3cret-Pw@")
        refused = r"stores\.docs\.url: .* refuses the login .*correct user, password"
        with pytest.raises(StoreError, match=refused) as fault:
            scan(open_mongo(StoreConfig("docs", StoreType.MONGO, url)), make_target(), dry_run=False)
        assert "s3cret" not in str(fault.value)
    finally:
        server.stop()


def test_no_database_anywhere(store: MongoStore) -> None:
    url = store.config.url.split("?")[0].rsplit("/", 1)[0] + "/?directConnection=true"
    with pytest.raises(StoreError, match=r"targets\.t\.database: neither the URL nor the target names a database"):
        open_mongo(replace(store.config, url=url)).preflight(make_target(collection="sessions"))


@pytest.mark.parametrize(
    "fault",
    [{"errorCode": 10107}, {"errorCode": 11600}, {"errorCode": 112}, {"closeConnection": True}],
    ids=["not primary", "shutting down", "write conflict", "connection cut"],
)
@pytest.mark.parametrize("command", ["find", "delete"])
def test_what_passes_is_tried_again(
    db: Db, store: MongoStore, clean: Clean, fail: Callable[..., None], command: str, fault: dict[str, object]
) -> None:
    plan = scan(store, make_target(collection="sessions"), dry_run=False)
    fail([command], times=2, **fault)
    report = clean(store, make_target(collection="sessions"))
    assert (report.deleted, report.error, report.survivors) == (5, None, 0)
    assert plan.census.expired == 5


def test_too_slow_means_smaller_batches(db: Db, store: MongoStore, clean: Clean, fail: Callable[..., None]) -> None:
    fail(["delete"], times=1, errorCode=50)
    report = clean(store, make_target(collection="sessions"), size=4)
    assert (report.deleted, report.largest_batch, report.error) == (5, 2, None)


def test_no_right_to_remove(db: Db, store: MongoStore, clean: Clean, fail: Callable[..., None]) -> None:
    fail(["delete"], times=1, errorCode=13)
    report = clean(store, make_target(collection="sessions"))
    assert (report.deleted, report.survivors, report.stop_reason) == (0, 5, StopReason.ERROR)
    assert report.error is not None and "grant find and remove on sessions" in report.error
