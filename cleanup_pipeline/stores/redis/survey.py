"""Which keys there are, by a bounded look: how they begin, and what the shape of a few values of each kind is.

Values are looked at in here, and nothing but names of fields and kinds of values is handed on.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from cleanup_pipeline.model.survey import Asked, KeysSeen, Survey
from cleanup_pipeline.model.target import KeySource
from cleanup_pipeline.stores.redis.connection import Client, primaries, send_all
from cleanup_pipeline.stores.redis.scan import START, pages
from cleanup_pipeline.stores.redis.shapes import codec_of, decoded, instants_in, shape_of

TYPES = ("string", "hash", "set", "zset", "list")
LOOK_SECONDS = 1.0
"""For each type, and for each pattern that is asked for."""
NAMES_SECONDS = 2.0
"""For all questions together of which keys members are the names."""
MOST_KEYS = 5_000
"""Of each type."""
MOST_GROUPS = 100
"""Of each type: those with the most keys."""
SAMPLE = 10
"""Keys of a group that are read."""
LONGEST = 65_536
"""Bytes of a string that are read."""
MEMBERS = 8
CROWD = 12
"""From as many beginnings under one on, they are taken for ids."""
_SPLIT = re.compile(r"[^:/|]*[:/|]+")
_ID = re.compile(r"\d+|[0-9a-f]{8,}|[0-9a-f-]{32,}|.*[@=].*|(?=.*\d)(?=.*[a-zA-Z])[\w.-]{12,}", re.IGNORECASE)


@dataclass
class _Group:
    seen: int = 0
    keys: list[bytes] = field(default_factory=list[bytes])


def survey(client: Client, asked: Asked) -> Survey:
    """Groups of keys that begin alike, and those of the patterns that are asked for."""
    found: list[tuple[str, str, _Group, str | None]] = []
    whole = True
    for key_type in TYPES:
        groups, all_of_them = _groups(client, key_type)
        whole = whole and all_of_them
        most = sorted(groups.items(), key=lambda item: -item[1].seen)[:MOST_GROUPS]
        found += [(prefix, key_type, group, None) for prefix, group in sorted(most)]
    for pattern, key_type in asked.patterns:
        group = _of_pattern(client, pattern, key_type)
        if group.seen:
            found.append(("", key_type, group, pattern))
    stems = {prefix for prefix, _, _, pattern in found if pattern is None and prefix}
    prefixes = sorted({"".join(parts[:n]) for parts in map(_SPLIT.findall, stems) for n in range(1, len(parts) + 1)})
    until = monotonic() + NAMES_SECONDS
    return Survey(keys=tuple(_look(client, *each, prefixes, until) for each in found), whole=whole)


def stem(key: str) -> str:
    """How a key begins, up to what looks like an id; at the latest up to its last part."""
    parts = _SPLIT.findall(key)
    for number, part in enumerate(parts):
        if _ID.fullmatch(part.rstrip(":/|")):
            return "".join(parts[:number])
    if parts:
        return "".join(parts)
    head = re.match(r"[A-Za-z]+[_\-.]", key)
    return head[0] if head else ""


def _groups(client: Client, key_type: str) -> tuple[dict[str, _Group], bool]:
    deadline, count, whole = monotonic() + LOOK_SECONDS, 0, True
    groups: dict[str, _Group] = {}
    for node in primaries(client):
        for page in pages(client, KeySource("*", key_type), START, 500, node=node):
            for key in page.keys:
                group = groups.setdefault(stem(key.decode("utf-8", "replace")), _Group())
                group.seen += 1
                if len(group.keys) < SAMPLE:
                    group.keys.append(key)
            count += len(page.keys)
            if page.following != START and (count >= MOST_KEYS or monotonic() > deadline):
                whole = False
                break
    return _gathered(groups), whole


def _gathered(groups: dict[str, _Group]) -> dict[str, _Group]:
    """The same with beginnings that go on in very many ways taken together: the part that differs is an id."""
    for _ in range(3):
        under: dict[str, list[str]] = {}
        for prefix in groups:
            parts = _SPLIT.findall(prefix)
            if len(parts) > 1:
                under.setdefault("".join(parts[:-1]), []).append(prefix)
        crowds = {above: several for above, several in under.items() if len(several) >= CROWD}
        if not crowds:
            break
        for above, several in crowds.items():
            whole = groups.setdefault(above, _Group())
            for prefix in several:
                part = groups.pop(prefix)
                whole.seen += part.seen
                whole.keys = (whole.keys + part.keys)[:SAMPLE]
    return groups


def _of_pattern(client: Client, pattern: str, key_type: str) -> _Group:
    deadline, group = monotonic() + LOOK_SECONDS, _Group()
    for node in primaries(client):
        for page in pages(client, KeySource(pattern, key_type), START, 100, node=node):
            group.seen += len(page.keys)
            group.keys += page.keys[: 5 * SAMPLE - len(group.keys)]
            if len(group.keys) >= 5 * SAMPLE or monotonic() > deadline:
                return group
    return group


def _look(
    client: Client,
    prefix: str,
    key_type: str,
    group: _Group,
    pattern: str | None,
    prefixes: Sequence[str],
    until: float,
) -> KeysSeen:
    ttls = send_all(client, [("PTTL", key) for key in group.keys])
    there = [left for left in ttls if isinstance(left, int) and left != -2]
    read = list(_contents(client, key_type, group.keys))
    members = [member for _, content in read if isinstance(content, list) for member in content]
    plain = [text for text in (decoded(member, codec_of(members)) for member in members) if text]
    return KeysSeen(
        prefix=prefix,
        key_type=key_type,
        names=tuple(key.decode("utf-8", "replace") for key in group.keys),
        seen=group.seen,
        looked=len(there),
        without_ttl=sum(left == -1 for left in there),
        values=tuple(shape_of(content) for _, content in read if isinstance(content, bytes | dict)),
        instants=instants_in([score for _, content in read if isinstance(content, tuple) for score in content]),
        codec=codec_of(members) if members else None,
        names_keys=_names_keys(client, plain[:MEMBERS], prefixes, until),
        pattern=pattern,
    )


def _contents(client: Client, key_type: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Any]]:
    """Bytes of a string, kinds of fields of a hash as a mapping, members as a list, scores as a tuple."""
    commands: dict[str, tuple[str | int, ...]] = {
        "string": ("GETRANGE", 0, LONGEST - 1),
        "hash": ("HSCAN", 0, "COUNT", 64),
        "set": ("SRANDMEMBER", MEMBERS),
        "zset": ("ZRANGE", 0, MEMBERS - 1, "WITHSCORES"),
        "list": ("LRANGE", 0, MEMBERS - 1),
    }
    name, *rest = commands[key_type]
    for key, answer in zip(keys, send_all(client, [(name, key, *rest) for key in keys]), strict=True):
        if isinstance(answer, Exception):
            continue
        if key_type == "hash":
            pairs = answer[1]
            yield key, pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))
        elif key_type == "zset":
            pairs = answer
            yield key, tuple(float(score) for score in pairs[1::2])
            yield key, list(pairs[::2])
        else:
            yield key, answer


def _names_keys(client: Client, members: Sequence[str], prefixes: Sequence[str], until: float) -> tuple[str, ...]:
    """The beginnings with which at least one member is the name of a key."""
    if not members:
        return ()
    found = []
    for prefix in ["", *prefixes][: 2 * MOST_GROUPS]:
        if monotonic() > until:
            break
        answers = send_all(client, [("EXISTS", f"{prefix}{member}") for member in members])
        if any(answer == 1 for answer in answers):
            found.append(prefix)
    return tuple(found)
