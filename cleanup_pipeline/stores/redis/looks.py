"""What the expiries of keys are like, at a glance: the kind of a few of them."""

from collections import Counter
from time import monotonic

from cleanup_pipeline.model.target import (
    HashFieldExpiry,
    JsonExpiry,
    KeySource,
    MsgpackExpiry,
    ScoreExpiry,
    Target,
    ValueExpiry,
)
from cleanup_pipeline.stores.redis.connection import Client, primaries, send_all
from cleanup_pipeline.stores.redis.scan import START, pages
from cleanup_pipeline.stores.redis.shapes import instants_in, shape_of

SAMPLE = 100
LOOK_SECONDS = 1.0
MOSTLY = 0.8
"""Share of a sample from which on its kind is that of the expiry."""
LONGEST = 65_536
"""Bytes of a value that are read."""
_NAMES = {"s": "seconds since 1970", "ms": "milliseconds since 1970", "iso": "an ISO 8601 time"}
_NOTHING = {"", "null"}


def expiry_shape(client: Client, target: Target) -> str | None:
    """The kind of most of a sample of the expiries; None where the rule reads none, or they are of several kinds."""
    source, path = target.source, _path(target)
    if not isinstance(source, KeySource) or path is None:
        return None
    keys = _sample(client, source)
    kinds = Counter(kind for kind in _kinds(client, target, keys, path) if kind not in _NOTHING)
    if not kinds:
        return None
    kind, count = kinds.most_common(1)[0]
    return _NAMES.get(kind, kind) if count >= MOSTLY * kinds.total() else None


def _path(target: Target) -> str | None:
    match target.expiry:
        case HashFieldExpiry(field=field):
            return field
        case JsonExpiry(path=path) | MsgpackExpiry(path=path):
            return ".".join(path)
        case ValueExpiry() | ScoreExpiry():
            return ""
        case _:
            return None


def _sample(client: Client, source: KeySource) -> list[bytes]:
    deadline, keys = monotonic() + LOOK_SECONDS, list[bytes]()
    for node in primaries(client):
        for page in pages(client, source, START, SAMPLE, node=node):
            keys += page.keys
            if len(keys) >= SAMPLE or monotonic() > deadline:
                return keys[:SAMPLE]
    return keys


def _kinds(client: Client, target: Target, keys: list[bytes], path: str) -> list[str]:
    match target.expiry:
        case HashFieldExpiry(field=field):
            answers = send_all(client, [("HGET", key, field) for key in keys])
            return [shape_of({b"": each}).get("", "") for each in answers if isinstance(each, bytes)]
        case ScoreExpiry():
            answers = send_all(client, [("ZRANGE", key, 0, 7, "WITHSCORES") for key in keys])
            scores = [[float(score) for score in each[1::2]] for each in answers if isinstance(each, list)]
            return [instants_in(each) or "number" for each in scores if each]
        case _:
            answers = send_all(client, [("GETRANGE", key, 0, LONGEST - 1) for key in keys])
            return [shape_of(each).get(path, "") for each in answers if isinstance(each, bytes)]
