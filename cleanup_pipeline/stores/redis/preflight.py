"""What stands in the way of cleaning a Redis target, found out without changing anything."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from uuid import uuid4

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import MAX_BATCH, KeySource, Target
from cleanup_pipeline.model.words import Mode, Severity
from cleanup_pipeline.stores.redis.connection import Client, in_cluster, primaries, send
from cleanup_pipeline.stores.redis.containers import Containers
from cleanup_pipeline.stores.redis.faults import translated
from cleanup_pipeline.stores.redis.glob import example, literal_bytes
from cleanup_pipeline.stores.redis.members import Members, glob_of
from cleanup_pipeline.stores.redis.rules import Rule
from cleanup_pipeline.stores.redis.scan import START, pages

Probe = tuple[str | bytes | int, ...]
_REST: Mapping[str, tuple[str | int, ...]] = {
    "hget": ("x",),
    "hstrlen": ("x",),
    "hexists": ("x",),
    "hmget": ("x",),
    "getrange": (0, 0),
}
"""What follows the key in a command that reads."""
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


def inspect(client: Client, config: StoreConfig, target: Target, rule: Rule) -> list[Finding]:
    """The findings about one target. Raises the protocol's faults."""
    probes, changes = probes_of(rule)
    return _inspect(client, config, target, rule.source, probes, changes)


def probes_of(rule: Rule) -> tuple[list[Probe], list[Probe]]:
    """The commands that a pass sends, on a key that cannot exist: those that read, and those that change."""
    nobody = example(rule.source.pattern.encode(), uuid4().hex.encode())
    probes: list[Probe] = [("PTTL", nobody)]
    probes += [(read.upper(), nobody, *_REST.get(read, ())) for read in rule.reads]
    changes: list[Probe] = [("UNLINK", nobody)]
    if rule.repairs:
        changes.append(("PEXPIREAT", nobody, 1))
    return probes, changes


def inspect_containers(client: Client, config: StoreConfig, target: Target, walk: Containers) -> list[Finding]:
    """The same for a target whose records are members of keys."""
    probes, changes = container_probes(walk)
    findings = _inspect(client, config, target, walk.source, probes, changes)
    if walk.members is not None and not any(finding.severity is Severity.ERROR for finding in findings):
        with translated(config, target):
            findings += _named_keys(client, target, walk.source, walk.members)
    return findings


def container_probes(walk: Containers) -> tuple[list[Probe], list[Probe]]:
    """As `probes_of`."""
    nobody = example(walk.source.pattern.encode(), uuid4().hex.encode())
    kind = walk.source.key_type
    probes: list[Probe] = []
    if walk.elements is not None:
        probes += [("STRLEN", nobody), ("GET", nobody)]
    elif walk.bounds is not None:
        probes += [("ZRANGEBYSCORE", nobody, 0, 1), ("ZCOUNT", nobody, 0, 1)]
    elif walk.members is not None:
        scan = {"set": "SSCAN", "hash": "HSCAN", "zset": "ZSCAN"}.get(kind)
        probes += [(scan, nobody, 0)] if scan else [("LLEN", nobody), ("LRANGE", nobody, 0, 0)]
    if walk.members is not None:
        probes += [("EXISTS", name) for name in walk.members.examples(nobody)]
    remove = {"set": "SREM", "hash": "HDEL", "zset": "ZREM"}.get(kind)
    changes: list[Probe] = [(remove, nobody, "x") if remove else ("LREM", nobody, -1, "x")]
    if walk.elements is not None:
        # Written only where the key is there, which it is not.
        changes = [("UNLINK", nobody), ("SET", nobody, "x", "XX", "KEEPTTL")]
    return probes, changes


def _inspect(
    client: Client,
    config: StoreConfig,
    target: Target,
    source: KeySource,
    probes: Sequence[Probe],
    changes: Sequence[Probe],
) -> list[Finding]:
    findings = list(_pattern(target, source))
    with translated(config, target, command="hello"):
        server = _hello(client)
    findings += _server(server, config, clustered=in_cluster(client))
    if any(finding.severity is Severity.ERROR for finding in findings):
        return findings
    _permissions(client, config, target, source, [*probes, *(changes if target.mode is Mode.DELETE else ())])
    with translated(config, target):
        findings += _eviction(client)
        findings += _presence(client, source)
    return findings


def _named_keys(client: Client, target: Target, source: KeySource, members: Members) -> Iterator[Finding]:
    """A mistaken template makes every member look as if its key were gone."""
    if _first(client, source, any_type=False) in (b"", None):
        return
    patterns = [glob_of(template) for template in members.keys]
    if any(_first(client, replace(source, pattern=p, exclude=()), any_type=True) != b"" for p in patterns):
        return
    yield Finding(
        Severity.ERROR,
        f"targets.{target.name}.expires: no key matches {' or '.join(patterns)}, so every member would be removed",
        "correct the template; if all those keys are really gone, the containers can be deleted as they are",
        code="redis.template",
    )


