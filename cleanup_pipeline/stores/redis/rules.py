"""The expiry rule of a target as one Lua script with its arguments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cleanup_pipeline.model.canary import CANARY_PREFIX
from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    KeySource,
    MsgpackExpiry,
    NativeTtl,
    PointerExpiry,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis.scripts import Script, load_script

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCRIPT_MS = 2
"""How long one script may keep the server from its other clients, in ms of CPU time, where the server can tell."""
_SPECIAL = frozenset("*?[]\\^")
SLICE = 250
"""Most keys that one script is given, whatever the rule; a hash takes about 5 microseconds (Redis 6.2 to Valkey 9)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a target needs of the server: its keys, its script, and the commands that the script calls."""

    source: KeySource
    script: Script
    options: tuple[str, ...]
    reads: tuple[str, ...]
    """Commands that read a value, in lower case."""
    slice: int = SLICE
    """Most keys that one script is given."""
    repairs: bool = True
    ttl_wins: bool = False

    def arguments(
        self, target: Target, cutoff: datetime, *, mode: str, limit: int, walk: int | None = None, count: int = 0
    ) -> list[str | int]:
        """ARGV of the script, with one of the modes of lua/prologue.lua. `limit` is the most keys that it may remove.

        With `walk`, a cursor of SCAN, the script finds its keys itself, about `count` of them.
        """
        return [
            mode,
            epoch_ms(cutoff),
            self.source.key_type,
            target.grace // timedelta(milliseconds=1) if self.repairs else "",
            limit,
            SCRIPT_MS,
            int(self.ttl_wins),
            "" if walk is None else walk,
            self.source.pattern,
            # SCAN names somewhat more than it was asked for; those would take a script of their own.
            max(1, count * 4 // 5),
            self.slice,
            "" if target.since is None else epoch_ms(target.since),
            "" if target.canaries is None else CANARY_PREFIX,
            target.owner or "",
            *self.options,
        ]


def epoch_ms(instant: datetime) -> int:
    """Whole milliseconds since 1970, rounded down: a cutoff a little too early keeps, one too late would remove."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def _script(*fragments: str) -> Script:
    return load_script("fence", "prologue", *fragments, "loop")


def compile_rule(target: Target) -> Rule:
    """The rule of a Redis target.

    Raises StoreError when source, type and rule do not fit together, and for `where`, which no key has.
    """
    source = target.source
    place = f"targets.{target.name}"
    if not isinstance(source, KeySource):
        raise StoreError(
            f"{target.source_name} is not a Redis key pattern", setting=place, remedy="set `keys` to a glob pattern"
        )
    if target.where:
        raise StoreError("Redis keys have no columns to filter by", setting=f"{place}.where", remedy="remove `where`")
    rule, needed = _for_expiry(target, source)
    if needed is not None and source.key_type != needed:
        raise StoreError(
            f"the expiry rule reads a {needed}, but the keys are of type {source.key_type}",
            setting=f"{place}.type",
            remedy=f"set `type: {needed}` or choose another expiry rule",
        )
    rule = replace(rule, reads=tuple(dict.fromkeys((*rule.reads, *_read_to_keep(target, source)))))
    return replace(rule, source=_sparing(source, target.spared)) if target.spared else rule


def _read_to_keep(target: Target, source: KeySource) -> tuple[str, ...]:
    """Commands that read what is entered or kept of a key that goes."""
    words: list[str] = []
    if target.owner is not None and (target.removals or target.quarantine):
        words += ["hstrlen", "hget", "hmget"] if source.key_type == "hash" else ["strlen", "get"]
    if target.quarantine:
        words += ["dump", "strlen" if source.key_type == "string" else "hlen"]
    return tuple(words)


def _sparing(source: KeySource, keys: Sequence[str]) -> KeySource:
    """The source, less these keys. Only where candidates are looked for: leases go by the target's own source."""
    globs = ("".join(f"\\{char}" if char in _SPECIAL else char for char in key) for key in keys)
    return replace(source, exclude=(*source.exclude, *globs))


def _for_expiry(target: Target, source: KeySource) -> tuple[Rule, str | None]:
    match target.expiry:
        case HashFieldExpiry(field=field, unit=unit, repair_ttl=repairs):
            script = _script("number", "hash_field")
            reads = ("hstrlen", "hget", *(("hexists",) if source.required_fields else ()))
            options = (field, unit.value, *source.required_fields)
            return Rule(source, script, options, reads, repairs=repairs), "hash"
        case ValueExpiry(unit=unit):
            return Rule(source, _script("number", "value"), (unit.value,), ("strlen", "get")), "string"
        case JsonExpiry(path=path, unit=json_unit) as json:
            options = (json_unit.value if json_unit else "iso", *path)
            script = _script("number", "json", "instant", "json_path")
            return Rule(source, script, options, ("strlen", "get"), slice=80, ttl_wins=json.ttl_wins), "string"
        case MsgpackExpiry(path=path, unit=packed_unit) as packed:
            options = (packed_unit.value if packed_unit else "iso", *path)
            script = _script("json", "msgpack_path")
            reads = ("strlen", "get", "getrange")
            return Rule(source, script, options, reads, slice=50, ttl_wins=packed.ttl_wins), "string"
        case PointerExpiry(prefix=prefix, target_prefix=target_prefix, matches=matches, expires=expires):
            script = _script("number", "pointer")
            if expires is None:
                options = (prefix, target_prefix, "", "", "", "0")
                return Rule(source, script, options, ("strlen", "get"), slice=200, repairs=False), "string"
            options = (prefix, target_prefix, matches or "", expires.field, expires.unit.value, "0")
            return Rule(source, script, options, ("strlen", "get", "hstrlen", "hget"), slice=200), "string"
        case JwtKeyExpiry(prefix=prefix):
            return Rule(source, _script("json", "base64url", "jwt_key"), (prefix,), (), slice=25), None
        case NativeTtl():
            return Rule(source, _script("native_ttl"), (), (), repairs=False), None
        case other:
            raise StoreError(
                f"{type(other).__name__} is not an expiry rule of Redis",
                setting=f"targets.{target.name}.expires",
                remedy="use hash_field, json, msgpack, value, score, members_of, pointer, jwt_key or ttl",
            )
