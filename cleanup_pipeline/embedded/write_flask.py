"""Sessions of Flask-Session in Redis and in MongoDB, made by real requests to a small Flask application."""

from datetime import timedelta
from typing import Any

import pymongo
import redis
from flask import Flask, session
from flask_session import Session
from pymongo.database import Database

from cleanup_pipeline.embedded.manifest import Record, gone, stay

REDIS_TARGET, MONGO_TARGET = "flask_sessions_redis", "flask_sessions_mongo"
COLLECTION = "flask_sessions"
PREFIX = "session:"
LIFETIME = timedelta(days=31)
NEVER = 60


def write_redis(url: str, *, live: int = 240) -> list[Record]:
    """Sessions with a TTL, and some that lost it. Redis removes the expired ones of this framework by itself."""
    with redis.Redis.from_url(url) as client:
        app = _application(SESSION_TYPE="redis", SESSION_REDIS=client)
        with_ttl = _sign_in(app, live, LIFETIME)
        without = _sign_in(app, NEVER, LIFETIME)
        for key in without:
            client.persist(key)
    return [*stay(REDIS_TARGET, with_ttl, "live"), *stay(REDIS_TARGET, without, "never_expires")]


def write_mongo(url: str, *, expired: int = 110, live: int = 50) -> list[Record]:
    """Live and expired sessions in the database of `url`, and two that say nothing readable."""
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(url) as client:
        database: Database[dict[str, Any]] = client.get_default_database()
        app = _application(
            SESSION_TYPE="mongodb",
            SESSION_MONGODB=client,
            SESSION_MONGODB_DB=database.name,
            SESSION_MONGODB_COLLECT=COLLECTION,
        )
        sessions = database[COLLECTION]
        # The server's own TTL thread would remove the expired ones at some moment before, during or after the pass.
        sessions.drop_index("expiration_1")
        dead = _sign_in(app, expired, timedelta(hours=-2))
        alive = _sign_in(app, live, LIFETIME)
        text, missing = _sign_in(app, 2, timedelta(hours=-2))
        sessions.update_one({"id": text}, {"$set": {"expiration": "2020-01-01T00:00:00Z"}})
        sessions.update_one({"id": missing}, {"$unset": {"expiration": ""}})
        ids = {found["id"]: found["_id"] for found in sessions.find({}, {"id": 1})}
    return [
        *gone(MONGO_TARGET, [ids[key] for key in dead], "expired"),
        *stay(MONGO_TARGET, [ids[key] for key in alive], "live"),
        *stay(MONGO_TARGET, [ids[text]], "unparsable"),
        *stay(MONGO_TARGET, [ids[missing]], "never_expires"),
    ]


def _application(**config: Any) -> Flask:
    app = Flask("sample")
    # The prefix is Flask-Session's default. A fault in the application has to be raised here, not to become a page.
    app.config.update(config, SESSION_KEY_PREFIX=PREFIX, PROPAGATE_EXCEPTIONS=True)
    Session(app)

    @app.post("/sign-in/<int:user>")
    def sign_in(user: int) -> str:
        session["user_id"] = user
        session["roles"] = ["reader", "writer"]
        return PREFIX + str(session.sid)  # type: ignore[attr-defined]

    return app


def _sign_in(app: Flask, users: int, lifetime: timedelta) -> list[str]:
    """One request for each user, without a cookie; the ids under which Flask-Session stored the sessions."""
    # A negative lifetime is how a session gets to be expired without waiting: MongoDB takes it, Redis would refuse it.
    app.config["PERMANENT_SESSION_LIFETIME"] = lifetime
    client = app.test_client(use_cookies=False)
    return [client.post(f"/sign-in/{user}").get_data(as_text=True) for user in range(users)]
