"""Pointers in a cluster, where no script sees both a pointer and its record: read here, and compared when removed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic, sleep, time

from cleanup_pipeline.model.target import PointerExpiry, Target
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.redis.connection import Client, send_all
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.leases import fence_of
from cleanup_pipeline.stores.redis.numbers import death_of
from cleanup_pipeline.stores.redis.rules import epoch_ms
from cleanup_pipeline.stores.redis.scripts import Call, load_script, run_scripts

SETTLE_SECONDS = 0.05
"""Least time between two looks at a record: a login may write the pointer first."""
LONGEST_NAME = 4096
"""Bytes of a pointer or of a field that is read, here and in lua/prologue.lua."""
DEAD, UNKNOWN, FAR = "dead", "unknown", "far"
Verdict = int | str
"""The record's death in epoch ms, or dead, unknown, far."""


def clean_pointers(
    client: Client, target: Target, rule: PointerExpiry, keys: Sequence[bytes], cutoff: datetime, *, delete: bool
) -> Counts:
    """Judge these pointers by their records, and remove those that are dead at two looks if `delete`."""
    cutoff_ms, grace_ms = epoch_ms(cutoff), target.grace // timedelta(milliseconds=1)
    counts = Counts()
    seen = _look(client, rule, keys)
    if target.since is not None:
        since_ms = epoch_ms(target.since)
        # What has no instant belongs to no window.
        seen = {
            key: (value, pttl, verdict)
            for key, (value, pttl, verdict) in seen.items()
            if verdict != DEAD and not (isinstance(verdict, int) and verdict < since_ms)
        }
    gone = [key for key, (_, _, verdict) in seen.items() if _is_dead(verdict, cutoff_ms)]
    work: list[tuple[bytes, bytes, str | int]] = []
    if gone and delete:
        sleep(SETTLE_SECONDS)
        seen |= _look(client, rule, gone)
    for key, (value, pttl, verdict) in seen.items():
        counts.scanned += 1
        if verdict == UNKNOWN:
            counts.unparsable += 1
        elif key in gone and _is_dead(verdict, cutoff_ms):
            counts.expired += 1
            if isinstance(verdict, int):
                counts.oldest_ms = min(verdict, counts.oldest_ms or verdict)
            work.append((key, value, DEAD))
        else:
            counts.live += 1
            if isinstance(verdict, int) and pttl < 0:
                work.append((key, value, verdict + grace_ms))
    if delete:
        began = monotonic()
        calls = [Call([key], [0, value, what]) for key, value, what in work]
        fence = fence_of(client, target)
        for removed, repaired in run_scripts(client, load_script("fence", "settle"), calls, fence=fence):
            counts.deleted += int(removed)
            counts.repaired += int(repaired)
        counts.largest = min(1, counts.deleted)
        counts.deleted -= _put_back(client, rule, {key: seen[key] for key in gone if key in seen})
        counts.slowest = (monotonic() - began) / max(1, len(calls))
    return counts


def _put_back(client: Client, rule: PointerExpiry, removed: dict[bytes, tuple[bytes, int, Verdict]]) -> int:
    """Write pointers again whose records came back to life between the last look and the removal; how many.

    No script sees both, so that this is the only way to be right about the last millisecond.
    """
    if not removed:
        return 0
    verdicts = _verdicts(client, rule, {key: value for key, (value, _, _) in removed.items()})
    now = time() * 1000
    commands: list[tuple[str | bytes | int, ...]] = []
    for key, (value, pttl, _) in removed.items():
        verdict = verdicts.get(key, UNKNOWN)
        if verdict == FAR or (isinstance(verdict, int) and verdict > now):
            commands.append(("SET", key, value, "NX", *(("PX", pttl) if pttl > 0 else ())))
    return sum(1 for answer in send_all(client, commands) if answer == b"OK" or answer is True)


def _is_dead(verdict: Verdict, cutoff_ms: int) -> bool:
    return verdict == DEAD or (isinstance(verdict, int) and verdict < cutoff_ms)


def _look(client: Client, rule: PointerExpiry, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int, Verdict]]:
    answers = send_all(client, [c for key in keys for c in (("GETRANGE", key, 0, LONGEST_NAME), ("PTTL", key))])
    for answer in answers:
        if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
            raise answer
    # A key without a value is of another type by now, and one whose time to live is -2 is gone.
    found = {
        key: (value, int(pttl))
        for key, value, pttl in zip(keys, answers[::2], answers[1::2], strict=True)
        if isinstance(value, bytes) and isinstance(pttl, int) and (value or pttl != -2)
    }
    verdicts = _verdicts(client, rule, {key: value for key, (value, _) in found.items()})
    return {key: (value, pttl, verdicts.get(key, UNKNOWN)) for key, (value, pttl) in found.items()}


def _verdicts(client: Client, rule: PointerExpiry, values: dict[bytes, bytes]) -> dict[bytes, Verdict]:
    """What the records of pointers say; nothing about those that point to no record at all."""
    prefix = rule.target_prefix.encode()
    records = [(key, value) for key, value in values.items() if value.startswith(prefix) and len(value) <= LONGEST_NAME]
    commands: list[tuple[str | bytes, ...]] = []
    if rule.expires is None or rule.matches is None:
        kinds = send_all(client, [("TYPE", record) for _, record in records])
        own = rule.prefix.encode()
        found = {key: DEAD if kind == b"none" else FAR for (key, _), kind in zip(records, kinds, strict=True)}
        return {key: verdict if key.startswith(own) else UNKNOWN for key, verdict in found.items()}
    fields = (rule.matches, rule.expires.field)
    lengths = send_all(client, [("HSTRLEN", record, field) for _, record in records for field in fields])
    for n, (_, record) in enumerate(records):
        # Of one that is longer than any name or number only the length is read, which says nothing.
        words = [
            ("HSTRLEN" if isinstance(length, int) and length > LONGEST_NAME else "HGET", record, field)
            for field, length in zip(fields, lengths[2 * n : 2 * n + 2], strict=True)
        ]
        commands += [("TYPE", record), *words]
    said = send_all(client, commands)
    own, unit = rule.prefix.encode(), rule.expires.unit
    return {key: _judge(own, unit, key, *said[3 * n : 3 * n + 3]) for n, (key, _) in enumerate(records)}


def _judge(prefix: bytes, unit: EpochUnit, key: bytes, kind: object, named: object, dies: object) -> Verdict:
    if not key.startswith(prefix):
        return UNKNOWN
    if kind == b"none":
        return DEAD
    if not isinstance(named, bytes):
        return UNKNOWN
    if named != key.removeprefix(prefix):
        return DEAD
    return death_of(dies, unit) if isinstance(dies, bytes) else UNKNOWN
