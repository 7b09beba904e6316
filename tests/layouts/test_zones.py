"""Naive times with the server, the session and the host in three zones. Nothing but the writer's zone may matter."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.rules import (
    SESSION_ZONE,
    AgeGuard,
    ColumnExpiry,
    EarliestExpiry,
    Guard,
    LatestExpiry,
    LifetimeByValue,
    LifetimeColumn,
    Related,
    StartExpiry,
    TableExpiry,
)
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    CollectionSource,
    FieldExpiry,
    JsonExpiry,
    KeySource,
    MsgpackExpiry,
    TableSource,
    Target,
)
from cleanup_pipeline.model.words import Mode, Severity, StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import open_postgres
from tests.layouts.case import clean, targets_for
from tests.layouts.key_places import MongoPlace, RedisPlace
from tests.layouts.key_places import clean as clean_keys

Db = psycopg.Connection[Any]
ZONES = ("America/New_York", "Asia/Kolkata", "Pacific/Auckland")
LIVES, DEAD = "interval '20 min'", "interval '-20 min'"
"""Less than what lies between any two of the zones."""


@pytest.fixture(params=range(len(ZONES)), ids=ZONES)
def host(request: pytest.FixtureRequest, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The host in one zone, the sessions of the database in the next, the server itself in the third."""
    zone, database, server = (ZONES[(request.param + n) % len(ZONES)] for n in range(3))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    name = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE \"{name}\" SET TimeZone = '{database}'")  # type: ignore[call-overload]
        _server_zone(db, server)
        try:
            yield zone
        finally:
            _server_zone(db, None)
            monkeypatch.delenv("TZ")
            time.tzset()


def _server_zone(db: Db, zone: str | None) -> None:
    db.execute(f"ALTER SYSTEM SET TimeZone = '{zone}'" if zone else "ALTER SYSTEM RESET TimeZone")  # type: ignore[call-overload]
    db.execute("SELECT pg_reload_conf()")
    query = "SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'"
    deadline = time.monotonic() + 20
    while zone:
        # A new session in another database, which has no zone of its own.
        with psycopg.connect(db.info.dsn, dbname="postgres", autocommit=True) as other:
            row = other.execute(query).fetchone()
        if row == (zone,):
            return
        assert time.monotonic() < deadline, row


