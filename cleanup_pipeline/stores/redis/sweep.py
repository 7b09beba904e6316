"""Walking the keys of a target: SCAN for candidates, a script for what they are and what becomes of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic, sleep
from typing import Any

from redis.exceptions import RedisError

from cleanup_pipeline.model.target import MAX_BATCH, PointerExpiry, Target
from cleanup_pipeline.stores.redis.connection import Client, in_cluster
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.keeping import Kept
from cleanup_pipeline.stores.redis.leases import fence_of
from cleanup_pipeline.stores.redis.pointers import SETTLE_SECONDS, clean_pointers
from cleanup_pipeline.stores.redis.rules import Rule
from cleanup_pipeline.stores.redis.scan import START, Page, scan_page
from cleanup_pipeline.stores.redis.scripts import run_script, run_script_by_slot
from cleanup_pipeline.stores.redis.values import settle


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one script said. `following` and `rest` are those of a script that walks."""

    done: int
    counts: Counts
    following: int | None
    rest: tuple[bytes, ...]
    unread: tuple[bytes, ...]
    told: Sequence[bytes]
    """What the script said of the keys that go, where somebody is to be told; `Kept.hear` reads it."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One look at, or one cleaning of, the keys of a target on one server. Without `delete` nothing is changed."""

    client: Client
    rule: Rule
    target: Target
    cutoff: datetime
    delete: bool
    node: str = ""
    """Of a cluster: the primary, as host:port."""
    kept: Kept | None = None
    """Who is told of what goes; None: nobody."""

    @property
    def mode(self) -> str:
        """What the script is to do with a dead key."""
        if not self.delete:
            return "look"
        return "delete" if self.kept is None else self.kept.mode

    @property
    def full(self) -> bool:
        """Whether the batch is to end: what it keeps is as much as may be in memory."""
        return self.kept is not None and self.kept.full

    def _run(self, keys: Sequence[bytes], arguments: list[str | int]) -> _Answer:
        began = monotonic()
        said = run_script(self.client, self.rule.script, keys, arguments, fence=fence_of(self.client, self.target))
        # The server was held up for no longer: what is done with the answer is no reason to rest more.
        seconds = monotonic() - began
        answer = _read(said)
        if self.kept is not None:
            self.kept.hear(answer.told, answer.counts)
        answer.counts.slowest = seconds
        return answer

    @property
    def walks(self) -> bool:
        """Whether the script may find its keys itself: half the traffic, and nothing comes between SCAN and judgement.

        Not with exclusions, which are applied on this side of the wire, and not in a cluster, whose scripts may touch
        no key that they were not given.
        """
        return not self.rule.source.exclude and not in_cluster(self.client)

    def pages(self, at: int, count: int, room: Callable[[], int]) -> Iterator[tuple[Page, Counts]]:
        """Pages from a cursor on, until the last one, each with what was already judged of it.

        Where keys of the target are sparse, SCAN takes longer strides. `room()` is the most that the next script may
        remove.
        """
        stride = count
        while True:
            if self.walks:
                page, counts = self._walk(at, stride, room())
            else:
                page = scan_page(self.client, self.rule.source, at, stride, node=self.node)
                counts = Counts()
            yield page, counts
            at = page.following
            if at == START:
                return
            stride = count if page.keys or counts.scanned else min(stride * 2, MAX_BATCH)

    def slice(self, keys: Sequence[bytes], limit: int) -> tuple[int, Counts]:
        """Judge one slice of keys and remove at most `limit` dead ones, in one script.

        Answers how many of the keys it got through: a script that met its limit of keys or of time leaves the rest.
        """
        arguments = self.rule.arguments(self.target, self.cutoff, mode=self.mode, limit=limit)
        if in_cluster(self.client):
            keys = keys[:limit] if self.delete else keys
            if isinstance(self.target.expiry, PointerExpiry):
                rule = self.target.expiry
                return len(keys), clean_pointers(self.client, self.target, rule, keys, self.cutoff, delete=self.delete)
            return len(keys), self._by_slot(keys, arguments)
        answer = self._run(keys, arguments)
        answer.counts.largest = answer.counts.deleted
        answer.counts.add(self._read_here(answer.unread))
        return answer.done, answer.counts

    def _by_slot(self, keys: Sequence[bytes], arguments: list[str | int]) -> Counts:
        """A script for each slot, again for the keys that one left when its time was over."""
        counts, fence, rest = Counts(), fence_of(self.client, self.target), list(keys)
        slowest, largest = 0.0, 0
        while rest:
            began = monotonic()
            said = run_script_by_slot(self.client, self.rule.script, rest, arguments, fence=fence)
            answers = [(group, _read(one)) for group, one in said]
            slowest = max(slowest, (monotonic() - began) / len(answers))
            for _, one in answers:
                if self.kept is not None:
                    self.kept.hear(one.told, one.counts)
                counts.add(one.counts)
                largest = max(largest, one.counts.deleted)
            counts.add(self._read_here([key for _, one in answers for key in one.unread]))
            left = [key for group, one in answers for key in group[one.done :]]
            if len(left) == len(rest):
                raise RedisError("a script got through none of its keys")
            rest = left
        counts.slowest, counts.largest = slowest, largest
        return counts

    def _look_again(self, keys: Sequence[bytes]) -> Counts:
        """Judge pointers that seem to point nowhere once more: a login may write its record a moment later."""
        if self.delete:
            sleep(SETTLE_SECONDS)
        rule = replace(self.rule, options=(*self.rule.options[:-1], "1"))
        arguments = rule.arguments(self.target, self.cutoff, mode=self.mode, limit=MAX_BATCH)
        counts, rest = Counts(), list(keys)
        while rest:
            answer = self._run(rest, arguments)
            counts.add(answer.counts)
            if answer.done == 0:
                raise RedisError("a script got through none of its keys")
            rest = rest[answer.done :]
        # Each was counted when it was met first.
        counts.scanned = 0
        return counts

    def _read_here(self, keys: Sequence[bytes]) -> Counts:
        if not keys:
            return Counts()
        if isinstance(self.target.expiry, PointerExpiry):
            return self._look_again(keys)
        one_slot = in_cluster(self.client)
        kept = self.kept if self.delete else None
        return settle(self.client, self.target, keys, self.cutoff, delete=self.delete, one_slot=one_slot, kept=kept)

    def _walk(self, at: int, count: int, limit: int) -> tuple[Page, Counts]:
        arguments = self.rule.arguments(self.target, self.cutoff, mode=self.mode, limit=limit, walk=at, count=count)
        answer = self._run((), arguments)
        counts = answer.counts
        counts.largest = counts.deleted
        counts.add(self._read_here(answer.unread))
        following = START if answer.following is None else answer.following
        # SCAN may name a key twice.
        return Page(at, following, tuple(dict.fromkeys(answer.rest))), counts


