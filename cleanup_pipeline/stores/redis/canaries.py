"""Planted keys: their names carry the mark, by which the scripts leave them out of every count and of nothing else."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.exceptions import RedisError

from cleanup_pipeline.model.canary import CANARY_PREFIX, Canary, CanaryKind, CanarySettings
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    KeySource,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, Severity
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis.connection import Client, primaries, send
from cleanup_pipeline.stores.redis.faults import translated
from cleanup_pipeline.stores.redis.glob import example, matches
from cleanup_pipeline.stores.redis.rules import EPOCH, compile_rule
from cleanup_pipeline.stores.redis.sweep import Sweep

LEFT_FOR = timedelta(days=1)
"""TTL of a key that has to outlive the pass, where that does not change what it is: should nobody come back for it."""
_NOT_A_DATE = "cleanup-canary"


class KeyCanaries:
    """The canaries of one pattern of keys."""

    counted = False

    def __init__(self, config: StoreConfig, target: Target, client: Client) -> None:
        self._config, self._target, self._client = config, target, client

    def refusals(self) -> Sequence[Finding]:
        place = f"targets.{self._target.name}.canaries"
        problems: list[tuple[str, str]] = []
        rule = self._target.expiry
        if not isinstance(rule, HashFieldExpiry | JsonExpiry | ValueExpiry | JwtKeyExpiry):
            what = "canaries are hashes, strings with an instant in them, or JWTs, and this rule reads something else"
            problems.append((what, f"remove {place}"))
        elif not self._matches(_key(self._target, Canary("x" + CANARY_PREFIX, CanaryKind.LIVE, None))):
            problems.append(("no key that the target's patterns take could carry the mark", f"remove {place}"))
        with translated(self._config, self._target):
            evicts = [node for node in primaries(self._client) if self._evicts(node)]
        if evicts:
            what = "the server evicts keys when its memory is full, so that a missing canary would prove nothing"
            problems.append((what, f"set maxmemory-policy to noeviction, or remove {place}"))
        return [
            Finding(Severity.ERROR, f"no canary can be planted: {what}", remedy, code="canaries.refused")
            for what, remedy in problems
        ]

    def make(self, several: Sequence[Canary]) -> Sequence[Canary]:
        return [replace(each, identity={"key": _key(self._target, each)}) for each in several]

    def plant(self, several: Sequence[Canary], cutoff: datetime) -> None:
        with translated(self._config, self._target):
            for each in several:
                key = str(each.identity["key"])
                for words in _commands(self._target, each, key):
                    send(self._client, *words)
                self._require(each, key, cutoff)

    def present(self, several: Sequence[Canary]) -> frozenset[str]:
        with translated(self._config, self._target):
            return frozenset(each.mark for each in several if int(send(self._client, "EXISTS", each.identity["key"])))

    def remove(self, several: Sequence[Canary]) -> None:
        with translated(self._config, self._target):
            for each in several:
                key = str(each.identity["key"])
                if CANARY_PREFIX in key:
                    send(self._client, "UNLINK", key)

    def _matches(self, key: str) -> bool:
        source = self._target.source
        assert isinstance(source, KeySource)  # noqa: S101 - the target is one of this store
        name = key.encode()
        return matches(source.pattern.encode(), name) and not any(matches(e.encode(), name) for e in source.exclude)

    def _evicts(self, node: str) -> bool:
        try:
            memory: Any = send(self._client, "INFO", "memory", node=node)
        except RedisError:
            return False
        known = memory if isinstance(memory, dict) else _pairs(memory)
        policy, limit = str(known.get("maxmemory_policy", "")), str(known.get("maxmemory", "0"))
        return policy not in {"", "noeviction"} and limit != "0"

    def _require(self, canary: Canary, key: str, cutoff: datetime) -> None:
        """Ask the target's own script what it takes the key for. Without its mark, or it would not be counted."""
        seen = replace(self._target, canaries=None)
        sweep = Sweep(self._client, compile_rule(seen), seen, cutoff, delete=False)
        _, counts = sweep.slice([key.encode()], 1)
        wanted = {
            CanaryKind.EXPIRED: counts.expired,
            CanaryKind.WITHOUT_EXPIRY: counts.without_expiry,
            CanaryKind.UNPARSABLE: counts.unparsable,
        }.get(canary.kind, counts.live)
        if wanted != 1:
            raise StoreError(
                "no canary can be planted, so nothing was deleted: the target's rule does not take a planted key for"
                f" {canary.kind}",
                setting=f"targets.{self._target.name}.canaries",
                remedy="leave that kind out of `kinds`",
            )


