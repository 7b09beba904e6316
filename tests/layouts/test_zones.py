"""Naive times with the server, the session and the host in three zones. Nothing but the writer's zone may matter."""

import os
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import StoreError
from tests.layouts.case import clean, targets_for

Db = psycopg.Connection[Any]
ZONES = ("America/New_York", "Asia/Kolkata", "Pacific/Auckland")
LIVES, DEAD = "interval '20 min'", "interval '-20 min'"
"""Less than what lies between any two of the zones."""


@pytest.fixture(params=range(len(ZONES)), ids=ZONES)
def host(request: pytest.FixtureRequest, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The host in one zone, the sessions of the database in the next; the server itself is in UTC."""
    zone, database = ZONES[request.param], ZONES[(request.param + 1) % len(ZONES)]
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    name = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE \"{name}\" SET TimeZone = '{database}'")  # type: ignore[call-overload]
    yield zone
    monkeypatch.delenv("TZ")
    time.tzset()


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
    from cleanup_pipeline.model.store_config import StoreConfig
    from cleanup_pipeline.model.words import StoreType
    from cleanup_pipeline.stores.postgres import open_postgres

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
