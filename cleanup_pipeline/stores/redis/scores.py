"""Sorted sets whose scores say when their members die: the lowest go first, a slice in a script."""

from time import monotonic

from cleanup_pipeline.model.words import AFTER_2100, LAST_PLAUSIBLE_SECONDS
from cleanup_pipeline.stores.redis.connection import send_all
from cleanup_pipeline.stores.redis.containers import (
    MEMBERS,
    Bounds,
    Containers,
    Position,
    next_containers,
    scored,
    skip_wrong_type,
)
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.scripts import Call, answers_of, load_script, raise_first


def score_step(walk: Containers, position: Position, counts: Counts, room: int) -> None:
    """One round over a few sorted sets. Those that have more to remove stay at the front of the position."""
    group = [key for key, _ in next_containers(walk, position)]
    # So that all scripts that are sent together are as long as one.
    group = group[: max(1, room)]
    if not group:
        return
    done = group
    if walk.delete:
        each = max(1, min(MEMBERS, room) // len(group))
        removed = _remove(walk, _of(walk), group, each, counts)
        done = [key for key, gone in zip(group, removed, strict=True) if gone < each]
    count_by_score(walk, done, counts, expired=not walk.delete)
    finished = set(done)
    position.pending = [entry for entry in position.pending if entry[0] not in finished]


def _of(walk: Containers) -> Bounds:
    if walk.bounds is None:
        raise ValueError("this rule has no scores")
    return walk.bounds


def _remove(walk: Containers, bounds: Bounds, group: list[bytes], each: int, counts: Counts) -> list[int]:
    began = monotonic()
    calls = [Call([key], [bounds.low, bounds.high, each]) for key in group]
    answers = answers_of(walk.client, load_script("fence", "prune_scores"), calls, fence=walk.fence)
    removed = [0 if isinstance(answer, Exception) else int(answer) for answer in answers]
    counts.slowest = max(counts.slowest, monotonic() - began)
    counts.largest = max(counts.largest, *removed)
    counts.deleted += sum(removed)
    counts.expired += sum(removed)
    counts.scanned += sum(removed)
    raise_first(answers)
    return removed


def count_by_score(walk: Containers, keys: list[bytes], counts: Counts, *, expired: bool) -> None:
    """Count what is in sorted sets, each in logarithmic time; what is past the cutoff only if `expired`."""
    bounds = _of(walk)
    ranges = (
        (bounds.high[1:], "+inf"),
        ("-inf", bounds.never),
        (f"({bounds.never}", f"({bounds.plausible}") if bounds.plausible else ("(0", "0"),
        (bounds.low, bounds.high),
    )
    commands = [("ZCOUNT", key, low, high) for key in keys for low, high in ranges]
    answers = send_all(walk.client, commands)
    for n in range(len(keys)):
        four = answers[4 * n : 4 * n + 4]
        if any(skip_wrong_type(answer) for answer in four):
            continue
        live, never, implausible, past = (int(answer) for answer in four)
        counts.live += live
        counts.without_expiry += never
        counts.unparsable += implausible
        counts.scanned += live + never + implausible
        if expired:
            counts.expired += past
            counts.scanned += past
    if expired:
        _note_late(walk, bounds, keys, counts)
        _note_oldest(walk, bounds, keys, counts)


def _note_late(walk: Containers, bounds: Bounds, keys: list[bytes], counts: Counts) -> None:
    late = str(LAST_PLAUSIBLE_SECONDS * bounds.per_second)
    for answer in send_all(walk.client, [("ZCOUNT", key, late, "+inf") for key in keys]):
        if not skip_wrong_type(answer) and answer:
            counts.details[AFTER_2100] += int(answer)


def _note_oldest(walk: Containers, bounds: Bounds, keys: list[bytes], counts: Counts) -> None:
    found = send_all(
        walk.client,
        [("ZRANGEBYSCORE", key, bounds.low, bounds.high, "WITHSCORES", "LIMIT", 0, 1) for key in keys],
    )
    for answer in found:
        if skip_wrong_type(answer) or not answer:
            continue
        ms = int(scored(answer)[0][1] * 1000 / bounds.per_second)
        counts.oldest_ms = ms if counts.oldest_ms is None else min(counts.oldest_ms, ms)
