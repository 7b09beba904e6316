"""Rules and guards of MongoDB and Redis in words."""

from collections.abc import Callable
from datetime import timedelta

from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.rules import FieldGuard, FieldTest
from cleanup_pipeline.model.target import (
    ElementsExpiry,
    Expiry,
    FieldExpiry,
    HashFieldExpiry,
    JsonExpiry,
    JwtKeyExpiry,
    MembersExpiry,
    MsgpackExpiry,
    NativeTtl,
    PointerExpiry,
    ScoreExpiry,
    ValueExpiry,
)
from cleanup_pipeline.model.words import EpochUnit

UNITS = {EpochUnit.SECONDS: "seconds", EpochUnit.MILLISECONDS: "milliseconds", EpochUnit.NANOSECONDS: "nanoseconds"}


def key_rule_words(rule: Expiry, length: Callable[[timedelta], str] = format_duration) -> str:
    """When a document, an element of one, a key or a member of one dies."""
    match rule:
        case FieldExpiry():
            return _field_words(rule, length)
        case HashFieldExpiry(field=name, unit=unit):
            return f"when the field `{name}` (epoch {UNITS[unit]}) of the hash has passed"
        case JsonExpiry(path=path, unit=unit, ttl_wins=ttl_wins):
            return f"when `{'.'.join(path)}` ({_kind(unit)}) of its JSON has passed" + _without_ttl(ttl_wins)
        case MsgpackExpiry(path=path, unit=unit, ttl_wins=ttl_wins):
            return f"when `{'.'.join(path)}` ({_kind(unit)}) of its MessagePack has passed" + _without_ttl(ttl_wins)
        case ValueExpiry(unit=unit):
            return f"when its value (epoch {UNITS[unit]}) has passed"
        case PointerExpiry(target_prefix=prefix, matches=matches):
            gone = f"when the `{prefix}...` that it names is gone"
            return gone if matches is None else f"{gone} or has expired, or has another `{matches}`"
        case JwtKeyExpiry():
            return "when `exp` of the JWT in its key has passed"
        case NativeTtl():
            return "by its own TTL alone; keys without one are counted and left"
        case MembersExpiry():
            return _member_words(rule)
        case ScoreExpiry(unit=unit, above=above, members=members):
            words = f"each member when its score (epoch {UNITS[unit]}, above {above:g}) has passed"
            return words if members is None else f"{words}, and {_gone(members)}"
        case ElementsExpiry():
            return _element_words(rule)
        case _:
            return f"by its {type(rule).__name__.removesuffix('Expiry')}"


def field_guard_words(guard: FieldGuard) -> str:
    """Which documents a guard lets go, after "only"."""
    name, values = f"`{guard.field}`", " or ".join(f"`{value}`" for value in guard.values)
    match guard.test:
        case FieldTest.IN:
            return f"where {name} is {values}" + (" or missing" if guard.or_missing else "")
        case FieldTest.EXISTS:
            return f"where {name} is there"
        case FieldTest.MISSING:
            return f"where {name} is missing"
        case FieldTest.LACKS:
            return f"where {name} is text without {values}"
        case FieldTest.AT_LEAST:
            return f"where {name} is {values} or more"


def _field_words(rule: FieldExpiry, length: Callable[[timedelta], str]) -> str:
    kind = f"epoch {UNITS[rule.unit]}" if rule.unit else "a date"
    if rule.or_unit:
        kind += f", or epoch {UNITS[rule.or_unit]}"
    plain = rule.unit is None and rule.or_unit is None
    named = f"`{rule.field}`" + ("" if plain else f" ({kind})")
    element = f"each element of `{rule.pull}` " if rule.pull else ""
    if rule.lifetime:
        return f"{element}{length(rule.lifetime)} after {named}"
    return f"{element}when {named} has passed"


def _member_words(rule: MembersExpiry) -> str:
    return f"each member when {_gone(rule)}"


def _element_words(rule: ElementsExpiry) -> str:
    ends = [] if rule.path is None else [f"its `{'.'.join(rule.path)}` ({_kind(rule.unit)}) has passed"]
    if rule.members is not None:
        named = f", which is its `{'.'.join(rule.member)}`" if rule.member else ""
        ends.append(_gone(rule.members).replace("it is the `{member}`", f"it is the `{{member}}`{named}"))
    return f"each element of its JSON array when {' and '.join(ends)}"


def _gone(rule: MembersExpiry) -> str:
    codecs = {"raw": "", "utf8": "", "json": ", a JSON string", "jdk": ", as Java serializes it"}
    keys = " and ".join(f"`{key}`" for key in rule.keys)
    return f"{keys} {'is' if len(rule.keys) == 1 else 'are'} gone (it is the `{{member}}`{codecs.get(rule.codec, '')})"


def _kind(unit: EpochUnit | None) -> str:
    return f"epoch {UNITS[unit]}" if unit else "ISO 8601"


def _without_ttl(ttl_wins: bool) -> str:
    return "; a key that has a TTL is left to it" if ttl_wins else ""
