"""Durations in buckets whose bounds have two significant digits, so that quantiles are known to within a tenth or 1 ms.

The usual bounds of a Prometheus histogram (0.25 s, 2.5 s, 60 s, 5 m) are among them: what lies below one is exact.
"""

from collections.abc import Mapping
from math import ceil

Histogram = Mapping[int, int]
"""Upper bound in milliseconds -> how many lie at or below it and above the one before."""


def bucket(seconds: float) -> int:
    """The upper bound, in milliseconds, of the bucket that a duration falls into: at least 1."""
    milliseconds = max(1, ceil(round(seconds * 1000, 6)))
    step: int = 10 ** max(0, len(str(milliseconds)) - 2)
    return -(-milliseconds // step) * step


def add(*histograms: Histogram) -> dict[int, int]:
    """All of them together."""
    total: dict[int, int] = {}
    for each in histograms:
        if not total:
            total = dict(each)
            continue
        for bound, count in each.items():
            total[bound] = total.get(bound, 0) + count
    return total


def at_or_below(histogram: Histogram, seconds: float) -> int:
    """How many took at most `seconds`. Exact where `seconds` is a bound."""
    return sum(count for bound, count in histogram.items() if bound <= seconds * 1000)


def quantile(histogram: Histogram, share: float) -> float | None:
    """The seconds that `share` (0 to 1) of them did not exceed, at most a tenth or 1 ms too high; None of none."""
    total = sum(histogram.values())
    if total == 0:
        return None
    seen = 0
    for bound in sorted(histogram):
        seen += histogram[bound]
        if seen >= share * total:
            return bound / 1000
    return max(histogram) / 1000