def clean_slice(sweep: Sweep, keys: Sequence[bytes], limit: int) -> tuple[int, Counts]:
    """`Sweep.slice`."""
    return sweep.slice(keys, limit)


def look(sweep: Sweep, deadline: float) -> tuple[Counts, bool]:
    """Judge every key of a target, and whether it was done before `deadline` (of time.monotonic)."""
    counts = Counts()
    for page, seen in sweep.pages(START, sweep.rule.slice, lambda: MAX_BATCH):
        counts.add(seen)
        rest = page.keys
        while rest:
            done, seen = sweep.slice(rest[: sweep.rule.slice], MAX_BATCH)
            counts.add(seen)
            rest = rest[done:]
        if page.following == START:
            return counts, True
        if monotonic() >= deadline:
            break
    return counts, False


def _read(answer: list[Any]) -> _Answer:
    done, scanned, expired, deleted, live, never, unknown, repaired, oldest = (int(n) for n in answer[:9])
    names, numbers = answer[14::2], answer[15::2]
    counts = Counts(
        scanned=scanned,
        expired=expired,
        deleted=deleted,
        live=live,
        without_expiry=never,
        unparsable=unknown,
        repaired=repaired,
        oldest_ms=oldest if oldest >= 0 else None,
        newest_ms=[int(each) for each in answer[12]],
        details=Counter({bytes(name).decode(): int(n) for name, n in zip(names, numbers, strict=True)}),
    )
    following = int(answer[9]) if answer[9] else None
    return _Answer(done, counts, following, tuple(answer[10]), tuple(answer[11]), answer[13])
