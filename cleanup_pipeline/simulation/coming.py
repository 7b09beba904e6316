"""What falls due and what is left of it, by the passes that the ledger knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cleanup_pipeline.ledger.seen import SeenPass
from cleanup_pipeline.simulation.scenario import DAY, FLAT, HOUR

LONGEST = timedelta(hours=2)
"""Between two passes, for what came to count to the hours between them."""


@dataclass(frozen=True, slots=True)
class Coming:
    """Of one target. None: nobody knows."""

    rate: float | None
    """Records that fall due each second."""
    curve: tuple[float, ...]
    """24 multiples of it, one for each hour of the UTC day; all 1 where there is no day on record."""
    backlog: float | None
    """Expired records now."""
    oldest: float
    """Seconds since the oldest of them fell due."""
    records: float | None
    """Those that are there and not expired."""


def coming_of(seen: Sequence[SeenPass], now: datetime) -> Coming:
    """By the passes of one target, the oldest first."""
    came = [0.0] * 24
    covered = [0.0] * 24
    total = seconds = 0.0
    exact = True
    for before, after in pairwise(each for each in seen if each.cutoff is not None):
        if before.survivors is None or after.expired_found is None or before.cutoff is None or after.cutoff is None:
            continue
        span = (after.cutoff - before.cutoff).total_seconds()
        if span <= 0:
            continue
        new = max(0.0, float(after.expired_found - before.survivors))
        total, seconds = total + new, seconds + span
        exact = exact and after.cutoff - before.cutoff <= LONGEST
        _spread(came, covered, before.cutoff, span, new)
    rate = total / seconds if seconds > 0 else None
    curve: tuple[float, ...] = FLAT
    if rate and exact and all(each >= HOUR / 2 for each in covered):
        hours = [new / span for new, span in zip(came, covered, strict=True)]
        mean = sum(hours) / 24
        curve, rate = tuple(each / mean for each in hours), mean
    last = seen[-1] if seen else None
    if last is None or last.cutoff is None:
        return Coming(rate, curve, None, 0.0, None)
    since = max(0.0, (now - last.cutoff).total_seconds())
    left = last.survivors
    if left is None and last.expired_found is not None:
        left = max(0, last.expired_found - last.deleted)
    oldest = since
    if left and last.oldest_expired is not None:
        oldest = max(since, (now - last.oldest_expired).total_seconds())
    backlog = None if left is None else left + (rate or 0.0) * since
    return Coming(rate, curve, backlog, oldest, _others(last))


def _others(last: SeenPass) -> float | None:
    if last.records_before is not None:
        return float(max(0, last.records_before - (last.expired_found or last.deleted)))
    return float(last.scanned - last.deleted) if last.scanned > last.deleted else None


def _spread(came: list[float], covered: list[float], start: datetime, span: float, new: float) -> None:
    """What came in a span of time, evenly over the hours of the day that it covers."""
    at = start.astimezone(UTC)
    place = at.hour * HOUR + at.minute * 60 + at.second + at.microsecond / 1e6
    left = span
    while left > 0:
        hour = int(place % DAY // HOUR)
        part = min(left, HOUR - place % HOUR)
        came[hour] += new * part / span
        covered[hour] += part
        place += part
        left -= part
