"""Members that name other keys: those whose keys are gone are removed, after a second look, inside the script."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep

from redis.crc import key_slot

from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.redis.connection import in_cluster, send_all
from cleanup_pipeline.stores.redis.containers import (
    MEMBERS,
    Containers,
    Position,
    next_containers,
    scored,
    skip_wrong_type,
)
from cleanup_pipeline.stores.redis.counts import Counts
from cleanup_pipeline.stores.redis.members import Members
from cleanup_pipeline.stores.redis.scores import count_by_score
from cleanup_pipeline.stores.redis.scripts import Argument, Call, load_script, run_scripts

SETTLE_SECONDS = 0.05
"""Least time between the first look at a key and the removal of its member: a login may write the member first."""
FEW = 10
"""Members; from so few nothing is concluded about how all of them are written."""
READ_AT_ONCE = 1000
PASSED_AT_ONCE = 200_000
"""Elements of a list that one script may pass by: about two milliseconds."""
_REMOVE = {"set": "SREM", "hash": "HDEL", "zset": "ZREM", "list": "LREM"}


@dataclass(slots=True)
class _Slice:
    """A few members of one container, and where the next ones are (empty: there are none)."""

    container: bytes
    inner: str
    members: list[bytes]
    following: str
    scores: list[float]
    gone: list[tuple[bytes, tuple[bytes, ...]]]
    """Members that look dangling, with the keys that they name."""
    alive: int = 0
    unread: int = 0
    kept_at_last: int = 0


def reference_step(walk: Containers, position: Position, counts: Counts, room: int) -> None:
    """One round over a few containers; what did not fit into `room` is read again in the next one.

    Raises StoreError when most members cannot be read: then the rest cannot be trusted to be read right either.
    """
    if walk.members is None:
        raise ValueError("this rule has no members")
    group = list(next_containers(walk, position))
    if not group:
        return
    began = monotonic()
    slices = [s for s in _read(walk, group) if s is not None]
    _refuse_unknown_writing(walk, slices)
    _look(walk, slices)
    left = room
    finished: dict[bytes, str] = {key: "" for key, _ in group}
    chosen: list[tuple[_Slice, list[tuple[bytes, tuple[bytes, ...]]]]] = []
    for part in slices:
        taken = part.gone[: max(0, left)] if walk.delete else []
        left -= len(taken)
        if walk.delete and len(taken) < len(part.gone):
            finished[part.container] = part.inner or _AGAIN
        else:
            finished[part.container] = part.following
            counts.live += part.alive
            counts.unparsable += part.unread
            counts.scanned += part.alive + part.unread
        if not walk.delete:
            counts.expired += len(part.gone)
            counts.scanned += len(part.gone)
        if taken:
            chosen.append((part, taken))
    if chosen:
        sleep(max(0.0, began + SETTLE_SECONDS - monotonic()))
        _remove(walk, chosen, counts)
    if walk.bounds is not None:
        count_by_score(walk, [key for key, inner in finished.items() if not inner], counts, expired=False)
    rest = position.pending[len(group) :]
    position.pending = [(key, "" if inner == _AGAIN else inner) for key, inner in finished.items() if inner] + rest


_AGAIN = "again"


def _read(walk: Containers, group: Sequence[tuple[bytes, str]]) -> list[_Slice | None]:
    each = max(1, MEMBERS // len(group))
    if walk.bounds is not None:
        return _read_by_score(walk, group, each)
    if walk.source.key_type == "list":
        return _read_lists(walk, group, each)
    word = {"set": "SSCAN", "hash": "HSCAN", "zset": "ZSCAN"}[walk.source.key_type]
    answers = send_all(walk.client, [(word, key, inner or "0", "COUNT", each) for key, inner in group])
    slices: list[_Slice | None] = []
    for (key, inner), answer in zip(group, answers, strict=True):
        if skip_wrong_type(answer):
            slices.append(None)
            continue
        following, found = answer
        members = [pair[0] if isinstance(pair, tuple) else pair for pair in found]
        onward = "" if int(following) == 0 else str(int(following))
        slices.append(_Slice(key, inner, list(dict.fromkeys(members)), onward, [], []))
    return slices


def _read_lists(walk: Containers, group: Sequence[tuple[bytes, str]], each: int) -> list[_Slice | None]:
    """From the end: what is removed moves only what was read already. `inner` is how many are still before that."""
    unknown = [key for key, inner in group if not inner]
    lengths = dict(zip(unknown, send_all(walk.client, [("LLEN", key) for key in unknown]), strict=True))
    ends = [int(inner) if inner else lengths[key] for key, inner in group]
    ranges = [(0, 0) if isinstance(end, Exception) else (max(0, end - each), end) for end in ends]
    commands = [("LRANGE", key, low, high - 1) for (key, _), (low, high) in zip(group, ranges, strict=True)]
    slices: list[_Slice | None] = []
    for (key, inner), (low, high), answer in zip(group, ranges, send_all(walk.client, commands), strict=True):
        if skip_wrong_type(answer):
            slices.append(None)
        else:
            slices.append(_Slice(key, inner, list(answer) if high else [], str(low) if low else "", [], []))
    return slices


def _read_by_score(walk: Containers, group: Sequence[tuple[bytes, str]], each: int) -> list[_Slice | None]:
    """Lowest scores first. `inner` is the score to go on from and how many with it were kept."""
    if walk.bounds is None:
        raise ValueError("this rule has no scores")
    commands: list[tuple[str | bytes | int, ...]] = []
    for key, inner in group:
        low, _, offset = inner.partition("/")
        commands.append(
            ("ZRANGEBYSCORE", key, low or walk.bounds.low, walk.bounds.high, "WITHSCORES", "LIMIT", offset or 0, each)
        )
    slices: list[_Slice | None] = []
    for (key, inner), answer in zip(group, send_all(walk.client, commands), strict=True):
        if skip_wrong_type(answer):
            slices.append(None)
            continue
        members, scores = [member for member, _ in scored(answer)], [score for _, score in scored(answer)]
        slices.append(_Slice(key, inner, members, "more" if len(members) == each else "", scores, []))
    return slices


def _refuse_unknown_writing(walk: Containers, slices: Sequence[_Slice]) -> None:
    if walk.members is None:
        return
    total = sum(len(part.members) for part in slices)
    unread = sum(_unread(walk.members, part) for part in slices)
    if total >= FEW and unread * 2 > total:
        raise StoreError(
            f"{unread} of {total} members of {walk.source.pattern} are not written as `member_codec` says",
            setting=f"{walk.place}.expires.member_codec",
            remedy="look at one (SRANDMEMBER, HRANDFIELD, ZRANDMEMBER) and set raw, utf8, json or jdk; correct `index`",
        )


def _unread(members: Members, part: _Slice) -> int:
    names = members.names(part.container)
    if names is None:
        return len(part.members)
    return sum(members.keys_of(member, names) is None for member in part.members)


def _look(walk: Containers, slices: Sequence[_Slice]) -> None:
    """Sort the members of each slice into alive, gone and unread."""
    if walk.members is None:
        return
    named: list[tuple[_Slice, int, tuple[bytes, ...]]] = []
    for part in slices:
        names = walk.members.names(part.container)
        for number, member in enumerate(part.members):
            keys = None if names is None else walk.members.keys_of(member, names)
            if keys is None:
                part.unread += 1
                _keep(part, number)
            else:
                named.append((part, number, keys))
    exist = existing(walk, [key for _, _, keys in named for key in keys])
    for part, number, keys in named:
        if any(exist[key] for key in keys):
            part.alive += 1
            _keep(part, number)
        else:
            part.gone.append((part.members[number], keys))
            if not walk.delete:
                _keep(part, number)
    for part in slices:
        if part.following == "more":
            low, _, offset = part.inner.partition("/")
            before = int(offset or 0) if low and float(low) == part.scores[-1] else 0
            part.following = f"{part.scores[-1]!r}/{before + part.kept_at_last}"


def _keep(part: _Slice, number: int) -> None:
    if part.scores and part.scores[number] == part.scores[-1]:
        part.kept_at_last += 1


def existing(walk: Containers, keys: Sequence[bytes]) -> dict[bytes, bool]:
    """Which of these keys are there."""
    unique = list(dict.fromkeys(keys))
    exist: dict[bytes, bool] = {}
    for start in range(0, len(unique), READ_AT_ONCE):
        some = unique[start : start + READ_AT_ONCE]
        for key, answer in zip(some, send_all(walk.client, [("EXISTS", key) for key in some]), strict=True):
            if isinstance(answer, Exception):
                raise answer
            exist[key] = bool(answer)
    return exist


def _still_gone(
    walk: Containers, call: Call, named: Sequence[tuple[bytes, tuple[bytes, ...]]], counts: Counts
) -> Call | None:
    """The call with those members whose keys are gone right before it: no script sees another server's keys."""
    exist = existing(walk, [key for _, keys in named for key in keys])
    members = [member for member, keys in named if not any(exist[key] for key in keys)]
    counts.live += len(named) - len(members)
    counts.scanned += len(named) - len(members)
    return Call(call.keys, [*call.arguments, *members]) if members else None


