"""Redis keys of an application's own making that look like sessions or tokens, and which general layout would fit."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cleanup_pipeline.layouts.layout import Preset
from cleanup_pipeline.layouts.match import Described, Recognised, describe
from cleanup_pipeline.layouts.session_words import EXPIRY, is_session, speaks_of_sessions
from cleanup_pipeline.layouts.source_spec import literal_glob
from cleanup_pipeline.model.location import Location
from cleanup_pipeline.model.survey import KeysSeen, Survey

TTL_ALONE = ("fastapi_users_token:", "sf_s", "scs:session:")
"""What keys of frameworks begin with whose values say nothing."""
DJANGO_CACHE = re.compile(r"(.*:django\.contrib\.sessions\.cache).*", re.DOTALL)

Filled = tuple[Mapping[str, str | bool], tuple[str, ...]]
"""Parameters, and what is not certain about them."""


def begins_as(seen: KeysSeen, known: Sequence[Recognised]) -> bool:
    """Whether keys are of an application of which a layout is known."""
    return seen.prefix.startswith(tuple(beginning for each in known for beginning in each.beginnings))


def guesses(presets: Sequence[Preset], groups: Sequence[KeysSeen]) -> list[Recognised]:
    """The general layouts that fit groups of keys of which no layout of a framework is known."""
    by_name = {preset.name: preset for preset in presets}
    found: list[Recognised] = []
    for seen in groups:
        for name, fits in _WAYS.items():
            filled = fits(seen) if name in by_name else None
            if filled is None:
                continue
            found.append(_recognised(by_name[name], seen, *filled))
            break
    return [each for each in found if not any(_covers(each, other) for other in found)]


def _recognised(
    preset: Preset, seen: KeysSeen, params: Mapping[str, str | bool], doubts: tuple[str, ...]
) -> Recognised:
    told = {name: value for name, value in params.items() if value != preset.params[name].default}
    return Recognised(
        preset=preset,
        location=Location(),
        params=told,
        missing=tuple(name for name in preset.missing(None) if name not in told),
        seen=(describe(seen),),
        doubts=doubts,
        claims=frozenset((f"{seen.key_type} {name}", ()) for name in seen.names),
        beginnings=(seen.prefix,),
        suffix=next(iter(map(str, params.values())), seen.prefix),
    )


def _covers(one: Recognised, other: Recognised) -> bool:
    """Whether the keys of another guess of the same layout begin as those of this one do: the closer one is meant."""
    first, second = (next(iter(map(str, each.params.values())), "") for each in (one, other))
    return one is not other and one.preset is other.preset and second.startswith(first) and second != first


def _ttl_alone(seen: KeysSeen) -> Filled | None:
    for prefix in TTL_ALONE:
        if seen.names and all(name.startswith(prefix) for name in seen.names):
            return {"prefix": prefix, "key_type": seen.key_type}, ()
    cached = {match[1] if (match := DJANGO_CACHE.fullmatch(name)) else "" for name in seen.names}
    if len(cached) == 1 and "" not in cached:
        return {"prefix": cached.pop(), "key_type": seen.key_type}, ()
    return None


def _json(seen: KeysSeen) -> Filled | None:
    objects = [value for value in seen.values if value.get("") == "object"]
    if seen.key_type != "string" or not seen.prefix or not objects or 2 * len(objects) < len(seen.values):
        return None
    kinds: dict[str, list[str]] = {}
    for value in objects:
        for path, kind in value.items():
            if EXPIRY.fullmatch(path) and kind in {"s", "ms", "iso"}:
                kinds.setdefault(path, []).append(kind)
    if not kinds or not (speaks_of_sessions(seen.prefix) or all(is_session(value) for value in objects)):
        return None
    path = max(sorted(kinds), key=lambda each: (len(kinds[each]), -each.count(".")))
    unit = max(sorted(set(kinds[path])), key=kinds[path].count)
    params: dict[str, str | bool] = {"prefix": seen.prefix, "path": path}
    if unit != "iso":
        params["unit"] = unit
    return params, (f"that {path} says when one of them ends",)


def _sets(seen: KeysSeen) -> Filled | None:
    tokens = [prefix for prefix in seen.names_keys if prefix and prefix != seen.prefix]
    if seen.key_type != "set" or not seen.prefix or not tokens or not speaks_of_sessions(seen.prefix, *tokens):
        return None
    params: dict[str, str | bool] = {"index": seen.prefix, "tokens": tokens[0]}
    if seen.codec not in {None, "raw"}:
        params["codec"] = str(seen.codec)
    return params, ("that a member whose key is gone is of no more use",)


def _lists(seen: KeysSeen) -> Filled | None:
    if seen.key_type != "list" or not seen.prefix or not speaks_of_sessions(seen.prefix):
        return None
    heads = [prefix for prefix in seen.names_keys if prefix != seen.prefix and seen.prefix.startswith(prefix)]
    if not heads:
        return None
    return {"lists": seen.prefix, "prefix": max(heads, key=len)}, ()


def _sorted_sets(seen: KeysSeen) -> Filled | None:
    if seen.key_type != "zset" or not seen.prefix or seen.instants is None or not speaks_of_sessions(seen.prefix):
        return None
    doubt = "that the scores are when a token ends, and not when it began or was last used"
    return {"index": seen.prefix, "unit": seen.instants}, (doubt,)


_WAYS: Mapping[str, Callable[[KeysSeen], Filled | None]] = {
    "redis-ttl-audit": _ttl_alone,
    "redis-refresh-json": _json,
    "redis-refresh-set": _sets,
    "redis-refresh-list": _lists,
    "redis-refresh-zset": _sorted_sets,
}


def described(survey: Survey, found: Sequence[Recognised]) -> list[Described]:
    """Hashes that look like sessions by their prefix or their fields, of which no layout is known."""
    taken = {name for each in found for name, _ in each.claims}
    groups = [seen for seen in survey.keys if seen.pattern is None and seen.key_type == "hash" and seen.prefix]
    free = [seen for seen in groups if not begins_as(seen, found) and not any(f"hash {n}" in taken for n in seen.names)]
    return [one for seen in free if (one := _hash(seen)) is not None]


def _hash(seen: KeysSeen) -> Described | None:
    kinds = Counter(
        (field, kind)
        for value in seen.values
        for field, kind in value.items()
        if EXPIRY.fullmatch(field) and kind in {"s", "ms"}
    )
    if not kinds or not (speaks_of_sessions(seen.prefix) or all(is_session(value) for value in seen.values)):
        return None
    (field, unit), _ = kinds.most_common(1)[0]
    return Described(
        name=seen.prefix,
        source={"keys": f"{literal_glob(seen.prefix)}*", "expires": {"hash_field": field, "unit": unit}},
        seen=(describe(seen),),
        doubts=(f"that {field} says when one of them ends",),
    )