def _pairs(answer: Any) -> dict[str, str]:
    lines = bytes(answer).decode(errors="replace").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _key(target: Target, canary: Canary) -> str:
    source = target.source
    assert isinstance(source, KeySource)  # noqa: S101 - the target is one of this store
    filler = canary.mark
    if isinstance(target.expiry, JwtKeyExpiry):
        claims: dict[str, Any] = {"jti": canary.mark}
        if canary.kind is CanaryKind.UNPARSABLE:
            claims["exp"] = _NOT_A_DATE
        elif canary.dies_at is not None:
            claims["exp"] = _number(canary.dies_at, EpochUnit.SECONDS)
        # The mark in the place of a signature: no verifier takes it for a token.
        filler = f"{_encoded({'alg': 'none'})}.{_encoded(claims)}.{canary.mark}"
    return example(source.pattern.encode(), filler.encode()).decode(errors="replace")


def _encoded(part: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _commands(target: Target, canary: Canary, key: str) -> list[list[str | int]]:
    values = (target.canaries or CanarySettings()).values
    written: list[list[str | int]]
    match target.expiry:
        case HashFieldExpiry(field=name, unit=unit):
            fields = {"cleanup-canary": canary.mark}
            source = target.source
            fields |= dict.fromkeys(source.required_fields if isinstance(source, KeySource) else (), canary.mark)
            fields |= {field: str(value) for field, value in values.items()}
            fields.pop(name, None)
            if canary.kind is not CanaryKind.WITHOUT_EXPIRY:
                fields[name] = _text(canary, unit)
            written = [["HSET", key, *(word for pair in fields.items() for word in pair)]]
        case ValueExpiry(unit=unit):
            written = [["SET", key, "0" if canary.kind is CanaryKind.WITHOUT_EXPIRY else _text(canary, unit)]]
        case JsonExpiry(path=path, unit=json_unit):
            document: dict[str, Any] = {"cleanup-canary": canary.mark, **values}
            if canary.kind is not CanaryKind.WITHOUT_EXPIRY:
                place = document
                for name in path[:-1]:
                    place = place.setdefault(name, {})
                place[path[-1]] = _json(canary, json_unit)
            written = [["SET", key, json.dumps(document)]]
        case _:
            written = [_of_type(target, key)]
    stays = canary.kind not in {CanaryKind.EXPIRED, CanaryKind.WITHOUT_EXPIRY}
    # Where a TTL by itself makes a key live, it would not show whether the value is read rightly.
    if stays and not (isinstance(target.expiry, JsonExpiry) and target.expiry.ttl_wins):
        written.append(["PEXPIRE", key, LEFT_FOR // timedelta(milliseconds=1)])
    return written


def _of_type(target: Target, key: str) -> list[str | int]:
    kind = target.source.key_type if isinstance(target.source, KeySource) else "string"
    by_type: dict[str, list[str | int]] = {
        "hash": ["HSET", key, "cleanup-canary", "1"],
        "set": ["SADD", key, "cleanup-canary"],
        "zset": ["ZADD", key, 1, "cleanup-canary"],
        "list": ["RPUSH", key, "cleanup-canary"],
    }
    return by_type.get(kind, ["SET", key, "cleanup-canary"])


def _text(canary: Canary, unit: EpochUnit) -> str:
    return _NOT_A_DATE if canary.dies_at is None else str(_number(canary.dies_at, unit))


def _json(canary: Canary, unit: EpochUnit | None) -> str | int:
    if canary.dies_at is None:
        return _NOT_A_DATE
    if unit is not None:
        return _number(canary.dies_at, unit)
    return canary.dies_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(at: datetime, unit: EpochUnit) -> int:
    return (at - EPOCH) // timedelta(microseconds=1) * unit.per_second // 1_000_000
