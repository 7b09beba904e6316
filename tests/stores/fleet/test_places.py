"""One target in several databases of a server, and one store that is several servers."""

import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymongo
import pymongo.monitoring
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StopReason, StoreType
from cleanup_pipeline.stores.base import Leases, StoreError
from cleanup_pipeline.stores.fleet import fleet as fleet_module
from cleanup_pipeline.stores.fleet.places import with_database
from cleanup_pipeline.stores.mongo.store import MongoStore
from cleanup_pipeline.stores.open import open_store, store_for
from tests.stores.fleet.conftest import Pass, settings_of

CLOSED = "127.0.0.1:1"
Db = psycopg.Connection[Any]


@pytest.fixture
def shops(db: Db, postgres_url: str) -> Iterator[list[str]]:
    """URLs of three databases beside the one of the test, with 15 expired and 2 live sessions each."""
    base = f"shop_{uuid.uuid4().hex[:8]}"
    names = [f"{base}_{letter}" for letter in "abc"]
    for name in names:
        db.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(postgres_url.rsplit("/", 1)[0] + f"/{name}", autocommit=True) as own:
            own.execute("CREATE TABLE sessions (id int PRIMARY KEY, expires_at timestamptz)")
            own.execute(
                "INSERT INTO sessions SELECT n, now() + CASE WHEN n <= 15 THEN -1 ELSE 1 END * interval '1 day'"
                " FROM generate_series(1, 17) n"
            )
    yield [postgres_url.rsplit("/", 1)[0] + f"/{name}" for name in names]
    for name in names:
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")


def count(url: str) -> int:
    with psycopg.connect(url) as own:
        row = own.execute("SELECT count(*) FROM sessions").fetchone()
        assert row is not None
        return int(row[0])


def test_databases_of_one_server(shops: list[str], postgres_url: str, run: Pass) -> None:
    base = shops[0].rsplit("/", 1)[1][:-1]
    text = f"""
cleanup: {{batch_size: 10, pause: 0s}}
stores:
  main: {{type: postgres, url: "${{URL}}"}}
targets:
  sessions: {{store: main, table: sessions, databases: "{base}*", mode: delete, expires: {{column: expires_at}}}}
"""
    report, outcomes = run(text, environ={"URL": postgres_url})
    assert report.error is None and report.deleted == 45 and len(outcomes) == 3
    assert [count(url) for url in shops] == [2, 2, 2]
    assert report.members is not None and set(report.members.top.values()) == {15}


SERVERS = """
cleanup: {batch_size: 10, pause: 0s}
stores:
  main: {type: postgres, urls: ["${A}", "${B}", "${C}"], connect_timeout: 2s}
targets:
  sessions: {store: main, table: sessions, mode: delete, expires: {column: expires_at}}
"""


def test_a_database_whose_schemas_cannot_be_listed_is_red_by_itself(
    shops: list[str], db: Db, postgres_url: str, run: Pass
) -> None:
    base = shops[0].rsplit("/", 1)[1][:-1]
    text = f"""
cleanup: {{batch_size: 10, pause: 0s}}
stores:
  main: {{type: postgres, url: "${{URL}}", connect_timeout: 500ms}}
targets:
  sessions: {{store: main, table: sessions, databases: "{base}*", schemas: "pub*", mode: delete,
             expires: {{column: expires_at}}}}
"""
    role = f"cleaner_{uuid.uuid4().hex[:8]}"
    db.execute(f"CREATE ROLE {role} LOGIN")
    for url in shops:
        with psycopg.connect(url, autocommit=True) as shop:
            shop.execute(f"GRANT SELECT, DELETE ON sessions TO {role}")
    db.execute(f"REVOKE CONNECT ON DATABASE {base}b FROM PUBLIC")
    parts = urlsplit(postgres_url)
    url = parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()
    report, _ = run(text, environ={"URL": url})
    assert [count(url) for url in shops] == [2, 17, 2] and report.deleted == 30 and report.survivors is None
    assert report.error is not None and f"{base}b" in report.error
    assert report.members is not None and report.members.failed == (f"{base}b",)
    db.execute(f"GRANT CONNECT ON DATABASE {base}b TO PUBLIC")
    report, _ = run(text, environ={"URL": url})
    assert report.error is None and count(shops[1]) == 2


