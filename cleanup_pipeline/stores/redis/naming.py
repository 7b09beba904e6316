"""The keys of a target one by one, each judged by the script that would remove it: for plans."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha1
from importlib.resources import files
from time import monotonic, sleep

from redis.exceptions import RedisError

from cleanup_pipeline.model.outline import Sighting, State
from cleanup_pipeline.model.target import MAX_BATCH, PointerExpiry, Target
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError
from cleanup_pipeline.stores.redis.connection import Client, in_cluster, primaries
from cleanup_pipeline.stores.redis.containers import is_container_rule
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.rules import Rule, compile_rule
from cleanup_pipeline.stores.redis.scan import START, pages
from cleanup_pipeline.stores.redis.scripts import NO_FENCE, Script, run_script, run_script_by_slot
from cleanup_pipeline.stores.redis.sweep import Sweep

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
) -> Iterator[Sighting]:
    """What each key is, by the rule's own `judge`; what a script cannot read is looked at as a pass does it."""
    if in_cluster(client) and isinstance(target.expiry, PointerExpiry):
        # What a pointer names may be in another slot than itself, where its script does not reach.
        for key in keys:
            yield from _read_here(client, rule, target, cutoff, key, node)
        return
    arguments = rule.arguments(target, cutoff, mode="look", limit=MAX_BATCH)
    script, rest = _naming(rule.script), list(keys)
    while rest:
        some, rest = rest[: rule.slice], rest[rule.slice :]
        if in_cluster(client):
            answers = run_script_by_slot(client, script, some, arguments, fence=NO_FENCE)
        else:
            answers = [(some, run_script(client, script, some, arguments, fence=NO_FENCE))]
        for asked, answer in answers:
            done = len(answer) // 2
            if not done:
                raise RedisError("a script got through none of its keys")
            # Its time was over.
            rest += asked[done:]
            for number, key in enumerate(asked[:done]):
                state, dies = bytes(answer[2 * number]).decode(), int(answer[2 * number + 1])
                if state == "unread":
                    yield from _read_here(client, rule, target, cutoff, key, node)
                elif state:
                    yield _sighting(key, State(state), dies if dies >= 0 else None)


def _read_here(
    client: Client, rule: Rule, target: Target, cutoff: datetime, key: bytes, node: str
) -> Iterator[Sighting]:
    """A key whose value is read on this side of the wire, or that has to be looked at twice."""
    counts = Sweep(client, rule, target, cutoff, delete=False, node=node).slice([key], 1)[1]
    ever = Sweep(client, rule, replace(target, since=None), EVER, delete=False, node=node).slice([key], 1)[1]
    state = _state(counts)
    if state is not None:
        yield _sighting(key, state, ever.oldest_ms)


def _sighting(key: bytes, state: State, dies_ms: int | None) -> Sighting:
    known = state in {State.EXPIRED, State.LIVE} and dies_ms is not None
    instant = datetime.fromtimestamp((dies_ms or 0) / 1000, UTC) if known else None
    return Sighting(key.decode("utf-8", "surrogateescape"), state, instant)


@cache
def _naming(script: Script) -> Script:
    """The same script with name.lua in place of its loop."""
    loop, name = ((files(__package__) / "lua" / each).read_text("utf-8") for each in ("loop.lua", "name.lua"))
    source = script.source.removesuffix(loop) + name
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


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
