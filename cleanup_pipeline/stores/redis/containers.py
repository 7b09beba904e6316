"""Cleaning inside of keys: a slice of their members at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from redis.exceptions import ResponseError

from cleanup_pipeline.model.outcome import Cursor
from cleanup_pipeline.model.target import ElementsExpiry, KeySource, MembersExpiry, ScoreExpiry, Target
from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis.connection import Client
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.leases import fence_of
from cleanup_pipeline.stores.redis.members import Members, compile_members
from cleanup_pipeline.stores.redis.rules import epoch_ms
from cleanup_pipeline.stores.redis.scan import START, scan_page
from cleanup_pipeline.stores.redis.scripts import NO_FENCE, Fence

KEYS_A_PAGE = 100
KEYS_AT_ONCE = 16
MEMBERS = 250
"""Most members that one script is given, over all containers that are cleaned at once."""
ALL = -1
"""In place of a cursor of SCAN: every key has been named."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which scores a member is dead, as ZRANGEBYSCORE takes them; what never dies lies below."""

    low: str
    high: str
    never: str
    """Up to and including this score a member never dies."""
    plausible: str | None
    """The least score that can be an instant, where there is a gap between it and `never`."""
    per_second: int


@dataclass(frozen=True, slots=True)
class Containers:
    """The containers of a target on one server. Without `delete` nothing is changed."""

    client: Client
    source: KeySource
    place: str
    bounds: Bounds | None
    members: Members | None
    delete: bool
    node: str = ""
    fence: Fence = NO_FENCE
    elements: ElementsExpiry | None = None
    """Set: the containers are strings that hold JSON arrays."""
    cutoff_ms: int = 0
    since_ms: int | None = None


@dataclass(slots=True)
class Position:
    """Where a walk over containers stands: SCAN's cursor, and what of its last page is still to be done."""

    scan: int = START
    pending: list[tuple[bytes, str]] = field(default_factory=list[tuple[bytes, str]])
    """Keys, each with where to go on inside of it (empty: at the beginning)."""

    @property
    def cursor(self) -> Cursor | None:
        """For the engine to hand back; None at the end."""
        if self.scan == ALL and not self.pending:
            return None
        return {"scan": str(self.scan), "pending": " ".join(f"{key.hex()}:{inner}" for key, inner in self.pending)}


def read_position(cursor: Cursor | None) -> Position:
    """What `Position.cursor` said; None is the beginning."""
    if cursor is None:
        return Position()
    pairs = [pair.partition(":") for pair in str(cursor["pending"]).split()]
    return Position(int(str(cursor["scan"])), [(bytes.fromhex(key), inner) for key, _, inner in pairs])


def is_container_rule(target: Target) -> bool:
    """Whether a target's records are members of keys, not keys."""
    return isinstance(target.expiry, MembersExpiry | ScoreExpiry | ElementsExpiry)


def open_containers(client: Client, target: Target, cutoff: datetime, *, delete: bool, node: str = "") -> Containers:
    """The containers of a target whose rule is MembersExpiry, ScoreExpiry or ElementsExpiry.

    Raises StoreError when source, type and rule do not fit together.
    """
    place = f"targets.{target.name}"
    source, expiry = target.source, target.expiry
    if not isinstance(source, KeySource):
        raise StoreError(
            f"{target.source_name} is not a Redis key pattern", setting=place, remedy="set `keys` to a glob pattern"
        )
    if target.where:
        raise StoreError("Redis keys have no columns to filter by", setting=f"{place}.where", remedy="remove `where`")
    score = expiry if isinstance(expiry, ScoreExpiry) else None
    elements = expiry if isinstance(expiry, ElementsExpiry) else None
    of_both = score or elements
    member_rule = expiry if isinstance(expiry, MembersExpiry) else of_both.members if of_both else None
    types = ("zset",) if score else ("string",) if elements else ("set", "hash", "zset", "list")
    if source.key_type not in types:
        raise StoreError(
            f"the expiry rule reads members of a {' or '.join(types)}, but the keys are of type {source.key_type}",
            setting=f"{place}.type",
            remedy=f"set `type: {types[0]}` or choose another expiry rule",
        )
    members = None if member_rule is None else compile_members(member_rule, f"{place}.expires")
    since = None if target.since is None else epoch_ms(target.since)
    bounds = None if score is None else _bounds(score, epoch_ms(cutoff), since)
    return Containers(
        client,
        source,
        place,
        bounds,
        members,
        delete,
        node,
        fence_of(client, target),
        elements,
        epoch_ms(cutoff),
        since,
    )


def _score(ms: int, in_unit: int) -> str:
    return f"{ms * in_unit // 1000}" if in_unit >= 1000 else f"{ms // 1000}.{ms % 1000:03d}"


def _bounds(expiry: ScoreExpiry, cutoff_ms: int, since_ms: int | None = None) -> Bounds:
    in_unit = expiry.unit.per_second
    high = _score(cutoff_ms, in_unit)
    first = FIRST_PLAUSIBLE_SECONDS * in_unit
    implausible = expiry.above < first
    plausible = f"{first}" if implausible else f"({expiry.above!r}"
    low = plausible
    if since_ms is not None and since_ms * in_unit / 1000 > max(first, expiry.above):
        low = _score(since_ms, in_unit)
    return Bounds(low, f"({high}", f"{expiry.above!r}", plausible if implausible else None, in_unit)


def bounds_of(expiry: ScoreExpiry, cutoff: datetime) -> tuple[str, str]:
    """Between which scores a member is dead, as ZRANGEBYSCORE takes them."""
    bounds = _bounds(expiry, epoch_ms(cutoff))
    return bounds.low, bounds.high


def next_containers(walk: Containers, position: Position) -> Sequence[tuple[bytes, str]]:
    """The containers that come next, at most KEYS_AT_ONCE; none when a page named none, or at the end."""
    if not position.pending and position.scan != ALL:
        page = scan_page(walk.client, walk.source, position.scan, KEYS_A_PAGE, node=walk.node)
        position.pending = [(key, "") for key in page.keys]
        position.scan = ALL if page.following == START else page.following
    return position.pending[:KEYS_AT_ONCE]


def skip_wrong_type(answer: object) -> bool:
    """Whether a container became a key of another type meanwhile, or raise the fault that the answer is."""
    if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
        return True
    if isinstance(answer, Exception):
        raise answer
    return False


def scored(answer: Sequence[Any]) -> list[tuple[bytes, float]]:
    """Members with their scores, from the answer to a command WITHSCORES."""
    if answer and isinstance(answer[0], list | tuple):
        return [(member, float(score)) for member, score in answer]
    return [(member, float(score)) for member, score in zip(answer[::2], answer[1::2], strict=True)]


Step = Callable[[Containers, Position, Counts, int], None]
"""One round over a few containers: takes the position on, adds to the counts, removes at most so many members."""


def walk_all(step: Step, walk: Containers, deadline: float) -> tuple[Counts, bool]:
    """Look at every member, and whether that was done before `deadline` (of time.monotonic)."""
    position, counts = Position(), Counts()
    while position.cursor is not None:
        step(walk, position, counts, MEMBERS)
        if position.cursor is not None and monotonic() >= deadline:
            return counts, False
    return counts, True
