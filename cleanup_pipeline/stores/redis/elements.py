"""JSON arrays in strings: elements that are over are cut out of the text, in a script that compares it first.

The text of every other element stays as it is, byte for byte: decoded and written anew, long numbers would lose digits
and empty arrays would become objects (in Lua). A key whose last element goes is removed; its TTL is never touched.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from redis.crc import key_slot

from cleanup_pipeline.model.target import ElementsExpiry
from cleanup_pipeline.model.words import AFTER_2100, LAST_PLAUSIBLE_SECONDS
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis.connection import in_cluster, send_all
from cleanup_pipeline.stores.redis.containers import (
    MEMBERS,
    Containers,
    Position,
    next_containers,
    skip_wrong_type,
)
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.references import FEW, existing
from cleanup_pipeline.stores.redis.scripts import Call, load_script, run_scripts
from cleanup_pipeline.stores.redis.values import instant_of

SETTLE_SECONDS = 0.05
"""Least time between the first look at a key and the removal of the element that names it."""
MOST_BYTES = 2**20
"""A longer value is not read, but counted as one that is not understood."""
ATTEMPTS = 3
"""How often a list that changes meanwhile is read again before it is left to the next pass."""
_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an array, and where it stands in the text."""

    start: int
    end: int
    value: Any


@dataclass(slots=True)
class _List:
    """One key as it was read."""

    key: bytes
    text: str
    elements: list[Element]
    dead: list[Element] = field(default_factory=list[Element])
    named: dict[int, tuple[bytes, ...]] = field(default_factory=dict[int, tuple[bytes, ...]])
    """By the start of a dead element: the keys of which none may be there."""
    counts: Counts = field(default_factory=Counts)
    """Of the elements that are not dead."""


def elements_of(text: str) -> list[Element] | None:
    """The elements of a JSON array; None for a text that is none."""
    at, found = _skip(text, 0), list[Element]()
    if text[at : at + 1] != "[":
        return None
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return [] if _skip(text, at + 1) == len(text) else None
    while True:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        found.append(Element(at, end, value))
        at = _skip(text, end)
        mark, at = text[at : at + 1], _skip(text, at + 1)
        if mark == "]":
            return found if at >= len(text) else None
        if mark != ",":
            return None


def without(text: str, elements: Sequence[Element], gone: Sequence[Element]) -> str:
    """The array without some of its elements; empty when none is left."""
    starts = {element.start for element in gone}
    kept = [text[element.start : element.end] for element in elements if element.start not in starts]
    return f"[{','.join(kept)}]" if kept else ""


def element_step(walk: Containers, position: Position, counts: Counts, room: int) -> None:
    """One round over a few lists. Those of which more has to go than fits into `room` stay at the front.

    Raises StoreError when most elements cannot be read as the rule says.
    """
    group = [key for key, _ in next_containers(walk, position)]
    if not group:
        return
    began = monotonic()
    lists = _read(walk, group, counts)
    _refuse_unknown(walk, lists)
    _look(walk, lists)
    waiting = set[bytes]()
    for first in lists:
        one, left = first, room
        if walk.delete:
            one, left = _cut(walk, first, room, began, counts)
        if walk.delete and one.dead and left <= 0:
            waiting.add(one.key)
        else:
            counts.add(one.counts)
            if not walk.delete:
                counts.expired += len(one.dead)
                counts.scanned += len(one.dead)
        room = left
    done = set(group) - waiting
    position.pending = [entry for entry in position.pending if entry[0] not in done]


def _cut(walk: Containers, one: _List, room: int, began: float, counts: Counts) -> tuple[_List, int]:
    """Remove dead elements, at most `room`; the list as it is then, and what is left of `room`."""
    attempts = ATTEMPTS
    while one.dead and room > 0 and attempts:
        part = one.dead[: min(room, MEMBERS)]
        if one.named:
            sleep(max(0.0, began + SETTLE_SECONDS - monotonic()))
        if _rewrite(walk, one, part, counts):
            room -= len(part)
        else:
            attempts -= 1
        began = monotonic()
        again = _read(walk, [one.key], counts)
        if not again:
            return _List(one.key, "", []), room
        _look(walk, again)
        one = again[0]
    return one, room


def _rewrite(walk: Containers, one: _List, gone: Sequence[Element], counts: Counts) -> bool:
    names = [key for element in gone for key in one.named.get(element.start, ())]
    if in_cluster(walk.client) and any(key_slot(key) != key_slot(one.key) for key in names):
        # No script sees another server's keys: looked at right before it.
        if any(existing(walk, names).values()):
            return False
        names = []
    left = without(one.text, one.elements, gone)
    call = Call([one.key, *dict.fromkeys(names)], [one.text.encode(), left.encode()])
    began = monotonic()
    done = bool(run_scripts(walk.client, load_script("fence", "rewrite"), [call], fence=walk.fence)[0])
    counts.slowest = max(counts.slowest, monotonic() - began)
    if done:
        counts.largest = max(counts.largest, len(gone))
        counts.deleted += len(gone)
        counts.expired += len(gone)
        counts.scanned += len(gone)
    return done


