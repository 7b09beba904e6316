"""What stands in the way of cleaning a Redis target, found out without changing anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import MAX_BATCH, KeySource, Target
from cleanup_pipeline.model.words import Mode, Severity
from cleanup_pipeline.stores.redis.connection import send
from cleanup_pipeline.stores.redis.faults import translated
from cleanup_pipeline.stores.redis.glob import example, literal_bytes
from cleanup_pipeline.stores.redis.rules import Rule
from cleanup_pipeline.stores.redis.sweep import START, pages

OLDEST = (6, 2)
LOOK_SECONDS = 1.0
"""How long to look for a first key of the target before giving up without a word."""


@dataclass(frozen=True, slots=True)
class Server:
    """What HELLO says; every login may send it, whatever its ACL."""

    name: str
    version: tuple[int, ...]
    mode: str
    role: str


def inspect(client: Redis, config: StoreConfig, target: Target, rule: Rule) -> list[Finding]:
    """The findings about one target. Raises the protocol's faults."""
    findings = list(_pattern(target, rule.source))
    with translated(config, target, command="hello"):
        server = _hello(client)
    findings += _server(server, config)
    if any(finding.severity is Severity.ERROR for finding in findings):
        return findings
    _permissions(client, config, target, rule)
    with translated(config, target):
        findings += _eviction(client)
        findings += _presence(client, rule.source)
    return findings


def _pattern(target: Target, source: KeySource) -> Iterator[Finding]:
    if literal_bytes(source.pattern.encode()) == 0:
        yield Finding(
            Severity.ERROR,
            f"targets.{target.name}: the key pattern {source.pattern} matches every key of the database",
            "name the prefix that the keys have, such as session:*",
        )


def _hello(client: Redis) -> Server | None:
    try:
        answer: Any = send(client, "HELLO")
    except NoPermissionError:
        raise
    except ResponseError as fault:
        if "unknown command" in str(fault).lower():
            return None
        raise
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    said = {_text(key): _text(value) for key, value in pairs if isinstance(value, bytes | str)}
    version = tuple(int(part) for part in said.get("version", "0").split(".") if part.isdigit())
    return Server(said.get("server", "redis"), version, said.get("mode", "standalone"), said.get("role", "master"))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _server(server: Server | None, config: StoreConfig) -> Iterator[Finding]:
    place = f"stores.{config.name}.url: {config.where}"
    if server is None:
        yield Finding(
            Severity.ERROR,
            f"{place} does not know HELLO: a server older than Redis 6.2, or a proxy",
            "upgrade to Redis 6.2 or later, or to Valkey, and connect to it directly",
        )
        return
    if server.name != "valkey" and server.version < OLDEST:
        yield Finding(
            Severity.ERROR,
            f"{place} is {server.name} {'.'.join(map(str, server.version))}, older than 6.2",
            "upgrade to Redis 6.2 or later, or to Valkey",
        )
    if server.mode == "cluster":
        yield Finding(
            Severity.ERROR,
            f"{place} is part of a Redis Cluster: this release cleans standalone servers",
            "point the URL at a standalone server",
        )
    elif server.mode == "sentinel":
        yield Finding(
            Severity.ERROR,
            f"{place} is a Sentinel, which holds no sessions",
            "point the URL at the primary that it watches",
        )
    if server.role in ("replica", "slave"):
        yield Finding(Severity.ERROR, f"{place} is a read-only replica", "point the URL at the primary")


def _permissions(client: Redis, config: StoreConfig, target: Target, rule: Rule) -> None:
    """Run every command that a pass needs, on a key that cannot exist: each then answers without any effect."""
    nobody = example(rule.source.pattern.encode(), uuid4().hex.encode())
    probes: list[tuple[str | bytes | int, ...]] = [
        ("TIME",),
        ("SCAN", START, "MATCH", nobody, "COUNT", 1, "TYPE", rule.source.key_type),
        ("TYPE", nobody),
        ("PTTL", nobody),
    ]
    probes += [("GET", nobody) if read == "get" else (read.upper(), nobody, "x") for read in rule.reads]
    probes += [("EVALSHA", "0" * 40, 0), ("EVAL", "return 0", 0)]
    if target.mode is Mode.DELETE:
        probes.append(("UNLINK", nobody))
        if rule.repairs:
            probes.append(("PEXPIREAT", nobody, 1))
    for probe in probes:
        with translated(config, target, command=str(probe[0]).lower()):
            try:
                send(client, *probe)
            except NoScriptError:
                # There is no such script, but EVALSHA is allowed, which was the question.
                continue


def _eviction(client: Redis) -> Iterator[Finding]:
    try:
        memory = client.info("memory")
    except NoPermissionError:
        return
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if not int(memory.get("maxmemory", 0)):
        return
    if policy == "noeviction":
        yield Finding(Severity.INFO, "maxmemory-policy is noeviction: when memory is full, logins fail, not old keys")
    elif policy.startswith("allkeys-"):
        yield Finding(
            Severity.INFO, f"maxmemory-policy is {policy}: the server may evict live sessions of its own accord"
        )


def _presence(client: Redis, source: KeySource) -> Iterator[Finding]:
    if _first(client, source, any_type=False) != b"":
        return
    other = _first(client, source, any_type=True)
    if other is None:
        return
    if other:
        kind = _text(send(client, "TYPE", other))
        if kind not in ("none", source.key_type):
            yield Finding(
                Severity.INFO,
                f"no key of type {source.key_type} matches {source.pattern}, but one of type {kind} does",
                "check the target's `type`",
            )
        return
    yield Finding(Severity.INFO, f"no key matches {source.pattern}", "nothing to do, unless the pattern is mistaken")


def _first(client: Redis, source: KeySource, *, any_type: bool) -> bytes | None:
    """A first key of the target; b"" when there is none; None when looking for it took too long."""
    deadline = monotonic() + LOOK_SECONDS
    for page in pages(client, source, START, MAX_BATCH, any_type=any_type):
        if page.keys:
            return page.keys[0]
        if page.following != START and monotonic() > deadline:
            return None
    return b""
