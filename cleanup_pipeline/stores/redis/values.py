"""Values that the server cannot read: read here, and removed only while they are still the same."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from heapq import nlargest
from time import monotonic
from typing import Any

from cleanup_pipeline.model.target import MsgpackExpiry, Target
from cleanup_pipeline.model.words import AFTER_2100, FIRST_PLAUSIBLE_SECONDS, LAST_PLAUSIBLE_SECONDS, TOO_LARGE
from cleanup_pipeline.stores.redis.connection import Client, send_all
from cleanup_pipeline.stores.redis.counts import RANK, Counts
from cleanup_pipeline.stores.redis.keeping import Kept
from cleanup_pipeline.stores.redis.leases import fence_of
from cleanup_pipeline.stores.redis.msgpack import unpack
from cleanup_pipeline.stores.redis.rules import EPOCH, epoch_ms
from cleanup_pipeline.stores.redis.scripts import Call, Fence, load_script, run_script, run_scripts

KEYS_A_SCRIPT = 50
LONGEST = 2**20
"""Bytes of a value that is read, here and in lua/prologue.lua."""
MOST_READ = 4 * LONGEST
"""Bytes of values that are held at once."""
FIRST_YEAR = 2001
LAST_MS = 253_402_300_800_000
"""The year 10000."""
_GONE = -2
"""PTTL of a key that is not there."""


def settle(
    client: Client,
    target: Target,
    keys: Sequence[bytes],
    cutoff: datetime,
    *,
    delete: bool,
    one_slot: bool,
    kept: Kept | None = None,
) -> Counts:
    """Judge the values of these keys, and remove or repair them if `delete`. `one_slot`: a script for each key.

    With `kept`, dead ones are left to it.
    """
    counts = Counts()
    at_once = 1 if one_slot else KEYS_A_SCRIPT
    cutoff_ms = epoch_ms(cutoff)
    since_ms = None if target.since is None else epoch_ms(target.since)
    grace_ms = target.grace // timedelta(milliseconds=1)
    fence = fence_of(client, target)
    ttl_wins = isinstance(target.expiry, MsgpackExpiry) and target.expiry.ttl_wins
    for some in _at_once(client, keys, counts):
        work: list[tuple[bytes, bytes, str | int]] = []
        for key, value, pttl, ends, dump in _values(client, some, kept is not None, one_slot):
            if _is_gone(value, pttl):
                # Gone, or of another type by now.
                counts.scanned -= 1
                continue
            # It may have grown since its length was asked for.
            state = "unknown" if len(value) > LONGEST else _judge(target, value)
            _note_newest(counts, state)
            if since_ms is not None and isinstance(state, int) and state < since_ms:
                counts.scanned -= 1
            elif state == "never":
                counts.without_expiry += 1
            elif state == "unknown":
                counts.unparsable += 1
            elif isinstance(state, int) and state < cutoff_ms and not (ttl_wins and pttl >= 0):
                counts.expired += 1
                counts.oldest_ms = min(state, counts.oldest_ms or state)
                if kept is None:
                    work.append((key, value, "dead"))
                else:
                    kept.add(key, state, b"", ends, dump, counts)
            else:
                counts.live += 1
                if state == "far" or (isinstance(state, int) and state >= LAST_PLAUSIBLE_SECONDS * 1000):
                    counts.details[AFTER_2100] += 1
                if isinstance(state, int) and pttl < 0:
                    work.append((key, value, state + grace_ms))
        if delete:
            _apply(client, [work[n : n + at_once] for n in range(0, len(work), at_once)], ttl_wins, fence, counts)
    return counts


def _at_once(client: Client, keys: Sequence[bytes], counts: Counts) -> Iterator[list[bytes]]:
    """Few enough keys at a time that their values fit into MOST_READ; those too large are counted, not read."""
    for start in range(0, len(keys), KEYS_A_SCRIPT):
        some, total = list[bytes](), 0
        asked = keys[start : start + KEYS_A_SCRIPT]
        for key, length in zip(asked, send_all(client, [("STRLEN", key) for key in asked]), strict=True):
            # What is of another type by now is noticed where it is read.
            size = int(length) if isinstance(length, int) else 0
            if size > LONGEST:
                counts.unparsable += 1
                counts.details[TOO_LARGE] += 1
                continue
            if some and total + size > MOST_READ:
                yield some
                some, total = [], 0
            some.append(key)
            total += size
        if some:
            yield some


def _is_gone(value: Any, pttl: Any) -> bool:
    fault = next((answer for answer in (value, pttl) if isinstance(answer, Exception)), None)
    if fault is not None and not str(fault).startswith("WRONGTYPE"):
        raise fault
    return fault is not None or (not value and pttl == _GONE)


def _values(
    client: Client, keys: Sequence[bytes], whole: bool, one_slot: bool
) -> list[tuple[bytes, Any, Any, Any, Any]]:
    """Each key with its value and its PTTL, or the faults of reading them; `whole`: also when it ends, and its DUMP."""
    if not whole:
        answers = send_all(client, [c for key in keys for c in (("GETRANGE", key, 0, LONGEST), ("PTTL", key))])
        return [(key, *both, b"", b"") for key, *both in zip(keys, answers[::2], answers[1::2], strict=True)]
    script, groups = load_script("read_whole"), [[key] for key in keys] if one_slot else [list(keys)]
    read = [each for group in groups for each in run_script(client, script, group, (LONGEST,), fence=None)]
    # Of a key that is there the TTL only matters as being there.
    return [
        (key, one[0], int(one[1]) if one[1] else -1, one[1], one[2]) if one else (key, b"", _GONE, b"", b"")
        for key, one in zip(keys, read, strict=True)
    ]


def _apply(
    client: Client,
    groups: Sequence[list[tuple[bytes, bytes, str | int]]],
    ttl_wins: bool,
    fence: Fence,
    counts: Counts,
) -> None:
    calls = [
        Call(
            [key for key, _, _ in group], [int(ttl_wins), *(part for _, value, what in group for part in (value, what))]
        )
        for group in groups
    ]
    began = monotonic()
    for removed, repaired in run_scripts(client, load_script("fence", "settle"), calls, fence=fence):
        counts.deleted += int(removed)
        counts.repaired += int(repaired)
        counts.largest = max(counts.largest, int(removed))
    counts.slowest = (monotonic() - began) / max(1, len(calls))


def _note_newest(counts: Counts, state: int | str) -> None:
    if isinstance(state, int) and state < LAST_PLAUSIBLE_SECONDS * 1000:
        counts.newest_ms = nlargest(RANK, [*counts.newest_ms, state])


def _judge(target: Target, value: bytes) -> int | str:
    """The instant of death in epoch ms, or `never`, `unknown`, `far`."""
    expiry = target.expiry
    if not isinstance(expiry, MsgpackExpiry):
        return "unknown"
    try:
        node: Any = unpack(value)
    except (ValueError, RecursionError):
        return "unknown"
    for name in expiry.path:
        if not isinstance(node, dict):
            return "unknown"
        node = node.get(name, node.get(name.encode()))
        if node is None:
            return "never"
    return instant_of(node, None if expiry.unit is None else expiry.unit.per_second)


def instant_of(node: Any, per_second: int | None) -> int | str:
    """Epoch ms of a decoded value, ISO 8601 or a timestamp where `per_second` is None; or `never`, `unknown`, `far`."""
    if isinstance(node, bool):
        return "unknown"
    if isinstance(node, str) and per_second is None:
        try:
            node = datetime.fromisoformat(node)
        except ValueError:
            return "unknown"
    if isinstance(node, datetime):
        # Without a zone nobody knows whose clock it was.
        if node.tzinfo is None or len(str(node.year)) > 4:
            return "unknown"
        try:
            return _placed((node.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1))
        except OverflowError:
            # At either end of the calendar: an application's way to say never, or always.
            return "far" if node.year > FIRST_YEAR else "unknown"
    if isinstance(node, int | float) and per_second is not None:
        try:
            return _placed(int(Fraction(node) * 1000 / per_second))
        except (ValueError, OverflowError):
            return "unknown"
    return "unknown"


def _placed(ms: int) -> int | str:
    if ms <= 0:
        return "never"
    if ms < FIRST_PLAUSIBLE_SECONDS * 1000:
        return "unknown"
    return "far" if ms >= LAST_MS else ms