def _read(walk: Containers, keys: Sequence[bytes], counts: Counts) -> list[_List]:
    """The lists; what is none is counted, and what is gone or of another type by now is left out."""
    lengths = send_all(walk.client, [("STRLEN", key) for key in keys])
    short = [key for key, n in zip(keys, lengths, strict=True) if not skip_wrong_type(n) and int(n) <= MOST_BYTES]
    unread = sum(not isinstance(n, Exception) and int(n) > MOST_BYTES for n in lengths)
    found: list[_List] = []
    for key, value in zip(short, send_all(walk.client, [("GET", key) for key in short]), strict=True):
        if skip_wrong_type(value) or value is None:
            continue
        try:
            text = value.decode()
            elements = elements_of(text)
        except UnicodeDecodeError:
            elements = None
        if elements is None:
            unread += 1
        elif elements:
            found.append(_List(key, text, elements))
    counts.unparsable += unread
    counts.scanned += unread
    return found


def _look(walk: Containers, lists: Sequence[_List]) -> None:
    """Sort the elements of each list into dead and others."""
    rule = _rule(walk)
    names_of = {one.key: walk.members.names(one.key) if walk.members else {} for one in lists}
    asked: dict[bytes, dict[int, tuple[bytes, ...]]] = {one.key: {} for one in lists}
    states = {one.key: [_state(walk, rule, one, element) for element in one.elements] for one in lists}
    for one in lists:
        for element, state in zip(one.elements, states[one.key], strict=True):
            keys = _keys(walk, rule, element, names_of[one.key]) if state == "dead" else None
            if keys:
                asked[one.key][element.start] = keys
    exist = existing(walk, [key for named in asked.values() for keys in named.values() for key in keys])
    for one in lists:
        for element, first in zip(one.elements, states[one.key], strict=True):
            keys, state = asked[one.key].get(element.start, ()), first
            if state == "dead" and rule.members is not None:
                state = "unknown" if not keys else "live" if any(exist[key] for key in keys) else "dead"
            if state == "dead":
                one.dead.append(element)
                if keys:
                    one.named[element.start] = keys
                continue
            one.counts.scanned += state != "earlier"
            one.counts.live += state in {"live", "late"}
            one.counts.without_expiry += state == "never"
            one.counts.unparsable += state == "unknown"
            one.counts.details[AFTER_2100] += state == "late"


def _state(walk: Containers, rule: ElementsExpiry, one: _List, element: Element) -> str:
    """What the element itself says: dead, live, late, never, unknown, or earlier than the window."""
    if rule.path is None:
        return "dead"
    node = element.value
    for name in rule.path:
        if not isinstance(node, dict):
            return "unknown"
        node = node.get(name)
        if node is None:
            return "never"
    death = instant_of(node, None if rule.unit is None else rule.unit.per_second)
    if not isinstance(death, int):
        return "late" if death == "far" else death
    if death >= walk.cutoff_ms:
        return "late" if death >= LAST_PLAUSIBLE_SECONDS * 1000 else "live"
    if walk.since_ms is not None and death < walk.since_ms:
        return "earlier"
    one.counts.oldest_ms = min(death, one.counts.oldest_ms or death)
    return "dead"


def _keys(walk: Containers, rule: ElementsExpiry, element: Element, names: Any) -> tuple[bytes, ...] | None:
    """The keys that an element names; None where it names none that can be read."""
    node = element.value
    for name in rule.member:
        node = node.get(name) if isinstance(node, dict) else None
    if walk.members is None or names is None or not isinstance(node, str):
        return None
    return walk.members.keys_of(node.encode(errors="surrogatepass"), names)


def _refuse_unknown(walk: Containers, lists: Sequence[_List]) -> None:
    rule = _rule(walk)
    if rule.members is None:
        return
    every = [
        (element, walk.members.names(one.key) if walk.members else {}) for one in lists for element in one.elements
    ]
    unread = sum(_keys(walk, rule, element, names) is None for element, names in every)
    if len(every) >= FEW and unread * 2 > len(every):
        raise StoreError(
            f"{unread} of {len(every)} elements of {walk.source.pattern} do not name a key as `member` says",
            setting=f"{walk.place}.expires.member",
            remedy="look at one (GET) and correct `member`, `member_codec` or `index`",
        )


def _rule(walk: Containers) -> ElementsExpiry:
    if walk.elements is None:
        raise ValueError("this rule has no elements")
    return walk.elements


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at
