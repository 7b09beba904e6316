"""What Redis does to its clients."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.crc import key_slot

from tests.faults.bench.fault import Fault, Scene, Undo
from tests.faults.bench.redis_hosts import ClusterHost, SentinelHost


def _redis(scene: Scene) -> Any:
    return redis.Redis.from_url(scene.host.url, socket_timeout=20)


def _say(do: list[str], undo: list[str] | None = None) -> Callable[[Scene], Undo | None]:
    def run(scene: Scene) -> Undo | None:
        with _redis(scene) as client:
            client.execute_command(*do)
        if undo is None:
            return None

        def back() -> None:
            with _redis(scene) as client:
                client.execute_command(*undo)

        return back

    return run


def _busy(scene: Scene) -> Undo:
    """A script of somebody else's that does not end."""

    def loop() -> None:
        with contextlib.suppress(redis.RedisError), _redis(scene) as client:
            client.eval("while true do end", 0)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()

    def undo() -> None:
        ends = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < ends:
            with contextlib.suppress(redis.RedisError), _redis(scene) as client:
                client.execute_command("SCRIPT", "KILL")
            thread.join(0.01)

    return undo


def _loading(scene: Scene) -> None:
    """The server reads its data again, a quarter of a millisecond for each key."""
    with _redis(scene) as client:
        client.config_set("key-load-delay", "250")
        try:
            client.execute_command("DEBUG", "RELOAD")
        finally:
            client.config_set("key-load-delay", "0")


REDIS = [
    Fault("client_kill", _say(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]), weight=4, strikes=4),
    Fault("client_pause", _say(["CLIENT", "PAUSE", "300", "ALL"]), weight=1),
    Fault("script_flush", _say(["SCRIPT", "FLUSH"]), weight=2, strikes=4),
    Fault("loading", _loading, weight=3),
    Fault("readonly", _say(["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]), weight=3, longest=1.5),
    Fault(
        "oom", _say(["CONFIG", "SET", "maxmemory", "1mb"], ["CONFIG", "SET", "maxmemory", "0"]), weight=3, longest=1.5
    ),
    Fault("busy", _busy, weight=3, longest=1.5),
    Fault(
        "noreplicas",
        _say(["CONFIG", "SET", "min-replicas-to-write", "1"], ["CONFIG", "SET", "min-replicas-to-write", "0"]),
        weight=1,
    ),
]


def _fail_over(scene: Scene) -> Undo:
    host = scene.host
    assert isinstance(host, SentinelHost)
    host.fail_over()
    return host.settled


def _kill_primary(scene: Scene) -> Undo:
    host = scene.host
    assert isinstance(host, SentinelHost)
    host.kill()
    return host.settled


def _migrate(scene: Scene) -> Undo:
    """Slots with records in them move to another server, one after another."""
    host, stop = scene.host, threading.Event()
    assert isinstance(host, ClusterHost)
    names = scene.chance.sample(scene.dead, min(60, len(scene.dead)))
    slots = [key_slot(b"z:all")] if scene.shape == "score" else sorted({key_slot(f"s:{n}".encode()) for n in names})
    rest = scene.chance.choice([0.0, 0.002, 0.02])
    faults: list[Exception] = []

    def run() -> None:
        try:
            for slot in slots:
                if stop.is_set():
                    return
                host.migrate(slot, rest)
        except redis.RedisError as fault:
            faults.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def undo() -> None:
        stop.set()
        thread.join(60)
        assert not thread.is_alive() and not faults, faults
        host.agreed()

    return undo


SENTINEL = [
    Fault("failover", _fail_over, weight=12, longest=3.0, rewinds=True, forgets=True),
    Fault("primary_kill_9", _kill_primary, weight=8, longest=3.0, rewinds=True, forgets=True),
]
CLUSTER = [
    Fault("slots_move", _migrate, weight=20, longest=3.0),
]
