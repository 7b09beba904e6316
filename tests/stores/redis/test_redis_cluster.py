"""A real cluster of three primaries, a Sentinel and TLS."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from redis import Redis
from redis.cluster import RedisCluster
from redis_support import POINTERS, SESSIONS, Server, census, config, in_two_steps, running, target, unused_port, valkey

from cleanup_pipeline.engine.canaries import wanted
from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.model.canary import CanaryKind, CanarySettings
from cleanup_pipeline.model.outline import State
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.target import ElementsExpiry, MembersExpiry, MsgpackExpiry, ScoreExpiry, ValueExpiry
from cleanup_pipeline.model.words import EpochUnit, Severity, StopReason
from cleanup_pipeline.stores.base import UnavailableError
from cleanup_pipeline.stores.redis import RedisStore, elements, open_redis
from tests.e2e.support import wait_for
from tests.faults.bench.proxy import DOWN, Proxy

HOUR = timedelta(hours=1)
SHARES = ((0, 5460), (5461, 10922), (10923, 16383))


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        started: list[Server] = []
        buses: list[int] = []
        for _ in SHARES:
            # Between looking for a free port and listening on it somebody else may have taken it.
            for last in (False, False, True):
                with unused_port() as bus:
                    pass
                flags = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
                try:
                    node = stack.enter_context(running(valkey(), tmp_path_factory.mktemp("node"), *flags))
                except AssertionError:
                    if last:
                        raise
                else:
                    break
            started.append(node)
            buses.append(bus)
        clients = [stack.enter_context(Redis(port=server.port)) for server in started]
        for client, (first, last) in zip(clients, SHARES, strict=True):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        for server, bus in zip(started[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port, bus)
        deadline = time.monotonic() + 30
        while not all(_whole(client) for client in clients):
            assert time.monotonic() < deadline, "the cluster did not form"
            time.sleep(0.05)
        yield started


def _whole(client: "Redis") -> bool:
    said = client.execute_command("CLUSTER INFO")
    return said.get("cluster_state") == "ok" and said.get("cluster_known_nodes") == "3"


@pytest.fixture
def cluster(nodes: list[Server]) -> Iterator[RedisCluster]:
    client = RedisCluster(host="127.0.0.1", port=nodes[0].port)
    client.flushall(target_nodes=RedisCluster.PRIMARIES)
    yield client
    client.close()


@pytest.fixture
def store(nodes: list[Server], cluster: RedisCluster) -> Iterator[RedisStore]:
    opened = open_redis(config(f"redis+cluster://127.0.0.1:{nodes[0].port}/0"))
    yield opened
    opened.close()


@pytest.fixture
def now(store: RedisStore):
    return store.clock()


def clean(store: RedisStore, cleaned, now) -> int:
    """A pass over every shard, through the engine. Returns how many were removed."""
    work = store.plan(cleaned, now, Census())
    assert len(work.shards) == 3
    limits = Limits(pause=timedelta(0))
    outcomes = [clean_shard(store, cleaned, work, shard, now, limits, Watch(lambda _: None)) for shard in work.shards]
    assert [(o.stop_reason, o.error) for o in outcomes] == [(StopReason.EXHAUSTED, None)] * 3
    return sum(o.tally.deleted for o in outcomes)


def keys(cluster: RedisCluster) -> set[bytes]:
    return set(cluster.scan_iter(count=1000))


def test_each_primary_is_cleaned_of_its_own(store, cluster, now):
    second = int(now.timestamp())
    for n in range(300):
        cluster.hset(f"session:u:{n}", "expires_at", second + (3600 if n % 3 else -100))
    assert list(store.preflight(SESSIONS)) == []
    counted = census(store, SESSIONS, now)
    assert (counted.expired, counted.live, counted.exact) == (100, 200, True)
    assert clean(store, SESSIONS, now) == 100
    assert keys(cluster) == {f"session:u:{n}".encode() for n in range(300) if n % 3}
    assert all(cluster.ttl(key) > 3000 for key in keys(cluster))
    assert store.survivors(SESSIONS, now, timedelta(seconds=9)) == 0
    assert store.load().ping is not None


def test_keys_are_named_on_each_primary(store, cluster, now):
    second = int(now.timestamp())
    for n in range(60):
        cluster.hset(f"session:u:{n}", "expires_at", second + (3600 if n % 3 else -100))
    named = list(store.sightings(SESSIONS, now, timedelta(seconds=9)))
    assert len({each.id for each in named}) == len(named) == 60
    expired = {each.id for each in named if each.state is State.EXPIRED}
    assert expired == {f"session:u:{n}" for n in range(0, 60, 3)}
    assert {round((each.dies - now).total_seconds() / 100) for each in named} == {-1, 36}
    # What a pointer names may be on another primary than itself.
    cluster.hset("session:u:1", "refresh_token", "here")
    cluster.set("refresh_index:here", "session:u:1")
    cluster.set("refresh_index:gone", "session:u:999")
    counted = census(store, POINTERS, now)
    found = Counter(each.state for each in store.sightings(POINTERS, now, timedelta(seconds=9)))
    assert (found[State.EXPIRED], found[State.LIVE], found[State.UNPARSABLE]) == (
        counted.expired,
        counted.live,
        counted.unparsable,
    )
    assert found[State.EXPIRED] == 1
    # Left by name, however it is found.
    spared = replace(SESSIONS, spared=("session:u:0", "session:u:3"))
    assert clean(store, spared, now) == 18
    assert store.survivors(SESSIONS, now, timedelta(seconds=9)) == 2


def test_members_scores_and_messagepack_in_a_cluster(store, cluster, now):
    second = int(now.timestamp())
    for user in range(30):
        cluster.sadd(f"user:{user}", "live", "gone")
        cluster.sadd(f"tagged:{{{user}}}", "live", "gone")
        cluster.set(f"session:{{{user}}}:live", "x")
        cluster.zadd(f"tags:{user}", {"dead": second - 9, "live": second + 99})
        cluster.set(f"m:{user}", b"\x81\xa3exp\xce" + (second + (99 if user % 2 else -9)).to_bytes(4, "big"))
    cluster.set("session:live", "x")
    assert clean(store, target("user:*", "set", MembersExpiry(("session:{member}",))), now) == 30
    rule = MembersExpiry(("session:{{user}}:{member}",), index="tagged:{{user}}")
    assert clean(store, target("tagged:*", "set", rule), now) == 30
    assert clean(store, target("tags:*", "zset", ScoreExpiry()), now) == 30
    assert clean(store, target("m:*", "string", MsgpackExpiry(("exp",), EpochUnit.SECONDS)), now) == 15
    for user in range(30):
        assert cluster.smembers(f"user:{user}") == cluster.smembers(f"tagged:{{{user}}}") == {b"live"}
        assert cluster.zrange(f"tags:{user}", 0, -1) == [b"live"]


def test_elements_of_arrays_whose_keys_are_on_other_servers(store, cluster, now, monkeypatch):
    monkeypatch.setattr(elements, "SETTLE_SECONDS", 0)
    names = [f"k{n}" for n in range(60)]
    for user in range(6):
        cluster.set(f"list:{user}", json.dumps(names), ex=500)
    for name in names[::3]:
        cluster.set(f"key:{name}", 1)
    lists = target("list:*", "string", ElementsExpiry(members=MembersExpiry(("key:{member}",))))
    assert census(store, lists, now).expired == 6 * 40
    assert clean(store, lists, now) == 6 * 40
    assert all(json.loads(cluster.get(f"list:{user}")) == names[::3] for user in range(6))
    assert all(cluster.ttl(f"list:{user}") > 400 for user in range(6))
    for name in names[::3]:
        cluster.delete(f"key:{name}")
    assert clean(store, lists, now) == 6 * 20
    assert keys(cluster) == set()


def test_a_pointer_is_judged_by_a_record_on_another_server(store, cluster, now):
    second = int(now.timestamp())
    for n in range(60):
        dies = second + (100 if n % 3 else -100)
        cluster.hset(f"session:{n}:d", mapping={"refresh_token": f"t{n}" if n % 4 else "newer", "expires_at": dies})
        cluster.set(f"refresh_index:t{n}", f"session:{n}:d")
    cluster.set("refresh_index:dangling", "session:none:d")
    cluster.set("refresh_index:odd", "something")
    sessions = {key for key in keys(cluster) if key.startswith(b"session:")}
    live = {f"refresh_index:t{n}".encode() for n in range(60) if n % 3 and n % 4}
    assert clean(store, POINTERS, now) == 60 - len(live) + 1
    assert keys(cluster) == sessions | live | {b"refresh_index:odd"}


def test_a_slot_that_moves_during_a_pass_costs_nothing(nodes, store, cluster, now):
    second = int(now.timestamp())
    for n in range(50):
        cluster.hset(f"session:{{moving}}:{n}", "expires_at", second - 100)
        cluster.hset(f"session:{{staying}}:{n}", "expires_at", second + 100)
    assert census(store, SESSIONS, now).expired == 50
    slot = cluster.keyslot("{moving}")
    clients = [Redis(port=server.port) for server in nodes]
    ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
    owner = next(n for n, (first, last) in enumerate(SHARES) if first <= slot <= last)
    other = (owner + 1) % 3
    try:
        clients[other].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[owner])
        clients[owner].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[other])
        for n in range(50):
            clients[owner].execute_command(
                "MIGRATE", "127.0.0.1", nodes[other].port, f"session:{{moving}}:{n}", 0, 5000
            )
        assert clean(store, SESSIONS, now) == 50
    finally:
        for number in (other, owner):
            clients[number].execute_command("CLUSTER SETSLOT", slot, "STABLE")
        for client in clients:
            client.close()
    assert len(keys(cluster)) == 50


def test_the_primary_behind_a_sentinel(tmp_path):
    (tmp_path / "watched").mkdir()
    with running(valkey(), tmp_path / "watched") as watched, unused_port():
        conf = tmp_path / "sentinel.conf"
        conf.write_text(f"sentinel monitor logins 127.0.0.1 {watched.port} 1\n")
        with (
            running(valkey(), tmp_path, before=(str(conf), "--sentinel"), persistence=False) as sentinel,
            Redis(port=watched.port) as client,
        ):
            store = open_redis(config(f"redis+sentinel://127.0.0.1:{sentinel.port}/logins/0"))
            now = store.clock()
            client.hset("session:a:b", "expires_at", int(now.timestamp()) - 100)
            assert census(store, in_two_steps(SESSIONS), now).expired == 1
            store.close()
            unknown = open_redis(config(f"redis+sentinel://127.0.0.1:{sentinel.port}/nobody/0"))
            with pytest.raises(Exception, match="nobody"):
                unknown.clock()


def test_one_server_asked_as_if_it_were_alone(nodes):
    store = open_redis(config(nodes[0].url))
    assert [f.severity for f in store.preflight(SESSIONS)] == [Severity.ERROR]
    store.close()


def test_canaries_lie_on_every_server(store: RedisStore, cluster: RedisCluster, now) -> None:
    of = replace(target("s:*", "string", ValueExpiry()), canaries=CanarySettings())
    here = store.canaries(of)
    assert here.refusals() == []
    several = here.make([each for _ in range(10) for each in wanted(CanarySettings(), now, None, HOUR, now)])
    here.plant(several, now)
    assert clean(store, of, now) == 0
    gone = {each.kind for each in several if each.mark not in here.present(several)}
    assert gone == {CanaryKind.EXPIRED} and len(here.present(several)) == 40
    here.remove(several)
    assert here.present(several) == frozenset()


def test_the_shapes_of_keys_of_all_primaries(store, cluster, now):
    for number in range(60):
        cluster.hset(f"session:{number}", "ends", int(now.timestamp()))
    (seen,) = store.describe()
    assert (seen.name, seen.sampled, seen.key_type) == ("session:*", 60, "hash")
    assert [(field.name, field.unit) for field in seen.fields] == [("ends", EpochUnit.SECONDS)]


@pytest.mark.parametrize("answer", (5, 6, 7))
def test_a_script_whose_answer_is_lost_is_not_sent_again(nodes, cluster, answer):
    """By the driver: what it removed the first time would be in no figure."""
    proxies = [Proxy(("127.0.0.1", server.port)) for server in nodes]
    clients = [Redis(port=server.port) for server in nodes]
    opened = open_redis(config(f"redis+cluster://127.0.0.1:{nodes[0].port}/0"))
    try:
        for client, proxy in zip(clients, proxies, strict=True):
            client.config_set("cluster-announce-port", proxy.port)
        for n in range(400):
            cluster.hset(f"session:u:{n}", "expires_at", 1_700_000_000)
        now = opened.clock()
        work = opened.plan(SESSIONS, now, Census())
        for way in proxies:
            way.count()
            way.at(DOWN, answer, lambda proxy=way: proxy.cut(reset=True))
        limits = Limits(pause=timedelta(0), attempts=1)
        outcomes = [clean_shard(opened, SESSIONS, work, s, now, limits, Watch(lambda _: None)) for s in work.shards]
        for proxy in proxies:
            proxy.disarm()
        lost = 400 - len(keys(cluster))
        deleted = sum(outcome.tally.deleted for outcome in outcomes)
        assert deleted <= lost <= deleted + sum(outcome.tally.uncertain for outcome in outcomes)
    finally:
        opened.close()
        for client in clients:
            client.config_set("cluster-announce-port", 0)
        # The others go on naming the proxy until it has got about, and who asks them next would be sent there.
        wait_for(
            "the ports of before", lambda: all(_ports(client) == {each.port for each in nodes} for client in clients)
        )
        for client, proxy in zip(clients, proxies, strict=True):
            client.close()
            proxy.close()


def _ports(client: Redis) -> set[int]:
    return {int(address.split(":")[1].split("@")[0]) for address in client.execute_command("CLUSTER NODES")}


def test_a_cluster_that_cannot_be_reached_is_unavailable_and_no_traceback():
    """What redis-py raises of a cluster as a whole is none of its RedisErrors."""
    with unused_port() as port:
        store = open_redis(config(f"redis+cluster://127.0.0.1:{port}/0"))
        with pytest.raises(UnavailableError, match="cannot reach"):
            store.clock()
        store.close()


def test_a_cluster_that_goes_away_within_a_pass_is_unavailable(nodes, cluster):
    """The lost connection makes redis-py look for the others, and what it says is that there are none."""
    proxies = [Proxy(("127.0.0.1", server.port)) for server in nodes]
    clients = [Redis(port=server.port) for server in nodes]
    opened = open_redis(config(f"redis+cluster://127.0.0.1:{nodes[0].port}/0"))
    try:
        for client, proxy in zip(clients, proxies, strict=True):
            client.config_set("cluster-announce-port", proxy.port)
        wait_for("all by the proxies", lambda: all(_ports(c) == {p.port for p in proxies} for c in clients))
        cluster.hset("session:u:1", "expires_at", 1_700_000_000)
        opened.close()
        opened = open_redis(config(f"redis+cluster://127.0.0.1:{proxies[0].port}/0"))
        now = opened.clock()
        work = opened.plan(SESSIONS, now, Census())
        for proxy in proxies:
            proxy.refusing = True
            proxy.cut(reset=False)
        for shard in work.shards:
            with pytest.raises(UnavailableError) as caught:
                opened.delete_batch(SESSIONS, work, shard, None, 100, now)
            assert caught.value.at_most is None
    finally:
        opened.close()
        for client in clients:
            client.config_set("cluster-announce-port", 0)
        wait_for(
            "the ports of before", lambda: all(_ports(client) == {each.port for each in nodes} for client in clients)
        )
        for client, proxy in zip(clients, proxies, strict=True):
            client.close()
            proxy.close()
