"""What was removed of a target around some time, by which pass and rule. Names no record and needs no key."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from cleanup_pipeline.keeping import bounds
from cleanup_pipeline.keeping.asking import Asking, CutOff, until_whole
from cleanup_pipeline.keeping.segments import NO_EXPIRY, PERHAPS, Ids
from cleanup_pipeline.model.durations import parse_duration

_FIRST, _LAST = datetime(1970, 1, 3, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Between which epoch seconds are what entries have."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one pass removed by one rule."""

    origin: Mapping[str, Any]
    """Run, pass, kind, layout or rule, cutoff and grace."""
    records: int
    first: int
    """Epoch s; when the first of them was removed."""
    last: int
    died_first: int | None
    """Epoch ms; the earliest expiry. None: none of them had one of its own."""
    died_last: int | None
    perhaps: int
    """Of the records: those that somebody else may have removed at the same moment."""


@dataclass(frozen=True, slots=True)
class Period:
    """What the removal ledger knows of a time."""

    begin: datetime
    end: datetime
    parts: tuple[Part, ...]
    """In the order of their first removal."""
    since: datetime | None
    """Nothing that was removed before is in it. None: nothing is in it at all."""
    cut_off: tuple[CutOff, ...]

    @property
    def records(self) -> int:
        """How many were removed."""
        return sum(part.records for part in self.parts)


def read_time(at: str, within: str) -> tuple[datetime, timedelta]:
    """An instant, UTC where nothing else is said, and a duration of a day at most. Raises ValueError, one line."""
    try:
        instant = datetime.fromisoformat(at.strip())
    except ValueError:
        raise ValueError(f"at: found {at}, expected a time such as 2026-11-26T14:03") from None
    try:
        length = parse_duration(within)
    except ValueError:
        length = timedelta(-1)
    if not timedelta(0) <= length <= timedelta(days=1):
        raise ValueError(f"within: found {within}, expected a time such as 5m, a day at most")
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    if not _FIRST <= instant <= _LAST:
        raise ValueError(f"at: found {at}, expected a time such as 2026-11-26T14:03")
    return instant, length


def around(asking: Asking, target: str, at: datetime, within: timedelta) -> Period:
    """What was removed from `within` before an instant until `within` behind it, in whole seconds, UTC.

    Raises PlaceError.
    """
    begin, end = (at - within).astimezone(UTC), (at + within).astimezone(UTC)
    return until_whole(lambda: _look(asking, target, begin, end))


def _look(asking: Asking, target: str, begin: datetime, end: datetime) -> Period:
    low, high = int(begin.timestamp()), int(end.timestamp())
    found: dict[str, Part] = {}
    first: int | None = None
    for segment in bounds.segments(asking.folder, target):
        first = segment.first if first is None else min(first, segment.first)
        if segment.last < low or segment.first > high:
            continue
        for ids in segment.slices():
            for part in _parts(ids[(ids["at"] >= low) & (ids["at"] <= high)], segment.header["origins"]):
                key = json.dumps({**part.origin, "shard": None}, sort_keys=True)
                found[key] = _both(found[key], part) if key in found else part
    parts = sorted(found.values(), key=lambda part: part.first)
    return Period(begin, end, tuple(parts), asking.since(target, first), asking.cut_off(target))


def _parts(ids: Ids, origins: Sequence[Mapping[str, Any]]) -> list[Part]:
    made = []
    for number in np.unique(ids["origin"]):
        mine = ids[ids["origin"] == number]
        died = mine["died"][mine["died"] != NO_EXPIRY]
        made.append(
            Part(
                origins[int(number)],
                len(mine),
                int(mine["at"].min()),
                int(mine["at"].max()),
                int(died.min()) if len(died) else None,
                int(died.max()) if len(died) else None,
                int(np.count_nonzero(mine["flags"] & PERHAPS)),
            )
        )
    return made


def _both(one: Part, other: Part) -> Part:
    return replace(
        one,
        records=one.records + other.records,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
        died_first=min((died for died in (one.died_first, other.died_first) if died is not None), default=None),
        died_last=max((died for died in (one.died_last, other.died_last) if died is not None), default=None),
        perhaps=one.perhaps + other.perhaps,
    )
