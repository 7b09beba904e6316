"""Walking the keys of a target: SCAN for candidates, a script for what they are and what becomes of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from cleanup_pipeline.model.target import MAX_BATCH, KeySource, Target
from cleanup_pipeline.stores.redis.connection import send
from cleanup_pipeline.stores.redis.glob import matches
from cleanup_pipeline.stores.redis.rules import SLICE, Rule, Script

START = 0


@dataclass(slots=True)
class Counts:
    """What scripts saw and did. A running sum; `scanned` leaves out what was gone or of another type on re-check."""

    scanned: int = 0
    expired: int = 0
    deleted: int = 0
    live: int = 0
    without_expiry: int = 0
    unparsable: int = 0
    repaired: int = 0
    oldest_ms: int | None = None
    details: Counter[str] = field(default_factory=Counter[str])
    largest: int = 0
    slowest: float = 0.0
    """Seconds of the longest script, the way there and back included."""

    def add(self, other: "Counts") -> None:
        """Take in one more slice or page."""
        self.scanned += other.scanned
        self.expired += other.expired
        self.live += other.live
        self.without_expiry += other.without_expiry
        self.unparsable += other.unparsable
        self.details.update(other.details)
        if other.oldest_ms is not None:
            self.oldest_ms = other.oldest_ms if self.oldest_ms is None else min(self.oldest_ms, other.oldest_ms)
        self.add_changes(other)

    def add_changes(self, other: "Counts") -> None:
        """Take in only what a page that will be read again has changed for good."""
        self.deleted += other.deleted
        self.repaired += other.repaired
        self.largest = max(self.largest, other.largest)
        self.slowest = max(self.slowest, other.slowest)


@dataclass(frozen=True, slots=True)
class Page:
    """The keys that one SCAN named, and the cursor behind them (0: that was all)."""

    at: int
    following: int
    keys: tuple[bytes, ...]


def scan_page(client: Redis, source: KeySource, at: int, count: int, *, any_type: bool = False) -> Page:
    """One SCAN of about `count` keys of the database. May name no key at all without being the last."""
    command: list[str | int] = ["SCAN", at, "MATCH", source.pattern, "COUNT", count]
    if not any_type:
        command += ["TYPE", source.key_type]
    following, keys = send(client, *command)
    excluded = [pattern.encode() for pattern in source.exclude]
    # SCAN may name a key twice; within a page that is seen here, across pages UNLINK's own answer counts.
    kept = tuple(key for key in dict.fromkeys(keys) if not any(matches(pattern, key) for pattern in excluded))
    return Page(at, int(following), kept)


def run_script(client: Redis, script: Script, keys: Sequence[bytes], arguments: Sequence[str | int]) -> list[Any]:
    """EVALSHA, or EVAL where the server has forgotten the script, as it may at any time."""
    try:
        answer = send(client, "EVALSHA", script.sha, len(keys), *keys, *arguments)
    except NoScriptError:
        answer = send(client, "EVAL", script.source, len(keys), *keys, *arguments)
    return list(answer)


def judge(client: Redis, rule: Rule, target: Target, keys: Sequence[bytes], cutoff: datetime) -> Counts:
    """Look at keys without changing any. Any number of them, a slice at a time."""
    counts = Counts()
    arguments = rule.arguments(target, cutoff, delete=False, limit=MAX_BATCH)
    rest = tuple(keys)
    while rest:
        done, seen = _read(run_script(client, rule.script, rest[: rule.slice], arguments))
        counts.add(seen)
        rest = rest[done:]
    return counts


def clean_slice(
    client: Redis, rule: Rule, target: Target, keys: Sequence[bytes], cutoff: datetime, limit: int
) -> tuple[int, Counts]:
    """Judge one slice of keys again and remove at most `limit` dead ones, in one script.

    Answers how many of the keys it got through: a script that met its limit of keys or of time leaves the rest.
    """
    arguments = rule.arguments(target, cutoff, delete=True, limit=limit)
    began = monotonic()
    done, counts = _read(run_script(client, rule.script, keys, arguments))
    counts.slowest = monotonic() - began
    counts.largest = counts.deleted
    return done, counts


def look(client: Redis, rule: Rule, target: Target, cutoff: datetime, deadline: float) -> tuple[Counts, bool]:
    """Judge every key of a target, and whether it was done before `deadline` (of time.monotonic)."""
    counts = Counts()
    for page in pages(client, rule.source, START, SLICE):
        counts.add(judge(client, rule, target, page.keys, cutoff))
        if page.following == START:
            return counts, True
        if monotonic() >= deadline:
            break
    return counts, False


def pages(client: Redis, source: KeySource, at: int, count: int, *, any_type: bool = False) -> Iterator[Page]:
    """Pages from a cursor on, until the last one. Where keys of the target are sparse, SCAN takes longer strides."""
    stride = count
    while True:
        page = scan_page(client, source, at, stride, any_type=any_type)
        yield page
        at = page.following
        if at == START:
            return
        stride = count if page.keys else min(stride * 2, MAX_BATCH)


def _read(answer: list[Any]) -> tuple[int, Counts]:
    done, scanned, expired, deleted, live, never, unknown, repaired, oldest = (int(n) for n in answer[:9])
    names, numbers = answer[9::2], answer[10::2]
    counts = Counts(
        scanned=scanned,
        expired=expired,
        deleted=deleted,
        live=live,
        without_expiry=never,
        unparsable=unknown,
        repaired=repaired,
        oldest_ms=oldest if oldest >= 0 else None,
        details=Counter({bytes(name).decode(): int(n) for name, n in zip(names, numbers, strict=True)}),
    )
    return done, counts
