"""What a person should know of a Redis server and a key pattern before anything is deleted there. Reads only.

Does not belong here: what forbids to delete (preflight.py), which every pass looks at.
"""

from collections.abc import Iterator
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.exceptions import NoPermissionError, ResponseError

from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import ElementsExpiry, KeySource, NativeTtl, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.redis.connection import Client, in_cluster, primaries, send, send_all
from cleanup_pipeline.stores.redis.scan import START, pages
from cleanup_pipeline.stores.tls import tls_findings

SAMPLE = 500
LOOK_SECONDS = 1.0
MANY_WITHOUT_TTL = 0.1
NEARLY_FULL = 0.9
_NO = frozenset({"false", "no", "0", "n", "f"})


def way(url: str) -> Iterator[Finding]:
    """What is worth knowing of the way to the server."""
    scheme, _, rest = url.partition("://")
    parts = urlsplit(f"redis://{rest.rpartition('@')[2]}")
    said = {key: values[-1].lower() for key, values in parse_qs(parts.query).items()}
    hosts = [""] if scheme == "unix" else [_host(each) for each in parts.netloc.split(",")]
    encrypted = scheme.partition("+")[0] == "rediss"
    unchecked = said.get("ssl_cert_reqs", "required") != "required" or said.get("ssl_check_hostname", "true") in _NO
    remedy = "take ssl_cert_reqs and ssl_check_hostname out of the URL" if encrypted else "write rediss:// into the URL"
    yield from tls_findings(hosts, encrypted=encrypted, verified=not unchecked, remedy=remedy)


def _host(place: str) -> str:
    return place.partition("]")[0] if place.startswith("[") else place.partition(":")[0]


def server(client: Client) -> Iterator[Finding]:
    """Findings about the server; of a cluster, about its first primary."""
    node = primaries(client)[0]
    info: dict[str, Any] = {}
    for section in ("server", "memory", "replication", "persistence"):
        try:
            info |= send(client, "INFO", section, node=node)
        except (NoPermissionError, ResponseError):
            remedy = "allow +info, or take what is missing here as unknown"
            yield Finding(Severity.INFO, f"the login may not send INFO {section}", remedy, code="redis.info")
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version") or "of unknown version"
    kind = f"a cluster of {len(primaries(client))} primaries" if in_cluster(client) else "no cluster"
    yield Finding(Severity.INFO, f"{name} {version}, {kind}", code="redis.version")
    yield from _memory(info)
    yield from _replicas(info)
    if info.get("rdb_last_bgsave_status") == "err" or info.get("aof_last_write_status") == "err":
        what = "the last save to disk failed: a restart brings back what was deleted since the one before"
        yield Finding(
            Severity.WARNING, what, "see the server's log and its disk", "INFO persistence", code="redis.save"
        )


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    if "maxmemory" not in info:
        return
    limit, used, policy = int(info["maxmemory"]), int(info.get("used_memory", 0)), info.get("maxmemory_policy")
    taken = f"{used / 2**20:,.1f} MiB used"
    if not limit:
        remedy = "CONFIG SET maxmemory SIZE, so that it is not the kernel who ends the server"
        yield Finding(Severity.INFO, "maxmemory is not set", remedy, taken, code="redis.no-maxmemory")
        return
    evidence = f"{taken} of {limit / 2**20:,.1f} MiB"
    if used > NEARLY_FULL * limit:
        end = "logins fail when it is full" if policy == "noeviction" else "live sessions are evicted when it is full"
        yield Finding(
            Severity.WARNING,
            f"memory is nearly full ({policy}): {end}",
            "raise maxmemory",
            evidence,
            code="redis.memory",
        )
    else:
        yield Finding(Severity.INFO, f"maxmemory-policy is {policy}", "", evidence, code="redis.eviction")


def _replicas(info: dict[str, Any]) -> Iterator[Finding]:
    replicas = [value for key, value in info.items() if key.startswith("slave") and isinstance(value, dict)]
    if not replicas:
        return
    offline = [each for each in replicas if each.get("state") != "online"]
    lag = max((int(each.get("lag", 0)) for each in replicas if each.get("state") == "online"), default=0)
    severity = Severity.WARNING if offline or lag > 10 else Severity.INFO
    what = f"{len(replicas)} replica(s), {len(offline)} not online, {lag} s behind at most"
    yield Finding(
        severity, what, "deleting waits while a replica is further behind than max_replica_lag", code="redis.replicas"
    )


def keys(client: Client, target: Target) -> Iterator[Finding]:
    """Findings about a sample of the target's keys; SCAN ends after LOOK_SECONDS at the latest."""
    source = target.source
    assert isinstance(source, KeySource)  # noqa: S101 - of this store's targets
    looked, without = _sample(client, source)
    if not looked:
        return
    evidence = f"{without} of {looked} keys looked at"
    if without > MANY_WITHOUT_TTL * looked:
        native = isinstance(target.expiry, NativeTtl)
        end = "they stay for ever" if native else "only a pass removes them"
        remedy = "set a TTL where they are written: EXPIREAT beside SET or HSET, or SET ... EXAT"
        severity = Severity.WARNING if native else Severity.INFO
        yield Finding(
            severity, f"{without / looked:.0%} of the keys have no TTL: {end}", remedy, evidence, code="redis.no-ttl"
        )
    elif without == 0:
        inside = source.key_type != "string" or isinstance(target.expiry, ElementsExpiry)
        remedy = "" if inside else "this target may have nothing to do"
        yield Finding(
            Severity.INFO,
            "every key looked at has a TTL, so that the server removes it",
            remedy,
            evidence,
            code="redis.ttl",
        )
    else:
        yield Finding(Severity.INFO, "some keys have no TTL", "", evidence, code="redis.some-ttl")


def _sample(client: Client, source: KeySource) -> tuple[int, int]:
    deadline, looked, without = monotonic() + LOOK_SECONDS, 0, 0
    for node in primaries(client):
        for page in pages(client, source, START, 100, node=node):
            # Without touching what an eviction policy goes by.
            ttls = send_all(client, [("PTTL", key) for key in page.keys[: SAMPLE - looked]])
            there = [left for left in ttls if isinstance(left, int) and left != -2]
            looked += len(there)
            without += there.count(-1)
            if looked >= SAMPLE or monotonic() > deadline:
                return looked, without
    return looked, without