def sessions(url: str, how: str) -> None:
    """`how` is the instant as the application writes it, with {} for what it is from now."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE session (sid varchar PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL)")
        for sid, offset in (("lives", LIVES), ("dead", DEAD)):
            text = f"INSERT INTO session VALUES (%s, '{{}}', {how.format(offset)})"
            db.execute(text, (sid,))  # type: ignore[call-overload]


def left(url: str) -> list[str]:
    with psycopg.connect(url) as db:
        return [row[0] for row in db.execute("SELECT sid FROM session")]


def test_the_zone_of_the_sessions(host: str, postgres_url: str) -> None:
    """As connect-pg-simple writes: to_timestamp() into a column without a zone, in whatever zone the session has."""
    assert os.environ["TZ"] == host
    sessions(postgres_url, "to_timestamp(extract(epoch FROM now() + {}))")
    reports = clean(postgres_url, targets_for(layouts()["connect-pg-simple"], {}, {}))
    assert left(postgres_url) == ["lives"]
    assert reports["t"].survivors == 0


def test_the_zone_of_the_application(host: str, postgres_url: str) -> None:
    for writer in ZONES:
        sessions(postgres_url, f"(now() + {{}}) AT TIME ZONE '{writer}'")
        clean(postgres_url, targets_for(layouts()["connect-pg-simple"], {"zone": writer}, {}))
        assert left(postgres_url) == ["lives"], writer
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute("DROP TABLE session")


def test_the_zone_that_was_found_is_told(postgres_url: str) -> None:
    name = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE \"{name}\" SET TimeZone = 'Asia/Kolkata'")  # type: ignore[call-overload]
    sessions(postgres_url, "now() + {}")
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    try:
        (target,) = targets_for(layouts()["connect-pg-simple"], {}, {})
        told = [f.what for f in store.preflight(target) if f.severity is Severity.INFO]
    finally:
        store.close()
    assert any("naive times are read in Asia/Kolkata" in what for what in told)


def test_logins_with_zones_of_their_own_are_refused(postgres_url: str) -> None:
    sessions(postgres_url, "now() + {}")
    targets = targets_for(layouts()["connect-pg-simple"], {}, {})
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE ROLE app_in_tokyo LOGIN")
        db.execute("ALTER ROLE app_in_tokyo SET TimeZone = 'Asia/Tokyo'")
        try:
            with pytest.raises(StoreError, match=r"those of some logins Asia/Tokyo.*write the zone"):
                clean(postgres_url, targets)
            assert len(left(postgres_url)) == 2
        finally:
            db.execute("DROP ROLE app_in_tokyo")


def test_a_zone_of_this_machine_is_not_taken_for_that_of_the_database(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions(postgres_url, "now() + {}")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    with pytest.raises(StoreError, match="PGTZ"):
        clean(postgres_url, targets_for(layouts()["connect-pg-simple"], {}, {}))
    assert len(left(postgres_url)) == 2


NAIVE = {
    "utc": ("now() AT TIME ZONE 'UTC'", "UTC"),
    "session": ("now()::timestamp", SESSION_ZONE),
    "named": ("now() AT TIME ZONE 'Pacific/Chatham'", "Pacific/Chatham"),
}
DAY = timedelta(days=1)


def rules(zone: str) -> dict[str, tuple[TableExpiry, tuple[Guard, ...], str]]:
    """Each kind of rule that reads a naive column, and what the column is beside `now` for a record of this moment."""
    end, start = ColumnExpiry("at", zone=zone), ColumnExpiry("at", zone=zone)
    never = ColumnExpiry("never", zone=zone)
    related = ColumnExpiry("at", zone=zone, of=Related("other", "id", "id"))
    day_ago = "- interval '1 d'"
    return {
        "an end": (end, (), ""),
        "a start and a lifetime": (StartExpiry(start, DAY), (), day_ago),
        "a lifetime in a column": (StartExpiry(start, LifetimeColumn("lives")), (), day_ago),
        "a lifetime by kind": (StartExpiry(start, LifetimeByValue("kind", (("x", DAY),))), (), day_ago),
        "the latest": (LatestExpiry((end, ColumnExpiry("long_ago", zone=zone))), (), ""),
        "the earliest": (EarliestExpiry((end, never)), (), ""),
        "of another row": (related, (), ""),
        "a least age": (ColumnExpiry("long_ago", zone=zone), (AgeGuard(start, DAY),), day_ago),
    }


@pytest.mark.parametrize(
    ("host", "kind"), [(0, "utc"), (1, "session"), (2, "named"), (2, "session")], indirect=["host"]
)
def test_every_rule_that_reads_a_naive_column(host: str, postgres_url: str, kind: str) -> None:
    assert os.environ["TZ"] == host
    now, zone = NAIVE[kind]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        for name, (rule, guards, beside) in rules(zone).items():
            columns = "at timestamp, never timestamp, long_ago timestamp, lives int, kind text"
            db.execute(f"CREATE TABLE t (id text PRIMARY KEY, {columns})")  # type: ignore[call-overload]
            for row, offset in (("lives", LIVES), ("dead", DEAD)):
                values = f"'{row}', {now} {beside} + {offset}, NULL, {now} - interval '9 d', 86400, 'x'"
                db.execute(f"INSERT INTO t VALUES ({values})")  # type: ignore[call-overload]
            db.execute("CREATE TABLE other AS SELECT id, at FROM t")
            target = replace(TARGET, expiry=rule, guards=guards)
            report = clean(postgres_url, [target])["t"]
            found = [row[0] for row in db.execute("SELECT id FROM t")]
            assert (found, report.deleted, report.survivors) == (["lives"], 1, 0), name
            db.execute("DROP TABLE t, other")


TARGET = Target(
    name="t",
    store="main",
    store_type=StoreType.POSTGRES,
    pass_name="sessions",
    kind="session",
    source=TableSource("t"),
    expiry=ColumnExpiry("at"),
    mode=Mode.DELETE,
    pause=timedelta(0),
)
# In Berlin, 02:30 was twice on 2026-10-25 (00:30 and 01:30 UTC, of which the later counts), and never on 2026-03-29.
CHANGES = [
    ("2026-10-25 02:30", "2026-10-25 01:30"),
    ("2026-10-25 03:30", "2026-10-25 02:30"),
    ("2026-10-25 01:30", "2026-10-24 23:30"),
    ("2026-03-29 02:30", "2026-03-29 01:30"),
    ("2026-03-29 03:30", "2026-03-29 01:30"),
    ("2026-03-29 01:30", "2026-03-29 00:30"),
]


@pytest.mark.parametrize(("host", "zone"), [(0, "Europe/Berlin"), (1, SESSION_ZONE)], indirect=["host"])
def test_when_the_clocks_are_changed(host: str, postgres_url: str, zone: str) -> None:
    """By a walk and by a computed rule; a lifetime of a day is 24 hours, whatever the clock on the wall says."""
    name = postgres_url.rsplit("/", 1)[1]
    minute, timeout = timedelta(minutes=1), timedelta(seconds=9)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE \"{name}\" SET TimeZone = 'Europe/Berlin'")  # type: ignore[call-overload]
        db.execute("CREATE TABLE t (id text PRIMARY KEY, at timestamp, lives int)")
        store = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
        try:
            for local, instant in CHANGES:
                db.execute("TRUNCATE t")
                db.execute("INSERT INTO t VALUES ('a', %s, 86400)", (local,))
                dies = datetime.fromisoformat(f"{instant}+00:00")
                column = ColumnExpiry("at", zone=zone)
                for n, (rule, after) in enumerate(
                    (
                        (column, timedelta(0)),
                        (StartExpiry(column, DAY), DAY),
                        (StartExpiry(column, LifetimeColumn("lives")), DAY),
                    )
                ):
                    target = replace(TARGET, name=f"t{n}", expiry=rule)
                    before, later = (
                        store.census(target, dies + after + by, timeout).expired for by in (-minute, minute)
                    )
                    assert (before, later) == (0, 1), (local, n)
        finally:
            store.close()


@pytest.mark.parametrize("host", [2], indirect=True)
def test_text_that_does_not_say_whose_clock_it_was_stays(host: str, redis_url: str, mongo_url: str) -> None:
    """ISO 8601 with a zone is an instant wherever one reads it; without one it is counted and left."""
    now = datetime.now(UTC)

    def written(offset: timedelta, zone: str | None) -> str:
        if zone is None:
            return (now + offset).astimezone(ZoneInfo(ZONES[0])).strftime("%Y-%m-%dT%H:%M:%S")
        return (now + offset).astimezone(ZoneInfo(zone)).isoformat(timespec="seconds")

    past, ahead = timedelta(minutes=-20), timedelta(minutes=20)
    with redis.Redis.from_url(redis_url) as client:
        for zone in ZONES:
            client.set(f"refresh:dead:{zone}", json.dumps({"exp": written(past, zone)}))
            client.set(f"refresh:lives:{zone}", json.dumps({"exp": written(ahead, zone)}))
        client.set("refresh:local", json.dumps({"exp": written(timedelta(days=-9), None)}))
        client.set("packed:local", msgpack_text(written(timedelta(days=-9), None)))
        client.set("packed:dead", msgpack_text(written(past, ZONES[1])))
        source = KeySource("refresh:*", "string")
        target = replace(TARGET, store_type=StoreType.REDIS, source=source, expiry=JsonExpiry(("exp",)))
        packed = replace(target, source=KeySource("packed:*", "string"), expiry=MsgpackExpiry(("exp",)))
        reports = [clean_keys(RedisPlace(redis_url), [one])["t"] for one in (target, packed)]
        assert [(report.deleted, report.unparsable) for report in reports] == [(3, 1), (1, 1)]
        left = {b"packed:local", b"refresh:local", *(f"refresh:lives:{zone}".encode() for zone in ZONES)}
        assert set(client.keys("*")) == left
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as mongo:
        collection = mongo.get_default_database().t
        values = {"dead": now + past, "lives": now + ahead, "local": written(timedelta(days=-9), None)}
        collection.insert_many([{"_id": name, "at": value} for name, value in values.items()])
        in_mongo = replace(TARGET, store_type=StoreType.MONGO, source=CollectionSource("t"), expiry=FieldExpiry("at"))
        report = clean_keys(MongoPlace(mongo_url), [in_mongo])["t"]
        assert (report.deleted, report.unparsable) == (1, 1)
        assert {document["_id"] for document in collection.find()} == {"lives", "local"}


def msgpack_text(text: str) -> bytes:
    """{"exp": text}: a map of one, a text of three bytes, a text of less than 256 (MessagePack's specification)."""
    return b"\x81\xa3exp\xd9" + bytes([len(text)]) + text.encode()
