"""Each finding about Redis on a real server that provokes it, and on one that does not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from cleanup_pipeline.embedded.servers import start_redis
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import HashFieldExpiry, KeySource, MembersExpiry, NativeTtl, Target
from cleanup_pipeline.model.words import Severity, StoreType
from cleanup_pipeline.stores.redis import preflight
from tests.checkup.looking import NOWHERE, WEB, Looked, look

HASHES = KeySource("session:*", "hash")
KEYS = replace(WEB, store_type=StoreType.REDIS, source=HASHES, expiry=HashFieldExpiry("exp"))
AUDIT = replace(KEYS, expiry=NativeTtl())
MEMBERS = replace(KEYS, source=KeySource("user:*", "set"), expiry=MembersExpiry(("session:{member}",)))
LATER = 2_000_000_000
NEEDED = "+hello +ping +time +scan +type +pttl +hget +strlen +hstrlen +evalsha +eval +unlink +pexpireat"

Client = redis.Redis


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with redis.Redis.from_url(redis_url) as opened:
        for n in range(40):
            opened.hset(f"session:{n}", "exp", str(LATER))
            opened.expireat(f"session:{n}", LATER)
        yield opened


@contextmanager
def login(client: Client, rules: str, url: str) -> Iterator[str]:
    client.execute_command("ACL", "SETUSER", "looker", "reset", "on", "nopass", *rules.split())
    try:
        yield url.replace("redis://", "redis://looker:x@")
    finally:
        client.acl_deluser("looker")


@contextmanager
def setting(client: Client, name: str, value: Any) -> Iterator[None]:
    before = client.config_get(name)[name]
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, before)


def without_ttl(client: Client, share: int) -> None:
    for n in range(0, 40, share):
        client.persist(f"session:{n}")


BY_KEYS: dict[str, tuple[Callable[[Client], Any], Target]] = {
    "redis.no-ttl": (lambda client: without_ttl(client, 4), AUDIT),
    "redis.some-ttl": (lambda client: without_ttl(client, 20), AUDIT),
    "redis.template": (lambda client: (client.flushall(), client.sadd("user:7", "a")), MEMBERS),
    "redis.type": (lambda client: (client.flushall(), client.set("session:1", "x")), KEYS),
    "redis.no-key": (lambda client: client.flushall(), KEYS),
    "redis.keeping": (lambda client: None, replace(KEYS, removals=True, identifier="exp")),
    "redis.pattern": (lambda client: None, replace(KEYS, source=KeySource("*", "hash"))),
}
ALWAYS = {"redis.version", "redis.ttl", "redis.no-maxmemory", "redis.rights-excess"}
ELSEWHERE = {
    "redis.info",
    "redis.memory",
    "redis.eviction",
    "redis.evicts",
    "redis.evicts-nothing",
    "redis.save",
    "redis.replicas",
    "redis.replica",
    "redis.cluster-node",
    "redis.rights-lacking",
    "redis.rights-unknown",
    "redis.rights-fit",
}
BY_ANSWER = {"redis.old", "redis.version-old", "redis.sentinel"}
"""What no server of the tests is: by what HELLO of such a server says."""
PROVOKED = {*BY_KEYS, *ALWAYS, *ELSEWHERE, *BY_ANSWER}


def test_keys_and_a_server_as_they_should_be(client: Client, redis_url: str) -> None:
    """Provokes no finding but those that say what is there."""
    assert look(redis_url, KEYS).codes == {*ALWAYS, "clock"}
    assert "no cluster" in look(redis_url, KEYS).of("redis.version").what
    # What is seen of keys, and what a login may do, depends on both.
    client.persist("session:1")
    assert "redis.ttl" not in look(redis_url, KEYS).codes
    client.set("session:a", "x")
    client.sadd("user:7", "1")
    client.hset("session:1", "exp", "1")
    assert "redis.template" not in look(redis_url, replace(MEMBERS)).codes
    assert not PROVOKED & look(NOWHERE).codes


@pytest.mark.parametrize("code", sorted(BY_KEYS))
def test_provoked(client: Client, redis_url: str, code: str) -> None:
    provoke, target = BY_KEYS[code]
    provoke(client)
    found = look(redis_url, target).of(code)
    assert found.remedy or found.evidence


def test_how_many_keys_have_no_ttl(client: Client, redis_url: str) -> None:
    without_ttl(client, 4)
    found = look(redis_url, AUDIT).of("redis.no-ttl")
    assert (found.severity, found.what) == (Severity.WARNING, "25% of the keys have no TTL: they stay for ever")
    assert found.evidence == "10 of 40 keys looked at"
    found = look(redis_url, KEYS).of("redis.no-ttl")
    assert (found.severity, found.what) == (Severity.INFO, "25% of the keys have no TTL: only a pass removes them")


def test_memory(client: Client, redis_url: str) -> None:
    used = int(client.info("memory")["used_memory"])
    with setting(client, "maxmemory", used * 100):
        found = look(redis_url, KEYS)
        assert "redis.memory" not in found.codes and "redis.no-maxmemory" not in found.codes
        assert found.of("redis.eviction").what.startswith("maxmemory-policy is noeviction")
        assert "redis.evicts-nothing" in found.codes
        with setting(client, "maxmemory-policy", "allkeys-lru"):
            found = look(redis_url, KEYS)
            assert "allkeys-lru" in found.of("redis.eviction").what
            assert "redis.evicts" in found.codes and "redis.evicts-nothing" not in found.codes
    with setting(client, "maxmemory", used + 100_000):
        found = look(redis_url, KEYS).of("redis.memory")
        assert found.what == "memory is nearly full (noeviction): logins fail when it is full"
        assert (found.severity, found.remedy) == (Severity.WARNING, "raise maxmemory")


def test_a_save_that_failed(tmp_path: Path) -> None:
    server = start_redis(tmp_path, options=["--dbfilename", "taken.rdb"])
    try:
        with redis.Redis.from_url(server.url) as client:
            assert "redis.save" not in look(server.url, KEYS).codes
            # A folder stands where the file has to go.
            folder = Path(client.config_get("dir")["dir"]) / "taken.rdb"
            (folder / "by").mkdir(parents=True)
            client.bgsave()
            until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
            assert look(server.url, KEYS).of("redis.save").severity is Severity.WARNING
            # Or it would not end before it is saved.
            client.config_set("save", "")
    finally:
        server.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_replica(client: Client, redis_url: str, tmp_path: Path) -> None:
    """Real replication, seen from both ends; then one that is gone is none."""
    server = start_redis(tmp_path)
    try:
        with redis.Redis.from_url(server.url) as other, setting(client, "repl-diskless-sync-delay", 0):
            port = redis_url.rpartition(":")[2].partition("/")[0]
            assert "redis.replica" not in look(server.url, KEYS).codes
            other.replicaof("127.0.0.1", port)
            until(lambda: other.info("replication")["master_link_status"] == "up")
            until(
                lambda: (
                    look(redis_url, KEYS).of("redis.replicas").what == "1 replica(s), 0 not online, 0 s behind at most"
                )
            )
            assert look(server.url, KEYS).of("redis.replica").remedy == "point the URL at the primary"
    finally:
        server.stop()
    until(lambda: "redis.replicas" not in look(redis_url, KEYS).codes)


def test_one_server_of_a_cluster(tmp_path: Path, redis_url: str) -> None:
    server = start_redis(tmp_path, options=["--cluster-enabled", "yes", "--cluster-port", str(_free_port())])
    try:
        assert look(server.url, KEYS).of("redis.cluster-node").severity is Severity.ERROR
    finally:
        server.stop()
    assert "redis.cluster-node" not in look(redis_url, KEYS).codes


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize(
    ("server", "code"),
    [
        (None, "redis.old"),
        (preflight.Server("redis", (6, 0, 16), "standalone", "master"), "redis.version-old"),
        (preflight.Server("redis", (7, 2), "sentinel", "master"), "redis.sentinel"),
        (preflight.Server("redis", (6, 2), "standalone", "master"), ""),
        (preflight.Server("valkey", (9, 0), "standalone", "master"), ""),
    ],
)
def test_what_hello_says(server: preflight.Server | None, code: str) -> None:
    config = StoreConfig("main", StoreType.REDIS, "redis://127.0.0.1:6379/0")
    found = Looked(list(preflight._server(server, config, clustered=False)))
    assert found.codes == ({code} if code else set())


def test_what_a_login_may_do(client: Client, redis_url: str) -> None:
    full = look(redis_url, KEYS).of("redis.rights-excess")
    assert full.what == "login default may do more than this target needs: every command; on every key"
    lease = "~cleanup-pipeline:lease:*"
    assert full.remedy.startswith(f"ACL SETUSER cleanup on >PASSWORD resetkeys ~session:* {lease} nocommands +")
    with login(client, f"~session:* {lease} {NEEDED} +info +acl|whoami +acl|getuser", redis_url) as url:
        found = look(url, KEYS)
        assert {"redis.rights-fit"} == {code for code in found.codes if code.startswith("redis.rights")}
        assert "redis.info" not in found.codes
    with login(client, f"~* {NEEDED} +info +keys +acl|whoami +acl|getuser", redis_url) as url:
        assert look(url, KEYS).of("redis.rights-excess").what.endswith("needs: keys; on every key")
    with login(client, f"~session:* {NEEDED} -unlink -hget", redis_url) as url:
        found = look(url, KEYS)
        lacking = found.of("redis.rights-lacking")
        assert lacking.what == "the login may not send hget, unlink on keys of session:*"
        assert lacking.remedy == f"ACL SETUSER LOGIN +hget +unlink ~session:* {lease}"
        assert lacking.severity is Severity.ERROR
        assert {"redis.rights-unknown", "redis.info"} <= found.codes
        # What it lacked, given as it is written there, is enough.
        client.execute_command(*lacking.remedy.replace("LOGIN", "looker").split())
        assert "redis.rights-lacking" not in look(url, KEYS).codes


def test_the_rights_that_are_advised_are_enough(client: Client, redis_url: str) -> None:
    advice = look(redis_url, KEYS).of("redis.rights-excess").remedy.replace(">PASSWORD", "nopass")
    client.execute_command(*advice.replace("SETUSER cleanup", "SETUSER advised").split())
    try:
        found = look(redis_url.replace("redis://", "redis://advised:x@"), KEYS)
        assert not [each for each in found.findings if each.severity is Severity.ERROR]
        assert "redis.info" not in found.codes
    finally:
        client.acl_deluser("advised")
