"""What a value is like: which paths it has and what kind of thing is at each, without the thing."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS
from cleanup_pipeline.stores.redis.msgpack import unpack

DEEPEST = 3
MOST_PATHS = 200
_JDK = b"\xac\xed\x00\x05t"
_NUMBER = re.compile(rb"-?\d{1,20}")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")


def shape_of(content: bytes | Mapping[bytes, bytes]) -> dict[str, str]:
    """Path -> kind of a JSON or msgpack object, or of a hash; of anything else the kind at the path ""."""
    if isinstance(content, Mapping):
        return {name.decode("utf-8", "replace"): _kind(_parsed(value)) for name, value in content.items()}
    value = _parsed(content)
    found = {"": _kind(value)}
    for path, kind in _paths(value, "", 0):
        found[path] = kind
        if len(found) > MOST_PATHS:
            break
    return found


def _parsed(content: bytes) -> Any:
    if _NUMBER.fullmatch(content):
        return int(content)
    if content[:1] in (b"{", b"[", b'"'):
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            return content
    if content[:1] and (0x80 <= content[0] <= 0x8F or content[0] in (0xDE, 0xDF)):
        try:
            return unpack(content)
        except ValueError:
            return content
    return content.decode("utf-8", "replace")


def _paths(value: Any, above: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict) or depth >= DEEPEST:
        return
    for name, inner in value.items():
        if not isinstance(name, str):
            continue
        path = f"{above}.{name}" if above else name
        yield path, _kind(inner)
        yield from _paths(inner, path, depth + 1)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case dict():
            return "object"
        case list():
            return "array"
        case int() | float():
            return instant_unit(value) or "number"
        case datetime():
            return "iso"
        case str() if _ISO.match(value):
            return "iso"
        case _:
            return "text"


def instant_unit(value: float) -> str | None:
    """s or ms, where the number is an instant between 2001 and 2100 in that unit since 1970."""
    if FIRST_PLAUSIBLE_SECONDS <= value < LAST_PLAUSIBLE_SECONDS:
        return "s"
    if FIRST_PLAUSIBLE_SECONDS * 1000 <= value < LAST_PLAUSIBLE_SECONDS * 1000:
        return "ms"
    return None


def instants_in(scores: Sequence[float]) -> str | None:
    """The unit of most of the scores that are instants, where a third of all are."""
    units = [unit for unit in map(instant_unit, scores) if unit is not None]
    if not units or 3 * len(units) < len(scores):
        return None
    return max(("s", "ms"), key=units.count)


def codec_of(members: Sequence[bytes]) -> str:
    """How most members are written: jdk, json or raw."""
    jdk = sum(member.startswith(_JDK) for member in members)
    quoted = sum(member[:1] == b'"' and member[-1:] == b'"' for member in members)
    return "jdk" if 2 * jdk > len(members) else "json" if 2 * quoted > len(members) else "raw"


def decoded(member: bytes, codec: str) -> str | None:
    """The text of a member; None where it is written otherwise."""
    try:
        if codec == "jdk":
            return member[len(_JDK) + 2 :].decode() if member.startswith(_JDK) else None
        text = json.loads(member) if codec == "json" else member.decode()
        return text if isinstance(text, str) else None
    except ValueError:
        return None
