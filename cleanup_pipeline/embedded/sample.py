"""The demo's sample data: written by real frameworks, and compared record by record afterwards."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import psycopg
import pymongo
import redis
from psycopg import sql
from pymongo.database import Database

from cleanup_pipeline.embedded.manifest import Fate, Manifest, Record
from cleanup_pipeline.embedded.write_flask import COLLECTION, write_mongo, write_redis
from cleanup_pipeline.embedded.write_sso_mongo import write_sso_mongo
from cleanup_pipeline.embedded.write_sso_postgres import write_sso_postgres
from cleanup_pipeline.embedded.write_sso_redis import write_sso_redis

TABLES: Mapping[str, tuple[str, str]] = {
    "django_sessions": ("django_session", "session_key"),
    "sso_legacy_sessions": ("sessions", "id"),
    "verify_email_tokens": ("tokens", "token"),
    "reset_password_tokens": ("tokens", "token"),
}
"""Target of demo.yaml -> table and primary key."""

COLLECTIONS: Mapping[str, str] = {
    "flask_sessions_mongo": COLLECTION,
    "mongo_legacy_sessions": "sessions",
    "mongo_verify_email_tokens": "verification_tokens",
    "mongo_reset_password_tokens": "verification_tokens",
}
"""Target of demo.yaml -> collection. Every target that is in neither is a pattern of Redis keys."""


_NO_TTL, _NO_KEY = -1, -2
"""What Redis answers to EXPIRETIME."""


class SampleError(Exception):
    """The sample data could not be written."""


def write_samples(postgres_url: str, redis_url: str, mongo_url: str) -> Manifest:
    """Write sessions and tokens to three empty databases. Raises SampleError or an error of a driver."""
    # Django starts as a process of its own, and meanwhile the others write.
    django = subprocess.Popen(
        [sys.executable, "-m", "cleanup_pipeline.embedded.write_django"],
        env=os.environ | {"CLEANUP_POSTGRES_URL": postgres_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with django:
        records = [*write_redis(redis_url), *write_sso_redis(redis_url), *write_sso_postgres(postgres_url)]
        records += [*write_mongo(mongo_url), *write_sso_mongo(mongo_url)]
        answer, complaint = django.communicate()
    if django.returncode:
        reason = complaint.strip().splitlines()[-1:] or [f"exit code {django.returncode}"]
        raise SampleError(f"Django could not write its sessions: {reason[0]}")
    return Manifest((*Manifest.from_json(answer).records, *_with_expiry(records, redis_url)))


def compare(manifest: Manifest, postgres_url: str, redis_url: str, mongo_url: str) -> list[str]:
    """One line for each record that is there and should not be, is not there and should be, or has the wrong TTL.

    Reads by plain drivers, without any code of the stores. Raises an error of a driver.
    """
    targets = {record.target for record in manifest.records}
    present = _tables(postgres_url, targets & set(TABLES)) | _collections(mongo_url, targets & set(COLLECTIONS))
    expiry = _expiries(redis_url, [record.key for record in manifest.records if record.target not in present])
    wrong = []
    for record in manifest.records:
        there = record.key in present[record.target] if record.target in present else expiry[record.key] != _NO_KEY
        if there and record.fate is Fate.GONE:
            wrong.append(_line(record, "is still there, but it should be gone"))
        elif not there and record.fate is Fate.STAY:
            wrong.append(_line(record, "is gone, but it should have stayed"))
        elif there and record.redis_expiry is not None and expiry[record.key] != record.redis_expiry:
            wrong.append(_line(record, _ttl_complaint(expiry[record.key], record.redis_expiry)))
    return wrong


def _with_expiry(records: list[Record], redis_url: str) -> list[Record]:
    """The records, those keys of Redis that have to stay as they are now with the TTL that they have now."""
    untouched = [r.key for r in records if _in_redis(r) and r.fate is Fate.STAY and r.redis_expiry is None]
    expiry = _expiries(redis_url, untouched)
    return [replace(r, redis_expiry=expiry[r.key]) if _in_redis(r) and r.key in expiry else r for r in records]


def _in_redis(record: Record) -> bool:
    return record.target not in TABLES and record.target not in COLLECTIONS


def _ttl_complaint(found: int, expected: int) -> str:
    if found == _NO_TTL:
        return "still has no TTL, but it should have got one"
    if expected == _NO_TTL:
        return "has got a TTL, but it should have none"
    return f"has a TTL until {found}, but it should be until {expected}"


def _line(record: Record, what: str) -> str:
    return f"{record.target}: {record.key} {what} ({record.reason})"


def _tables(url: str, targets: Iterable[str]) -> dict[str, set[str]]:
    with psycopg.connect(url) as connection:
        return {target: _primary_keys(connection, *TABLES[target]) for target in targets}


def _primary_keys(connection: psycopg.Connection, table: str, column: str) -> set[str]:
    query = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(table))
    return {str(row[0]) for row in connection.execute(query)}


def _collections(url: str, targets: Iterable[str]) -> dict[str, set[str]]:
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(url) as client:
        database: Database[dict[str, Any]] = client.get_default_database()
        return {
            target: {str(found["_id"]) for found in database[COLLECTIONS[target]].find({}, {"_id": 1})}
            for target in targets
        }


def _expiries(url: str, keys: list[str]) -> dict[str, int]:
    """Epoch seconds at which each key dies; -1 without TTL, -2 without key."""
    with redis.Redis.from_url(url) as client:
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.expiretime(key)
        return dict(zip(keys, pipe.execute(), strict=True))
