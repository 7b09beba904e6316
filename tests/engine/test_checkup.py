"""Each finding of `check` on a real server that provokes it, and on one that does not."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.engine.checkup import Checked, check_store, check_target
from cleanup_pipeline.model.rules import ColumnExpiry
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry, HashFieldExpiry, KeySource, TableSource, Target
from cleanup_pipeline.model.words import Mode, Severity, StoreType
from cleanup_pipeline.stores.open import open_store

WEB = Target(
    name="web",
    store="main",
    store_type=StoreType.POSTGRES,
    pass_name="sessions",
    kind="session",
    source=TableSource("web"),
    expiry=ColumnExpiry("expires_at"),
    mode=Mode.DELETE,
    children_first=True,
)


@pytest.fixture
def db(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE web (id int PRIMARY KEY, expires_at timestamptz)")
        connection.execute("INSERT INTO web SELECT n, now() - n * interval '1 minute' FROM generate_series(1, 2000) n")
        connection.execute("CREATE INDEX web_expiry ON web (expires_at); ANALYZE web")
        yield connection


def looked(url: str, target: Target = WEB) -> tuple[Checked, Checked]:
    store = open_store(StoreConfig("main", target.store_type, url))
    try:
        return check_store(store), check_target(store, target)
    finally:
        store.close()


def said(checked: Checked, *severities: Severity) -> list[str]:
    wanted = severities or (Severity.ERROR, Severity.WARNING)
    return [finding.what for finding in checked.findings if finding.severity in wanted]


def test_a_table_as_it_should_be(db: psycopg.Connection[Any], postgres_url: str) -> None:
    server, web = looked(postgres_url)
    assert (said(server), said(web)) == ([], [])
    [index] = [finding for finding in web.findings if finding.what.startswith("index web_expiry")]
    assert "without it" in index.evidence
    assert any(finding.what.startswith("PostgreSQL 1") for finding in server.findings)


PROVOKED = [
    ("DROP INDEX web_expiry", "no index on expires_at", 'CREATE INDEX CONCURRENTLY ON web ("expires_at")'),
    (
        "CREATE TABLE child (web int REFERENCES web); INSERT INTO child SELECT 1",
        "no index serves foreign key child_web_fkey of child",
        "CREATE INDEX CONCURRENTLY ON child (web)",
    ),
    (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD;END'; "
            "CREATE TRIGGER audit AFTER DELETE ON web FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        "trigger audit runs f() for each record",
        "see that this is meant",
    ),
    ("CREATE RULE soft AS ON DELETE TO web DO INSTEAD NOTHING", "rule soft rewrites DELETE", "DROP RULE soft ON web"),
    (
        "ALTER TABLE web DROP CONSTRAINT web_pkey; CREATE PUBLICATION feed FOR TABLE web",
        "publication feed publishes deletes of web",
        "REPLICA IDENTITY FULL",
    ),
    ("ALTER TABLE web SET (autovacuum_enabled = off)", "autovacuum is off for web", "RESET (autovacuum_enabled)"),
    (
        (
            "ALTER TABLE web SET (autovacuum_vacuum_threshold = 1000000000);"
            " INSERT INTO web SELECT n, now() FROM generate_series(10000, 40000) n; DELETE FROM web WHERE id >= 10000;"
            " SELECT pg_stat_force_next_flush()"
        ),
        "dead rows beside",
        "VACUUM (ANALYZE) web",
    ),
    (
        "CREATE TABLE child (web int REFERENCES web ON DELETE CASCADE); CREATE INDEX ON child (web)",
        "",
        "",
    ),
]


@pytest.mark.parametrize(("change", "what", "remedy"), PROVOKED)
def test_what_a_table_can_have(
    db: psycopg.Connection[Any], postgres_url: str, change: str, what: str, remedy: str
) -> None:
    for each in change.split("; "):
        db.execute(each)  # type: ignore[call-overload]
    _, web = looked(postgres_url)
    if not what:
        assert said(web) == []
        return
    [found] = [finding for finding in web.findings if what in finding.what]
    assert remedy in found.remedy
    assert found.severity is not Severity.INFO or "no index" in what


def test_an_invalid_index_and_partitions(db: psycopg.Connection[Any], postgres_url: str) -> None:
    db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'web_expiry'::regclass")
    _, web = looked(postgres_url)
    assert "index web_expiry is invalid: it costs and serves nobody" in said(web)
    db.execute("DROP TABLE web; CREATE TABLE web (expires_at timestamptz) PARTITION BY RANGE (expires_at)")
    db.execute("CREATE TABLE web_1 PARTITION OF web DEFAULT")
    _, web = looked(postgres_url)
    assert "1 partitions by RANGE (expires_at)" in said(web, Severity.INFO)


def test_what_a_server_can_have(db: psycopg.Connection[Any], postgres_url: str) -> None:
    db.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        server, _ = looked(postgres_url)
    finally:
        db.execute("SELECT pg_drop_replication_slot('forgotten')")
    [slot] = [finding for finding in server.findings if "forgotten" in finding.what]
    assert slot.severity is Severity.WARNING
    assert slot.remedy.endswith("SELECT pg_drop_replication_slot('forgotten')")


def test_an_old_transaction(db: psycopg.Connection[Any], postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1")
        server, _ = looked(postgres_url)
        assert said(server) == []
        monkeypatch.setattr("cleanup_pipeline.stores.postgres.checkup.LONG_TRANSACTION", timedelta(0))
        server, _ = looked(postgres_url)
        assert any("transaction(s) open for up to" in what for what in said(server))


def test_it_reads_only(db: psycopg.Connection[Any], postgres_url: str) -> None:
    """All rights, and a session in which whatever writes fails; then a login that may only read."""
    for name in ("looker", "reader"):
        db.execute(f"DROP ROLE IF EXISTS {name}")  # type: ignore[call-overload]
        db.execute(f"CREATE ROLE {name} LOGIN")  # type: ignore[call-overload]
    db.execute("ALTER ROLE looker SET default_transaction_read_only = on")
    db.execute("GRANT ALL ON web TO looker; GRANT SELECT ON web TO reader")
    try:
        before = db.execute("SELECT xmin::text, * FROM web ORDER BY id").fetchall()
        server, web = looked(_as("looker", postgres_url))
        assert not [f for f in (*server.findings, *web.findings) if "could not be looked at" in f.what]
        assert said(web) == []
        server, web = looked(_as("reader", postgres_url))
        [error] = [finding for finding in web.findings if finding.severity is Severity.ERROR]
        assert error.what == "user reader lacks DELETE on web"
        assert error.remedy == "GRANT SELECT, UPDATE, DELETE ON web TO reader"
        assert db.execute("SELECT xmin::text, * FROM web ORDER BY id").fetchall() == before
    finally:
        db.execute("DROP OWNED BY looker, reader; DROP ROLE looker, reader")


def _as(role: str, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()


def test_a_server_that_is_not_there() -> None:
    store = open_store(StoreConfig("main", StoreType.POSTGRES, "postgresql://nobody@127.0.0.1:9/none"))
    checked = check_store(store)
    assert (checked.reached, [each.severity for each in checked.findings]) == (False, [Severity.ERROR])


KEYS = replace(
    WEB,
    store_type=StoreType.REDIS,
    source=KeySource("session:*", "hash"),
    expiry=HashFieldExpiry("exp"),
    children_first=False,
)


def test_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for n in range(40):
            client.hset(f"session:{n}", "exp", "2000000000")
            client.expireat(f"session:{n}", 2_000_000_000)
        server, keys = looked(redis_url, KEYS)
        assert (said(server), said(keys)) == ([], [])
        assert any("no cluster" in what for what in said(server, Severity.INFO))
        assert "every key looked at has a TTL, so that the server removes it" in said(keys, Severity.INFO)
        for n in range(40, 60):
            client.hset(f"session:{n}", "exp", "2000000000")
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 100_000)
        try:
            server, keys = looked(redis_url, KEYS)
        finally:
            client.config_set("maxmemory", before)
        assert any(what.startswith("memory is nearly full (noeviction)") for what in said(server))
        [found] = [finding for finding in keys.findings if "no TTL" in finding.what]
        assert (found.what, found.evidence) == (
            "33% of the keys have no TTL: only a pass removes them",
            "20 of 60 keys looked at",
        )


DOCS = replace(
    WEB,
    store_type=StoreType.MONGO,
    source=CollectionSource("web"),
    expiry=FieldExpiry("expires_at"),
    children_first=False,
)


def test_mongo(mongo_url: str) -> None:
    with pymongo.MongoClient[Any](mongo_url) as client:
        web = client.get_default_database().web
        when = datetime(2100, 1, 1, tzinfo=UTC)
        web.insert_many([{"expires_at": when, "said": "2026-01-01"} for _ in range(20)])
        web.create_index("expires_at")
        server, docs = looked(mongo_url, DOCS)
        assert (said(server), said(docs)) == ([], [])
        assert "no TTL index on expires_at" in said(docs, Severity.INFO)
        web.drop_indexes()
        web.create_index("expires_at", expireAfterSeconds=0, name="works")
        web.create_index("said", expireAfterSeconds=0, name="text")
        web.create_index("nothing", expireAfterSeconds=0, name="absent")
        _, docs = looked(mongo_url, DOCS)
        assert sorted(said(docs)) == [
            "TTL index absent silently does nothing: no document looked at has nothing",
            "TTL index text silently does nothing: said is no date",
        ]
        assert "TTL index works works: 0 s after expires_at" in said(docs, Severity.INFO)