def test_a_server_that_does_not_answer_is_no_wrong_clock(
    shops: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is connected to and says nothing, for as long as anybody waits.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/shop"
        text = SERVERS.replace("timeout: 2s", "timeout: 500ms")
        settings = settings_of(text, tmp_path, {"A": shops[0], "B": away, "C": shops[2]})
        monkeypatch.setattr(fleet_module, "LARGEST_SKEW", timedelta(milliseconds=300))
        store = open_store(settings.stores["main"])
        assert abs(store_for(store, settings.targets[0]).clock() - datetime.now(UTC)) < timedelta(minutes=1)
        store.close()


@pytest.mark.parametrize(
    ("url", "others"),
    [
        ("postgresql:///app?host=/var/run/postgresql", {"host": "/var/run/postgresql"}),
        ("postgresql://u:p%40@h:1/app?options=-c%20search_path%3Dx&dbname=app", {"options": "-c search_path=x"}),
    ],
)
def test_a_url_with_another_database(url: str, others: dict[str, str]) -> None:
    read = conninfo_to_dict(with_database(url, "tenant a/b"))
    assert read == {**conninfo_to_dict(url), **others, "dbname": "tenant a/b"}


def test_a_list_of_servers(shops: list[str], run: Pass) -> None:
    report, _ = run(SERVERS, environ=dict(zip("ABC", shops, strict=True)))
    assert report.error is None and report.deleted == 45 and [count(url) for url in shops] == [2, 2, 2]
    assert report.survivors == 0


@pytest.mark.parametrize("how", ["nobody listens", "no such database"])
def test_one_server_down_is_red_and_the_others_are_done(shops: list[str], run: Pass, how: str) -> None:
    server = CLOSED if how == "nobody listens" else shops[0].partition("@")[2].partition("/")[0]
    away = f"postgresql://postgres:geheim@{server}/shop"
    report, outcomes = run(SERVERS, environ={"A": shops[0], "B": away, "C": shops[2]})
    assert [count(url) for url in shops] == [2, 17, 2]
    assert report.deleted == 30 and report.survivors is None
    assert report.error is not None and f"{server}/shop" in report.error and "geheim" not in str(report)
    reds = [outcome for outcome in outcomes if outcome.error]
    assert len(reds) == 1 and all(o.stop_reason is StopReason.EXHAUSTED for o in outcomes if not o.error)


def test_the_lease_of_a_server_that_went_away_ends_no_other(shops: list[str], db: Db, run: Pass) -> None:
    with psycopg.connect(shops[0], autocommit=True) as own:
        # The first turn of the first server takes longer than the lease of the second one lasts.
        own.execute("DELETE FROM sessions WHERE id <= 9")
        own.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN OLD; END'"
        )
        own.execute("CREATE TRIGGER slow BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION slow()")
    settings = (
        SERVERS.replace(', "${C}"', "")
        .replace("2s}", "2s, lease: 1s}")
        .replace("timeout: 2s", "timeout: 100ms")
        .replace("size: 10,", "size: 1, max_shards: 1, governor: {pause_share: 0},")
    )
    name = shops[1].rsplit("/", 1)[1]

    def progress(tally: Tally) -> None:
        if tally.deleted == 1:
            db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            db.execute("SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = %s", (name,))

    report, [outcome] = run(settings, environ={"A": shops[0], "B": shops[1]}, progress=progress)
    db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert outcome.stop_reason is StopReason.EXHAUSTED and [count(url) for url in shops] == [2, 17, 17]
    assert report.members is not None and report.members.failed == (shops[1].partition("@")[2],)
    assert report.error is not None and name in report.error


def test_a_server_whose_schemas_nobody_knows_is_told_of(shops: list[str], run: Pass) -> None:
    settings = SERVERS.replace("table: sessions,", "table: sessions, schemas: pub*,")
    report, _ = run(settings, environ={"A": shops[0], "B": f"postgresql://postgres@{CLOSED}/shop", "C": shops[2]})
    assert [count(url) for url in shops] == [2, 17, 2] and report.error is not None and CLOSED in report.error
    assert "members.away" in {finding.code for finding in report.findings}


def test_a_server_that_is_back_when_its_turn_comes_is_cleaned(shops: list[str], db: Db, run: Pass) -> None:
    name = shops[1].rsplit("/", 1)[1]
    db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")

    def back() -> None:
        db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    report, _ = run(SERVERS, environ=dict(zip("ABC", shops, strict=True)), before_deleting=back)
    assert report.deleted == 45 and [count(url) for url in shops] == [2, 2, 2]


def test_all_servers_down_is_a_fault(run: Pass) -> None:
    away = f"postgresql://{CLOSED}/"
    with pytest.raises(StoreError, match=r"^stores\.main\.urls\.[012]: cannot reach"):
        run(SERVERS, environ={"A": f"{away}a", "B": f"{away}b", "C": f"{away}c"})


