"""What each store says of its load, and that what it does not say is unknown."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
from redis import Redis

from cleanup_pipeline.embedded.servers import start_redis
from cleanup_pipeline.engine.signals import over_threshold
from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.mongo import open_mongo
from cleanup_pipeline.stores.mongo.load import load_of
from cleanup_pipeline.stores.postgres import PostgresStore
from cleanup_pipeline.stores.redis import open_redis

EVERY_SIGNAL = {
    "ping": 0.3,
    "replica_lag": 11.0,
    "replica_gap": 70_000_000,
    "blocked": 11,
    "blocked_clients": 1,
    "connections_share": 0.95,
    "memory_share": 0.95,
}


@pytest.mark.parametrize(("signal", "value"), EVERY_SIGNAL.items())
def test_each_signal_alone_makes_it_wait(signal: str, value: float) -> None:
    pace = Pace(max_blocked_clients=0, max_memory_share=0.9)
    hold = over_threshold(Load(**{signal: value}), pace)  # type: ignore[arg-type]
    assert hold is not None
    assert (hold.reason, f"governor.max_{signal} is" in hold.text) == (signal, True)


def test_unknown_and_switched_off_signals_do_not() -> None:
    off = Pace(max_ping=None, max_replica_lag=None, max_replica_gap=None, max_blocked=None, max_connections_share=None)
    assert over_threshold(Load(), Pace(max_blocked_clients=0, max_memory_share=0.0)) is None
    assert over_threshold(Load(**EVERY_SIGNAL), off) is None  # type: ignore[arg-type]


def test_postgres(store: PostgresStore) -> None:
    load = store.load()
    assert load.ping is not None and load.ping > 0
    assert load.connections_share is not None and 0 < load.connections_share <= 1
    assert load.blocked is not None
    assert load.replica_lag is None


def test_redis_with_a_replica(redis_url: str, tmp_path: Path) -> None:
    store = open_redis(StoreConfig("cache", StoreType.REDIS, redis_url))
    assert store.load().replica_gap is None
    port = redis_url.rpartition(":")[2].partition("/")[0]
    replica = start_redis(tmp_path / "replica", options=["--replicaof", "127.0.0.1", port])
    try:
        limit = monotonic() + 30
        while store.load().replica_gap is None and monotonic() < limit:
            sleep(0.05)
        load = store.load()
        assert load.replica_gap is not None and load.replica_gap >= 0
        assert load.replica_lag is not None
        assert load.blocked_clients == 0
        assert load.connections_share is not None and 0 < load.connections_share < 1
        assert load.memory_share is None
    finally:
        replica.stop()
        store.close()


def test_redis_login_without_the_right_to_ask(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-info")
        store = open_redis(StoreConfig("cache", StoreType.REDIS, redis_url.replace("redis://", "redis://blind:pw@")))
        try:
            load = store.load()
        finally:
            store.close()
            client.execute_command("ACL", "DELUSER", "blind")
    assert load.ping is not None
    assert load == Load(ping=load.ping)


def test_mongo_says_what_it_knows(mongo_url: str) -> None:
    store = open_mongo(StoreConfig("docs", StoreType.MONGO, mongo_url))
    load = store.load()
    store.close()
    assert load.ping is not None and load.ping > 0
    # SecantusDB has no globalLock, no secondaries, and says that 0 connections are available.
    assert load == Load(ping=load.ping)


def test_mongo_figures_of_a_replica_set() -> None:
    """The fields are those of MongoDB's manual for serverStatus and replSetGetStatus."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    status = {
        "globalLock": {"currentQueue": {"total": 7, "readers": 3, "writers": 4}},
        "connections": {"current": 30, "available": 70},
    }
    members = [
        {"stateStr": "PRIMARY", "optimeDate": now},
        {"stateStr": "SECONDARY", "optimeDate": now - timedelta(seconds=4)},
        {"stateStr": "SECONDARY", "optimeDate": now - timedelta(seconds=9)},
        {"stateStr": "ARBITER"},
        {"stateStr": "(not reachable/healthy)", "optimeDate": datetime(1970, 1, 1, tzinfo=UTC)},
    ]
    load = load_of(0.001, status, members)
    assert load == Load(ping=0.001, blocked=7, replica_lag=9.0, connections_share=0.3)
    assert load_of(0.001, {}, members[:1]) == load_of(0.001, {}, None) == Load(ping=0.001)
