"""Tokens and older sessions as rshelekhov/sso keeps them in MongoDB."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from bson import ObjectId
from pymongo.database import Database

from cleanup_pipeline.embedded.manifest import Record, gone, stay
from cleanup_pipeline.embedded.sso_ids import ksuid

SESSIONS = "mongo_legacy_sessions"
TOKENS = ("mongo_verify_email_tokens", "mongo_reset_password_tokens")
"""By token_type_id."""
OTHER_TYPE = 2
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ZERO = datetime.min.replace(tzinfo=UTC)
"""Go's zero time, which is what the service writes for a time that nobody set."""
EPOCH = datetime.fromtimestamp(0, UTC)
UNREADABLE = ("2020-01-01T00:00:00Z", 1577836800, [datetime(2020, 1, 1, tzinfo=UTC)], True)
ABSENT = object()

Document = dict[str, Any]


def write_sso_mongo(url: str) -> list[Record]:
    """Fill the collections verification_tokens and sessions of the database of `url`."""
    client: pymongo.MongoClient[Document]
    with pymongo.MongoClient(url) as client:
        database: Database[Document] = client.get_default_database()
        now = datetime.now(UTC)
        tokens: list[Document] = []
        records: list[Record] = []
        for kind, target in enumerate(TOKENS):
            records += _tokens(tokens, kind, target, now)
        sessions: list[Document] = []
        records += _sessions(sessions, now)
        database["verification_tokens"].insert_many(tokens)
        database["sessions"].insert_many(sessions)
    return records


def _tokens(documents: list[Document], kind: int, target: str, now: datetime) -> list[Record]:
    def issue(expires: object, kind: int = kind) -> ObjectId:
        document = {"_id": ObjectId(), "token": secrets.token_hex(32), "user_id": ksuid(now - DAY)}
        document |= {"endpoint": "/verify", "recipient": "user@example.com", "token_type_id": kind}
        document |= {"created_at": now - 2 * DAY, "expires_at": expires}
        return _add(documents, document)

    records = gone(target, [issue(now - 25 * HOUR - n * HOUR) for n in range(60)], "expired")
    # A click on a link that has just expired is answered with a fresh one, for which the document is needed.
    records += stay(target, [issue(now - HOUR - n * HOUR) for n in range(15)], "inside_grace")
    records += stay(target, [issue(now + 2 * HOUR + n * HOUR) for n in range(20)], "live")
    records += stay(target, [issue(now - 50 * DAY, OTHER_TYPE) for _ in range(5)], "other_type")
    return records + _traps(target, issue)


def _sessions(documents: list[Document], now: datetime) -> list[Record]:
    def begin(expires: object) -> ObjectId:
        document = {"_id": ObjectId(), "user_id": ksuid(now), "app_id": 1, "device_id": ksuid(now)}
        document |= {"refresh_token": ksuid(now), "last_visited_at": now - 60 * DAY, "expires_at": expires}
        return _add(documents, document)

    records = gone(SESSIONS, [begin(now - HOUR - n * HOUR) for n in range(90)], "expired")
    records += stay(SESSIONS, [begin(now + 2 * HOUR + n * HOUR) for n in range(50)], "live")
    return records + _traps(SESSIONS, begin)


def _traps(target: str, make: Any) -> list[Record]:
    """Documents that do not say when they die."""
    records = stay(target, [make(ZERO), make(EPOCH)], "zero_date")
    records += stay(target, [make(value) for value in UNREADABLE], "unparsable")
    return records + stay(target, [make(None), make(ABSENT)], "never_expires")


def _add(documents: list[Document], document: Document) -> ObjectId:
    if document["expires_at"] is ABSENT:
        del document["expires_at"]
    documents.append(document)
    identity: ObjectId = document["_id"]
    return identity