def _pattern(target: Target, source: KeySource) -> Iterator[Finding]:
    if literal_bytes(source.pattern.encode()) == 0:
        yield Finding(
            Severity.ERROR,
            f"targets.{target.name}: the key pattern {source.pattern} matches every key of the database",
            "name the prefix that the keys have, such as session:*",
            code="redis.pattern",
        )


def _hello(client: Client) -> Server | None:
    try:
        answer: Any = send(client, "HELLO", node=primaries(client)[0])
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


def _server(server: Server | None, config: StoreConfig, *, clustered: bool) -> Iterator[Finding]:
    place = f"{config.url_setting}: {config.where}"
    if server is None:
        yield Finding(
            Severity.ERROR,
            f"{place} does not know HELLO: a server older than Redis 6.2, or a proxy",
            "upgrade to Redis 6.2 or later, or to Valkey, and connect to it directly",
            code="redis.old",
        )
        return
    if server.name != "valkey" and server.version < OLDEST:
        yield Finding(
            Severity.ERROR,
            f"{place} is {server.name} {'.'.join(map(str, server.version))}, older than 6.2",
            "upgrade to Redis 6.2 or later, or to Valkey",
            code="redis.version-old",
        )
    if server.mode == "cluster" and not clustered:
        yield Finding(
            Severity.ERROR,
            f"{place} is part of a Redis Cluster, and one server of it holds only a share of the keys",
            f"write the URL as redis+cluster://{config.where.split('/')[0]}",
            code="redis.cluster-node",
        )
    elif server.mode == "sentinel":
        yield Finding(
            Severity.ERROR,
            f"{place} is a Sentinel, which holds no sessions",
            "point the URL at the primary that it watches",
            code="redis.sentinel",
        )
    if server.role in ("replica", "slave"):
        yield Finding(
            Severity.ERROR, f"{place} is a read-only replica", "point the URL at the primary", code="redis.replica"
        )


def common_probes(source: KeySource) -> list[Probe]:
    """What every target's pass sends."""
    nobody = example(source.pattern.encode(), uuid4().hex.encode())
    scan: Probe = ("SCAN", START, "MATCH", nobody, "COUNT", 1, "TYPE", source.key_type)
    scripts: list[Probe] = [("EVALSHA", "0" * 40, 1, nobody), ("EVAL", "return 0", 1, nobody)]
    return [("TIME",), scan, ("TYPE", nobody), *scripts]


def _permissions(
    client: Client, config: StoreConfig, target: Target, source: KeySource, wanted: Sequence[Probe]
) -> None:
    """Run every command that a pass needs, on a key that cannot exist: each then answers without any effect."""
    node = primaries(client)[0]
    for probe in [*common_probes(source), *wanted]:
        with translated(config, target, command=str(probe[0]).lower()):
            try:
                send(client, *probe, node=node if probe[0] in ("TIME", "SCAN") else "")
            except NoScriptError:
                # There is no such script, but EVALSHA is allowed, which was the question.
                continue


def _eviction(client: Client) -> Iterator[Finding]:
    try:
        memory = send(client, "INFO", "memory", node=primaries(client)[0])
    except NoPermissionError:
        return
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if not int(memory.get("maxmemory", 0)):
        return
    if policy == "noeviction":
        yield Finding(
            Severity.INFO,
            "maxmemory-policy is noeviction: when memory is full, logins fail, not old keys",
            code="redis.evicts-nothing",
        )
    elif policy.startswith("allkeys-"):
        yield Finding(
            Severity.INFO,
            f"maxmemory-policy is {policy}: the server may evict live sessions of its own accord",
            code="redis.evicts",
        )


def _presence(client: Client, source: KeySource) -> Iterator[Finding]:
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
                code="redis.type",
            )
        return
    yield Finding(
        Severity.INFO,
        f"no key matches {source.pattern}",
        "nothing to do, unless the pattern is mistaken",
        code="redis.no-key",
    )


def _first(client: Client, source: KeySource, *, any_type: bool) -> bytes | None:
    """A first key of the target; b"" when there is none; None when looking for it took too long."""
    deadline = monotonic() + LOOK_SECONDS
    for node in primaries(client):
        for page in pages(client, source, START, MAX_BATCH, any_type=any_type, node=node):
            if page.keys:
                return page.keys[0]
            if page.following != START and monotonic() > deadline:
                return None
    return b""
