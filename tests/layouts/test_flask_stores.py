"""Flask-Session in MongoDB and in Redis, beside what the servers do for it: TTL indexes and TTLs."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pymongo
import pytest
import redis
from flask import Flask, session
from flask_session import Session

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import StoreType
from tests.layouts.case import targets_for
from tests.layouts.init_places import look
from tests.layouts.key_places import MongoPlace, RedisPlace, clean

THEIRS, OURS, COLLECTION = "flask_theirs", "flask_ours", "sessions"
HOUR = timedelta(hours=1)
Documents = Mapping[str, Mapping[str, Any]]


def application(**config: Any) -> Flask:
    app = Flask("differential")
    app.config.update(config, PROPAGATE_EXCEPTIONS=True)
    Session(app)

    @app.post("/sign-in")
    def sign_in() -> str:
        session["user"] = 7
        return str(session.sid)  # type: ignore[attr-defined]

    @app.post("/visit")
    def visit() -> str:
        session["seen"] = session.get("seen", 0) + 1
        return str(session.get("user", ""))

    @app.post("/sign-out")
    def sign_out() -> str:
        session.clear()
        return ""

    return app


def signed_in(app: Flask, lifetime: timedelta) -> tuple[str, Any]:
    """A new session that lives so long, and the browser that has it."""
    # A negative lifetime is how a session gets to be expired without waiting: MongoDB takes it.
    app.config["PERMANENT_SESSION_LIFETIME"] = lifetime
    browser = app.test_client()
    return browser.post("/sign-in").get_data(as_text=True), browser


def mongo_app(client: "pymongo.MongoClient[dict[str, Any]]", database: str) -> Flask:
    return application(
        SESSION_TYPE="mongodb",
        SESSION_MONGODB=client,
        SESSION_MONGODB_DB=database,
        SESSION_MONGODB_COLLECT=COLLECTION,
    )


def fill_mongo(app: Flask) -> None:
    """Sessions that are over, open, renewed after their end, and given up."""
    for minutes in (-100_000, -60, -2, 2, 60, 44_640):
        signed_in(app, timedelta(minutes=minutes))
    _, renewed = signed_in(app, -HOUR)
    app.config["PERMANENT_SESSION_LIFETIME"] = HOUR
    assert renewed.post("/visit").get_data(as_text=True) == "7"
    _, left = signed_in(app, HOUR)
    left.post("/sign-out")


def documents(client: "pymongo.MongoClient[dict[str, Any]]", database: str) -> Documents:
    return {document["id"]: document for document in client[database][COLLECTION].find()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_ttl_index_of_flask_session_leaves_what_we_leave(mongo_url: str) -> None:
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongo_url, tz_aware=True) as client:
        client.drop_database(THEIRS)
        client.drop_database(OURS)
        fill_mongo(mongo_app(client, THEIRS))
        client[THEIRS][COLLECTION].insert_many(
            [
                {"id": "session:text", "val": b"", "expiration": "2020-01-01T00:00:00Z"},
                {"id": "session:none", "val": b""},
                {"token": "t", "object": b"", "expiration": 1, "id": 7},
            ]
        )
        written = documents(client, THEIRS)
        client[OURS][COLLECTION].insert_many(list(written.values()))
        # What the server's TTL thread does by the index that Flask-Session made, now and not within a minute.
        client.admin.command("secantusAdmin.pruneTtl")
        theirs = documents(client, THEIRS)
        (report,) = clean(
            MongoPlace(mongo_url), targets_for(layouts()["flask-session-mongo"], {"database": OURS}, {})
        ).values()
        assert documents(client, OURS) == theirs
        assert (len(written), len(theirs), report.deleted, report.survivors) == (10, 7, 3, 0)
        client.drop_database(THEIRS)
        client.drop_database(OURS)


def test_flask_session_opens_the_same_sessions_after_a_pass(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        app = application(SESSION_TYPE="redis", SESSION_REDIS=client)
        opened = [signed_in(app, HOUR)[1] for _ in range(5)]
        kept, browser = signed_in(app, HOUR)
        client.persist(f"session:{kept}")
        ended, gone = signed_in(app, HOUR)
        client.pexpire(f"session:{ended}", 1)
        client.hset("session:user:device", mapping={"expires_at": "1"})
        while client.exists(f"session:{ended}"):
            time.sleep(0.005)
        before = {key: (client.dump(key), client.execute_command("PEXPIRETIME", key)) for key in client.scan_iter()}
        # The hash is of nobody, and only like one of the layout sso-sessions.
        assert look(StoreType.REDIS, redis_url).names == {"flask-session-redis"}
        (report,) = clean(RedisPlace(redis_url), targets_for(layouts()["flask-session-redis"], {}, {})).values()
        assert before == {
            key: (client.dump(key), client.execute_command("PEXPIRETIME", key)) for key in client.scan_iter()
        }
        assert (report.deleted, report.repaired, report.kept_live, report.without_expiry) == (0, 0, 5, 1)
        assert [one.post("/visit").get_data(as_text=True) for one in [*opened, browser, gone]] == ["7"] * 6 + [""]
