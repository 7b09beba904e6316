"""The shapes that a sample of keys has, as patterns, and where in their values an expiry may be."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from time import monotonic
from typing import Any, NamedTuple

from redis.exceptions import NoPermissionError, ResponseError

from cleanup_pipeline.model.seen import Seen, SeenField
from cleanup_pipeline.model.words import plausible_unit
from cleanup_pipeline.stores.redis.connection import Client, primaries, send
from cleanup_pipeline.stores.redis.glob import matches
from cleanup_pipeline.stores.redis.msgpack import unpack

MOST_KEYS = 3000
LOOK_SECONDS = 2.0
LOOKED_AT = 10
"""Keys of one shape whose TTL and value are read."""
MOST_BYTES = 65_536
"""Longer values are left alone."""
MOST_SHAPES = 60
DEEPEST = 4
_SEPARATOR = re.compile(r"[:/|]")
_WORD = re.compile(r"[A-Za-z][A-Za-z_.-]{0,23}")
"""A part of a key that may be a name that keys share; with a digit or an @ in it, it is somebody's."""
LEAST_KEYS = 2
"""That a word has to be seen in."""
MOST_WORDS = 8
"""That may stand in one place after the first: where there are more, they are names of somebody."""
MOST_PARTS = 8


def keys(client: Client) -> list[Seen]:
    """Shapes of keys in a sample of a few thousand, those of most keys first. Shows no part that names a record."""
    shapes = _shapes(_sample(client))
    by_type: dict[tuple[str, str], list[bytes]] = {}
    for pattern, named in sorted(shapes.items(), key=lambda each: (-len(each[1]), each[0]))[:MOST_SHAPES]:
        for key in named[:LOOKED_AT]:
            kind = send(client, "TYPE", key).decode()
            if kind != "none":
                by_type.setdefault((pattern, kind), []).append(key)
    patterns = [pattern for pattern, _ in by_type]
    return [
        _seen(client, pattern, kind, found, len(shapes[pattern]), patterns)
        for (pattern, kind), found in by_type.items()
    ]


def _sample(client: Client) -> list[str]:
    deadline, found = monotonic() + LOOK_SECONDS, dict[str, None]()
    for node in primaries(client):
        cursor = 0
        while True:
            cursor, page = send(client, "SCAN", cursor, "COUNT", 500, node=node)
            found |= dict.fromkeys(key.decode() for key in page if _is_text(key))
            cursor = int(cursor)
            if cursor == 0 or len(found) >= MOST_KEYS or monotonic() > deadline:
                break
    return list(found)[:MOST_KEYS]


def _is_text(key: bytes) -> bool:
    try:
        return key.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _shapes(names: Sequence[str]) -> Mapping[str, list[bytes]]:
    """Keys by pattern: what several have in common stands, the rest is a star, as the last part always is."""
    found: dict[str, list[bytes]] = defaultdict(list)
    keys = [_Key(name, _SEPARATOR.split(name, MOST_PARTS), _SEPARATOR.findall(name)) for name in names]
    _grow("", 0, [key for key in keys if len(key.parts) > 1], found)
    return found


class _Key(NamedTuple):
    name: str
    parts: list[str]
    separators: list[str]


def _grow(pattern: str, place: int, keys: Sequence[_Key], found: dict[str, list[bytes]]) -> None:
    """Adds the keys whose parts before `place` fit a pattern, each under the whole pattern that it falls into."""
    by_part: dict[str, list[_Key]] = defaultdict(list)
    for key in keys:
        if place == len(key.parts) - 1:
            found[f"{pattern}*"].append(key.name.encode())
        else:
            by_part[key.parts[place]].append(key)
    words = {part for part, of in by_part.items() if len(of) >= LEAST_KEYS and _WORD.fullmatch(part)}
    if place and len(words) > MOST_WORDS:
        words = set()
    next_ones: dict[str, list[_Key]] = defaultdict(list)
    for part, of in by_part.items():
        # A pattern that begins with a star would be one for the whole store.
        if part in words or place:
            shown = _escaped(part) if part in words else "*"
            for key in of:
                next_ones[f"{pattern}{shown}{key.separators[place]}"].append(key)
    for longer, of in next_ones.items():
        _grow(longer, place + 1, of, found)


def _escaped(part: str) -> str:
    return re.sub(r"([*?\[\]\\^])", r"\\\1", part)


def _seen(client: Client, pattern: str, kind: str, found: list[bytes], count: int, patterns: Sequence[str]) -> Seen:
    left = [send(client, "PTTL", key) for key in found]
    fields: dict[tuple[str, str], list[Any]] = {}
    for key in found:
        try:
            for name, place, value in _values(client, key, kind):
                fields.setdefault((name, place), []).append(value)
        except (NoPermissionError, ResponseError):
            continue
    others = [other for other in dict.fromkeys(patterns) if other != pattern and _covers(pattern, other)]
    return Seen(
        name=pattern,
        fields=tuple(_field(name, place, values) for (name, place), values in fields.items()),
        key_type=kind,
        sampled=count,
        without_ttl=sum(each == -1 for each in left),
        looked=sum(each != -2 for each in left),
        exclude=tuple(others),
    )


def _covers(pattern: str, other: str) -> bool:
    """Whether a key of the other pattern, with something in place of its stars, matches this one, too."""
    return matches(pattern.encode(), other.replace("*", "0").encode())


def _field(name: str, place: str, values: Sequence[Any]) -> SeenField:
    numbers = [float(value) for value in values if _is_number(value)]
    unit = plausible_unit(numbers) if len(numbers) == len(values) else None
    iso = bool(values) and all(isinstance(value, datetime) or _is_iso(value) for value in values)
    return SeenField(name, place, unit, iso)


def _is_number(value: Any) -> bool:
    if isinstance(value, bytes | str):
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        return re.fullmatch(r"[0-9]{1,19}(\.[0-9]*)?", text) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_iso(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) >= len("2026-01-01") and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _values(client: Client, key: bytes, kind: str) -> Iterator[tuple[str, str, Any]]:
    """Where in a key an instant may be: a name, what kind of place it is, and what is there."""
    match kind:
        case "hash":
            _, fields = send(client, "HSCAN", key, 0, "COUNT", 50)
            for name, value in fields.items():
                if _is_text(name) and _is_number(value):
                    yield name.decode(), "hash field", value
        case "zset":
            for score in send(client, "ZRANGE", key, 0, 9, "WITHSCORES")[1::2]:
                # Written with an exponent, some of them; an infinite one is never.
                if isfinite(float(score)):
                    yield "", "score", float(score)
        case "set" | "list":
            yield "", "members", None
        case "string" if send(client, "STRLEN", key) <= MOST_BYTES:
            yield from _in_text(send(client, "GET", key) or b"")
        case _:
            return


def _in_text(value: bytes) -> Iterator[tuple[str, str, Any]]:
    if _is_number(value):
        yield "", "value", value
        return
    for place, read in (("json", json.loads), ("msgpack", unpack)):
        try:
            content = read(value)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            yield from ((path, place, each) for path, each in _leaves(content, "", DEEPEST))
            return


def _leaves(content: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if not isinstance(key, str) or "." in key or not _WORD.fullmatch(key):
            continue
        if isinstance(value, dict) and depth:
            yield from _leaves(value, f"{prefix}{key}.", depth - 1)
        elif isinstance(value, datetime) or _is_iso(value) or _is_number(value):
            yield f"{prefix}{key}", value