def test_leases_that_were_taken_away_end_every_member(mongo_url: str, run: Pass, tmp_path: Path) -> None:
    base = f"shop_{uuid.uuid4().hex[:8]}_"
    text = f"""
cleanup: {{batch_size: 1, pause: 400ms, max_shards: 1}}
stores:
  main: {{type: mongo, url: "${{URL}}", lease: 1s}}
targets:
  sessions: {{store: main, collection: sessions, databases: "{base}*", mode: delete, expires: {{field: expires_at}}}}
"""
    settings = settings_of(text, tmp_path, {"URL": mongo_url})
    [target], store = settings.targets, open_store(settings.stores["main"])
    fleet = store_for(store, target)
    assert isinstance(fleet, Leases)
    freed: list[int] = []

    def progress(tally: Tally) -> None:
        if tally.deleted == 1:
            freed.append(fleet.free(target))

    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        for letter in "ab":
            dead = [{"expires_at": datetime.now(UTC) - timedelta(days=1)} for _ in range(8)]
            client[base + letter].sessions.insert_many(dead)
        report, [outcome] = run(text, environ={"URL": mongo_url}, progress=progress)
        assert freed == [1] and outcome.stop_reason is StopReason.LEASE_LOST and report.deleted == 1
        assert sum(client[base + letter].sessions.count_documents({}) for letter in "ab") == 15
        for letter in "ab":
            client.drop_database(base + letter)
    store.close()
    assert report.error is not None


def test_databases_are_listed_whoever_may_read_them(mongo_url: str, run: Pass) -> None:
    text = """
stores:
  main: {type: mongo, url: "${URL}"}
targets:
  sessions: {store: main, collection: sessions, databases: "shop_*", mode: delete, expires: {field: expires_at}}
"""
    asked: list[Any] = []

    class Asked(pymongo.monitoring.CommandListener):
        def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
            asked.extend([event.command["authorizedDatabases"]] if event.command_name == "listDatabases" else [])

        def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None: ...

        def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None: ...

    store = MongoStore(StoreConfig("main", StoreType.MONGO, mongo_url))
    with pymongo.MongoClient[dict[str, Any]](mongo_url, event_listeners=[Asked()]) as client:
        store._client = client
        store.databases()
        assert asked == [False]
        point = {"configureFailPoint": "failCommand", "mode": {"times": 1}}
        client.admin.command({**point, "data": {"failCommands": ["listDatabases"], "errorCode": 13}})
        with pytest.raises(StoreError, match="may not list the databases; grant listDatabases on the cluster"):
            run(text, environ={"URL": mongo_url})


def test_databases_of_mongo(mongo_url: str, run: Pass) -> None:
    base = f"shop_{uuid.uuid4().hex[:8]}_"
    names = [f"{base}{letter}" for letter in "ab"]
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        now = datetime.now(UTC)
        for name in names:
            dead = [{"expires_at": now - timedelta(days=1)} for _ in range(12)]
            client[name].sessions.insert_many([*dead, {"expires_at": now + timedelta(days=1)}])
        text = f"""
cleanup: {{batch_size: 5, pause: 0s}}
stores:
  main: {{type: mongo, url: "${{URL}}"}}
targets:
  sessions: {{store: main, collection: sessions, databases: "{base}*", mode: delete, expires: {{field: expires_at}}}}
"""
        report, _ = run(text, environ={"URL": mongo_url})
        assert [client[name].sessions.count_documents({}) for name in names] == [1, 1]
        assert report.error is None and report.deleted == 24 and report.survivors == 0
        for name in names:
            client.drop_database(name)


def test_two_redis_servers(redis_url: str, run: Pass) -> None:
    # Two databases of one server: as far apart as two servers, since no script reaches from one to the other.
    urls = [f"{redis_url.rsplit('/', 1)[0]}/{number}" for number in (1, 2)]
    for url in urls:
        with redis.Redis.from_url(url) as client:
            for number in range(30):
                client.hset(f"session:{number}", mapping={"exp": 1_500_000_000 if number < 25 else 4_000_000_000})
    text = """
cleanup: {batch_size: 10, pause: 0s}
stores:
  cache: {type: redis, urls: "${URLS}"}
targets:
  sessions: {store: cache, keys: "session:*", mode: delete, expires: {hash_field: exp}}
"""
    report, _ = run(text, environ={"URLS": " ".join(urls)})
    assert report.error is None and report.deleted == 50 and report.survivors == 0
    for url in urls:
        with redis.Redis.from_url(url) as client:
            assert client.dbsize() in {5, 6}  # the lease's key may live on for a moment
            assert {int(key.split(b":")[1]) for key in client.scan_iter("session:*")} == set(range(25, 30))
