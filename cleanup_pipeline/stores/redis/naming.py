"""The keys of a target one by one, each judged by the script that would remove it: for plans."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

from cleanup_pipeline.model.outline import Sighting, State
from cleanup_pipeline.model.target import MAX_BATCH, Target
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError
from cleanup_pipeline.stores.redis.connection import Client, primaries
from cleanup_pipeline.stores.redis.containers import is_container_rule
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.rules import Rule, compile_rule
from cleanup_pipeline.stores.redis.scan import START, pages
from cleanup_pipeline.stores.redis.scripts import NO_FENCE, Call, answers_of, raise_first
from cleanup_pipeline.stores.redis.sweep import Sweep, read_answer

KEYS_A_PAGE = 200
EVER = datetime(9999, 12, 31, tzinfo=UTC)
"""As a cutoff, with which everything that has an instant of death is past it."""


def all_of(client: Client, target: Target, cutoff: datetime, timeout: timedelta) -> Generator[Sighting, None, None]:
    """Every key. Rests as long as it works, so that it takes half of what the server has to give at most.

    Raises BatchTimeoutError, and StoreError where the records are members of keys.
    """
    if is_container_rule(target):
        raise StoreError(
            "its records are members of keys, which are not named one by one",
            setting=f"targets.{target.name}.expires",
            remedy="go by the counts",
        )
    target = replace(target, spared=())
    rule, ends = compile_rule(target), monotonic() + timeout.total_seconds()
    for node in primaries(client):
        for page in pages(client, rule.source, START, KEYS_A_PAGE, node=node):
            began = monotonic()
            yield from _judged(client, rule, target, cutoff, page.keys, node)
            now = monotonic()
            if now > ends:
                raise BatchTimeoutError(
                    "its keys could not be read in the time that there is",
                    setting=f"targets.{target.name}.census_timeout",
                    remedy="raise it, or go by the counts",
                )
            if page.keys:
                sleep(min(now - began, 0.1))


def _judged(
    client: Client, rule: Rule, target: Target, cutoff: datetime, keys: Sequence[bytes], node: str
) -> Generator[Sighting, None, None]:
    """Each key in a script of its own, once for its state and once for when it dies."""
    if not keys:
        return
    instants = replace(target, since=None)
    asked = [
        Call([key], rule.arguments(of, at, delete=False, limit=MAX_BATCH))
        for key in keys
        for of, at in ((target, cutoff), (instants, EVER))
    ]
    answers = answers_of(client, rule.script, asked, fence=NO_FENCE)
    raise_first(answers)
    for number, key in enumerate(keys):
        now, ever = (read_answer(answers[2 * number + part]) for part in (0, 1))
        counts, dies = now.counts, ever.counts.oldest_ms
        if now.unread:
            # Looked at twice, or read on this side of the wire.
            counts = Sweep(client, rule, target, cutoff, delete=False, node=node).slice([key], 1)[1]
            dies = Sweep(client, rule, instants, EVER, delete=False, node=node).slice([key], 1)[1].oldest_ms
        state = _state(counts)
        if state is not None:
            known = state in {State.EXPIRED, State.LIVE} and dies is not None
            instant = datetime.fromtimestamp((dies or 0) / 1000, UTC) if known else None
            yield Sighting(key.decode("utf-8", "surrogateescape"), state, instant)


def _state(counts: Counts) -> State | None:
    """None: it is gone, or no key of the target's."""
    for state, count in (
        (State.EXPIRED, counts.expired),
        (State.LIVE, counts.live),
        (State.WITHOUT_EXPIRY, counts.without_expiry),
        (State.UNPARSABLE, counts.unparsable),
    ):
        if count:
            return state
    return None
