"""What goes wrong, and the one line that says so."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis, exceptions
from redis_support import POINTERS, SESSIONS, config, drain, running, target, unused_port, valkey

from cleanup_pipeline.model.plan import Census, Shard
from cleanup_pipeline.model.target import HashFieldExpiry, NativeTtl
from cleanup_pipeline.model.words import Mode, Severity
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError, TransientError, UnavailableError
from cleanup_pipeline.stores.redis import open_redis
from cleanup_pipeline.stores.redis.faults import translate
from cleanup_pipeline.stores.redis.rules import compile_rule
from cleanup_pipeline.stores.redis.store import STRATEGY, Work

WORK = Work(STRATEGY, "", (Shard(0),))
SECRET = "s3cr%21et"
CUTOFF = datetime(2024, 1, 1, tzinfo=UTC)


def errors(findings) -> list[str]:
    return [finding.what for finding in findings if finding.severity is Severity.ERROR]


def opened(url: str, **changes):
    return open_redis(config(url, **changes))


def assert_one_line_without_secrets(fault: StoreError) -> None:
    text = str(fault)
    assert "\n" not in text
    for secret in (SECRET, "s3cr!et"):
        assert secret not in text


def test_wrong_password_and_no_password(tmp_path):
    with running(valkey(), tmp_path, "--requirepass", "right") as server:
        for user in (f":{SECRET}@", f"app:{SECRET}@", ""):
            store = opened(server.url.replace("//", f"//{user}"))
            with pytest.raises(StoreError, match=r"stores\.cache\.url: .*refuses the login.*password") as caught:
                store.preflight(SESSIONS)
            assert_one_line_without_secrets(caught.value)
            assert SECRET not in repr(store.config)
        with pytest.raises(StoreError) as caught:
            opened(f"{server.url}?password={SECRET}").clock()
        assert_one_line_without_secrets(caught.value)
        right = opened(server.url.replace("//", "//:right@"))
        assert right.clock().tzinfo is not None
        right.close()


def test_server_down():
    with unused_port() as port:
        store = opened(f"redis://:{SECRET}@127.0.0.1:{port}/0")
        for call in (store.clock, lambda: store.preflight(SESSIONS)):
            with pytest.raises(
                UnavailableError, match=rf"cannot reach 127\.0\.0\.1:{port}/0.*start the server"
            ) as caught:
                call()
            assert_one_line_without_secrets(caught.value)
        with pytest.raises(UnavailableError):
            store.delete_batch(SESSIONS, WORK, Shard(0), None, 100, CUTOFF)


def test_server_that_goes_away_between_two_batches(tmp_path):
    with running(valkey(), tmp_path) as server:
        store = opened(server.url)
        with Redis.from_url(server.url) as client:
            for n in range(500):
                client.hset(f"session:a:{n}", "expires_at", "1600000000")
        outcome = store.delete_batch(SESSIONS, WORK, Shard(0), None, 100, CUTOFF)
        assert outcome.deleted > 0
    with pytest.raises(UnavailableError, match=r"stores\.cache\.url"):
        store.delete_batch(SESSIONS, WORK, Shard(0), outcome.cursor, 100, CUTOFF)
    store.close()
    store.close()


def test_a_server_that_does_not_answer_in_time(server, client):
    client.hset("session:a:1", "expires_at", "1600000000")
    store = opened(server.url, statement_timeout=timedelta(milliseconds=200))
    store.clock()
    client.client_pause(1500)
    try:
        with pytest.raises(BatchTimeoutError, match=r"stores\.cache\.statement_timeout.*batch_size"):
            store.delete_batch(SESSIONS, WORK, Shard(0), None, 100, CUTOFF)
        with pytest.raises(UnavailableError, match=r"statement_timeout"):
            store.clock()
    finally:
        client.client_unpause()
        store.close()


def test_a_database_that_there_is_not(server):
    with pytest.raises(StoreError, match=r"stores\.cache\.url: .*no such database.*number"):
        opened(server.url.replace("/0", "/4711")).clock()
    with pytest.raises(StoreError, match=r"stores\.cache\.url: .*not a number"):
        opened(server.url.replace("/0", "/main")).clock()
    with pytest.raises(StoreError, match=r"stores\.cache\.url: .*not a Redis URL.*redis://") as caught:
        opened(f"http://:{SECRET}@127.0.0.1").clock()
    assert_one_line_without_secrets(caught.value)


COMMANDS = ["scan", "type", "pttl", "hstrlen", "hget", "evalsha", "eval", "unlink", "pexpireat", "time"]


@pytest.mark.parametrize("lacking", COMMANDS)
def test_a_login_that_lacks_one_command(server, client, lacking):
    needed = " ".join(f"+{command}" for command in COMMANDS if command != lacking)
    _user(client, f"on >pw ~session:* {needed}")
    store = opened(server.url.replace("//", "//cleaner:pw@"))
    with pytest.raises(StoreError, match=rf"targets\.sessions: .*{lacking.upper()}.*\+{lacking}\b") as caught:
        store.preflight(SESSIONS)
    assert not isinstance(caught.value, UnavailableError | TransientError)
    store.close()


def test_a_login_with_no_more_than_it_needs(server, client, now):
    _user(client, "on >pw ~session:* " + " ".join(f"+{command}" for command in COMMANDS))
    client.hset("session:a:1", "expires_at", "1600000000")
    client.hset("session:a:2", "expires_at", int(now.timestamp()) + 1000)
    store = opened(server.url.replace("//", "//cleaner:pw@"))
    assert errors(store.preflight(SESSIONS)) == []
    drain(store, SESSIONS, now)
    assert client.keys() == [b"session:a:2"]
    store.close()


def test_looking_needs_no_right_to_delete(server, client, now):
    _user(client, "on >pw ~session:* +scan +type +pttl +hstrlen +hget +evalsha +eval +time")
    client.hset("session:a:1", "expires_at", "1600000000")
    store = opened(server.url.replace("//", "//cleaner:pw@"))
    dry = target("session:*:*", "hash", HashFieldExpiry("expires_at"), mode=Mode.DRY_RUN)
    assert errors(store.preflight(dry)) == []
    assert store.survivors(dry, now, timedelta(seconds=10)) == 1
    with pytest.raises(StoreError, match=r"targets\.sessions: .*may not run.*ACL SETUSER <user> .*\+unlink"):
        drain(store, SESSIONS, now)
    assert client.keys() == [b"session:a:1"]
    store.close()


def test_a_login_that_may_not_touch_the_keys(server, client, now):
    _user(client, "on >pw ~other:* +@all")
    client.hset("session:a:1", "expires_at", "1600000000")
    store = opened(server.url.replace("//", "//cleaner:pw@"))
    for call in (lambda: store.preflight(SESSIONS), lambda: drain(store, SESSIONS, now)):
        with pytest.raises(StoreError, match=r"may not touch these keys.*~<pattern>"):
            call()
    assert client.keys() == [b"session:a:1"]
    store.close()


def _user(client, rules: str) -> None:
    client.execute_command("ACL", "SETUSER", "cleaner", "reset", *rules.split())


def test_one_server_of_a_cluster_is_refused(tmp_path):
    with unused_port() as bus:
        pass
    with running(valkey(), tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(bus)) as server:
        store = opened(server.url)
        (what,) = errors(store.preflight(SESSIONS))
        assert "part of a Redis Cluster, and one server of it holds only a share of the keys" in what
        store.close()


def test_a_replica_is_refused_and_survives_a_delete(tmp_path):
    with running(valkey(), tmp_path) as server, Redis.from_url(server.url) as client:
        client.hset("session:a:1", "expires_at", "1600000000")
        client.replicaof("127.0.0.1", "9")
        store = opened(server.url)
        (finding,) = [f for f in store.preflight(SESSIONS) if f.severity is Severity.ERROR]
        assert "replica" in finding.what
        assert "primary" in finding.remedy
        with pytest.raises(TransientError, match=r"stores\.cache\.url: .*replica.*primary"):
            store.delete_batch(SESSIONS, WORK, Shard(0), None, 100, CUTOFF)
        assert client.keys() == [b"session:a:1"]
        store.close()


def test_findings_about_what_is_there(store, client):
    (nothing,) = store.preflight(SESSIONS)
    assert (nothing.severity, "no key matches session:*:*" in nothing.what) == (Severity.INFO, True)
    client.set("session:a:1", "{}")
    (other,) = store.preflight(SESSIONS)
    assert (other.severity, "one of type string does" in other.what) == (Severity.INFO, True)
    client.hset("session:a:2", "x", "y")
    assert list(store.preflight(SESSIONS)) == []


def test_a_full_server_that_evicts_nothing_is_worth_a_word(store, client):
    client.set("refresh_index:1", "x")
    client.config_set("maxmemory", "500mb")
    try:
        (finding,) = store.preflight(POINTERS)
        assert (finding.severity, "noeviction" in finding.what) == (Severity.INFO, True)
    finally:
        client.config_set("maxmemory", "0")


@pytest.mark.parametrize("pattern", ["*", "**", "?*", "[a-z]*"])
def test_a_pattern_that_names_no_prefix_is_refused(store, pattern):
    (what,) = errors(store.preflight(target(pattern, "string", NativeTtl())))
    assert "every key" in what
    assert "targets.sessions" in what


FAULTS = [
    (exceptions.TimeoutError("Timeout reading from socket"), BatchTimeoutError),
    (exceptions.TimeoutError("Timeout connecting to server"), UnavailableError),
    (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), UnavailableError),
    (exceptions.ConnectionError("max number of clients reached"), UnavailableError),
    (exceptions.ReadOnlyError("You can't write against a read only replica."), TransientError),
    (exceptions.ResponseError("Error running script: -READONLY You can't write"), TransientError),
    (exceptions.ResponseError("BUSY Redis is busy running a script."), TransientError),
    (exceptions.ResponseError("LOADING Redis is loading"), TransientError),
    (exceptions.TryAgainError("Multiple keys request during rehashing of slot"), TransientError),
    (exceptions.MasterDownError("Link with MASTER is down"), TransientError),
    (exceptions.AuthenticationError("invalid username-password pair"), StoreError),
    (exceptions.NoPermissionError("User x has no permissions to run the 'unlink' command"), StoreError),
    (exceptions.MovedError("1234 127.0.0.1:7001"), StoreError),
    (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), TransientError),
    (exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), TransientError),
    (exceptions.ResponseError("unknown command"), StoreError),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=[str(f[0])[:40] for f in FAULTS])
def test_every_fault_has_its_kind(fault, expected):
    told = translate(fault, config(f"redis://:{SECRET}@127.0.0.1:6379/0"), SESSIONS, batch=True)
    assert type(told) is expected
    assert_one_line_without_secrets(told)


def test_the_client_is_named_and_the_pool_bounded(server, client):
    store = opened(server.url, application_name="cleanup pipeline", pool_size=2)
    store.clock()
    assert "cleanup-pipeline" in {entry["name"] for entry in client.client_list()}
    assert store.client.connection_pool.max_connections == 2
    store.close()
    # The server notices in its own time that a client has gone.
    deadline = time.monotonic() + 10
    while "cleanup-pipeline" in {entry["name"] for entry in client.client_list()}:
        assert time.monotonic() < deadline
    assert compile_rule(SESSIONS).script is compile_rule(SESSIONS).script
    assert store.plan(SESSIONS, CUTOFF, Census()).shards == (Shard(0),)
