"""Keeping the removal ledger within its bounds: what is too old or too much is cut out, small segments are merged."""

import hashlib
import heapq
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np

from cleanup_pipeline.keeping.markers import MARKER, about_marker
from cleanup_pipeline.keeping.places import HALF, DamagedError, Folder, GoneError
from cleanup_pipeline.keeping.removals import SEGMENT
from cleanup_pipeline.keeping.segments import Segment, Table, encode, merged, open_segment, without

MOST_RECORDS = 2_000_000
"""Of one segment that was merged; about 100 MB in memory."""
_PARTS = 10
"""A merged segment is at most this part of the bytes and of the time that are kept: what is cut is rewritten."""
_BOUND = "bounds.json"
_MADE = re.compile(r"/(\d{13})[-~]")


def prune(folder: Folder, keep: timedelta, at_most: int, now: datetime) -> tuple[int, int]:
    """`Asking.prune`, for who has the folder alone."""
    for target in targets(folder):
        tidy(folder, target)
    limit = math.ceil((now - keep).timestamp())
    used = folder.used()
    waiting = [(segment.first, segment.name, segment) for name in targets(folder) for segment in segments(folder, name)]
    heapq.heapify(waiting)
    records = freed = 0
    while waiting and (waiting[0][0] < limit or used > at_most):
        *_, segment = heapq.heappop(waiting)
        until = limit if segment.first < limit else _until(segment, used - at_most, at_most // _PARTS)
        left = _cut(folder, segment, until)
        records += segment.records - (left.records if left else 0)
        freed += segment.size - (left.size if left else 0)
        used -= segment.size - (left.size if left else 0)
        if left:
            heapq.heappush(waiting, (left.first, left.name, left))
    for name in [stored.name for stored in folder.list()]:
        if _is_left(name, now):
            folder.remove(name)
        elif name.endswith(MARKER):
            with suppress(GoneError):
                if about_marker(folder, name)["began"] < limit:
                    folder.remove(name)
    for target in targets(folder):
        _merge(folder, target, keep, at_most)
    return records, freed


def _until(segment: Segment, excess: int, part: int) -> int:
    """Before when entries of a segment go, for `excess` bytes to go or a part of them: all of a small one."""
    if segment.size <= part:
        return segment.last + 1
    # The header is a part of the size that does not go.
    wanted = segment.records * min(excess, part) // segment.size + segment.records // 64 + 1
    times = np.sort(segment.table().ids["at"])
    return int(times[min(wanted, segment.records) - 1]) + 1


def _cut(folder: Folder, segment: Segment, until: int) -> Segment | None:
    """The segment without what was removed before a time; None: nothing is left."""
    before = bound(folder, segment.target)
    if before is None or before.timestamp() < until:
        folder.write(f"{segment.target}/{_BOUND}", json.dumps({"until": until}).encode())
    if segment.last < until:
        folder.remove(segment.name)
        return None
    table = segment.table()
    name = replace(folder, [segment], without(table, np.flatnonzero(table.ids["at"] < until)))
    return open_segment(folder, name)


def _merge(folder: Folder, target: str, keep: timedelta, at_most: int) -> None:
    """As one what was written with one key, up to MOST_RECORDS, so that a question opens few files."""
    groups: dict[str, list[Segment]] = defaultdict(list)
    for segment in sorted(segments(folder, target), key=lambda each: each.first):
        groups[segment.key].append(segment)
    for several in groups.values():
        together: list[Segment] = []
        for segment in several:
            if together and not _go_together([*together, segment], keep, at_most):
                _merge_these(folder, together)
                together = []
            together.append(segment)
        _merge_these(folder, together)


def _go_together(several: Sequence[Segment], keep: timedelta, at_most: int) -> bool:
    return (
        sum(each.records for each in several) <= MOST_RECORDS
        and sum(each.size for each in several) <= at_most // _PARTS
        and sum(len(each.header["origins"]) for each in several) <= np.iinfo(np.uint16).max
        and max(each.last for each in several) - several[0].first <= keep.total_seconds() / _PARTS
    )


def _merge_these(folder: Folder, several: Sequence[Segment]) -> None:
    if len(several) > 1:
        replace(folder, several, merged([segment.table() for segment in several]))


def replace(folder: Folder, several: Sequence[Segment], table: Table) -> str:
    """Another segment in place of some; its name, empty where nothing is left. Raises PlaceError.

    Written first, then removed: in between, the new one says that those do not count.
    """
    first, name = several[0], ""
    if table.size:
        data = encode(table, first.key, first.target, sorted(segment.name for segment in several))
        stem = first.name.removesuffix(SEGMENT).partition("~")[0]
        name = f"{stem}~{hashlib.sha256(data).hexdigest()[:8]}{SEGMENT}"
        folder.write(name, data)
    for segment in several:
        if segment.name != name:
            folder.remove(segment.name)
    return name


def targets(folder: Folder) -> list[str]:
    """Those of which anything is there. Raises PlaceError."""
    return sorted({stored.name.partition("/")[0] for stored in folder.list() if "/" in stored.name})


def segments(folder: Folder, target: str) -> Iterator[Segment]:
    """Those of a target that count. Raises PlaceError."""
    opened = [open_segment(folder, name) for name in names(folder, target)]
    over = frozenset[str]().union(*(segment.instead for segment in opened))
    yield from (segment for segment in opened if segment.name not in over)


def tidy(folder: Folder, target: str) -> None:
    """Remove what another segment is in the place of, for who has the folder alone. Raises PlaceError."""
    there, over = names(folder, target), set[str]()
    for name in there:
        # What one that is damaged is in the place of, nobody knows.
        with suppress(DamagedError):
            over |= open_segment(folder, name).instead
    for name in there:
        if name in over:
            folder.remove(name)


def names(folder: Folder, target: str) -> list[str]:
    """Of their files. Raises PlaceError."""
    return [stored.name for stored in folder.list(target) if stored.name.endswith(SEGMENT)]


def bound(folder: Folder, target: str) -> datetime | None:
    """Up to when entries of a target were removed by `prune`; None: never. Raises PlaceError."""
    try:
        at = json.loads(folder.read(f"{target}/{_BOUND}"))["until"]
    except GoneError:
        return None
    return datetime.fromtimestamp(at, UTC)


def _is_left(name: str, now: datetime) -> bool:
    """Whether a file is half of one, by somebody who was killed: its name begins with when it was made."""
    begun = _MADE.search(name)
    made = 0 if begun is None else int(begun[1]) / 1000
    return name.endswith(HALF) and made < (now - timedelta(days=1)).timestamp()