def _at_once(walk: Containers, containers: Sequence[bytes]) -> dict[bytes, int]:
    """How many members one script removes from each of these containers."""
    if walk.source.key_type != "list":
        return dict.fromkeys(containers, MEMBERS)
    # LREM passes every element behind the one that it looks for.
    lengths = send_all(walk.client, [("LLEN", key) for key in containers])
    passed = [length if isinstance(length, int) else 1 for length in lengths]
    steps = (max(1, min(MEMBERS, PASSED_AT_ONCE // max(1, each))) for each in passed)
    return dict(zip(containers, steps, strict=True))


def _remove(
    walk: Containers,
    chosen: Sequence[tuple[_Slice, list[tuple[bytes, tuple[bytes, ...]]]]],
    counts: Counts,
) -> None:
    if walk.members is None:
        return
    each = len(walk.members.keys)
    bounds = [walk.bounds.low, walk.bounds.high] if walk.bounds else ["", ""]
    command = _REMOVE[walk.source.key_type]
    calls: list[tuple[Call, list[tuple[bytes, tuple[bytes, ...]]]]] = []
    steps = _at_once(walk, [part.container for part, _ in chosen])
    for part, gone in chosen:
        for start in range(0, len(gone), steps[part.container]):
            some = gone[start : start + steps[part.container]]
            keys = [key for _, named in some for key in named]
            if in_cluster(walk.client) and any(key_slot(key) != key_slot(part.container) for key in keys):
                calls.append((Call([part.container], [command, 0, *bounds]), some))
            else:
                arguments: list[Argument] = [command, each, *bounds, *(member for member, _ in some)]
                calls.append((Call([part.container, *keys], arguments), []))
    for planned, named in calls:
        began = monotonic()
        call = _still_gone(walk, planned, named, counts) if named else planned
        if call is None:
            continue
        removed = int(run_scripts(walk.client, load_script("fence", "prune"), [call], fence=walk.fence)[0])
        counts.slowest = max(counts.slowest, monotonic() - began)
        counts.largest = max(counts.largest, removed)
        counts.deleted += removed
        counts.expired += removed
        kept = len(call.arguments) - 4 - removed
        counts.live += kept
        counts.scanned += removed + kept
