"""How much longer a batch takes when others are at work in the same store.

A fluid bound: in the long run a store does no more than its greatest speedup allows, and each shard is at work for the
share of its time that its batches take (operational analysis: Denning and Buzen, 1978). What chance meetings cost below
that is in the measured speedups, and nowhere else.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

_ROUNDS = 60
"""Halvings: to within a billionth."""


class Demand(NamedTuple):
    """What one shard wants of its store, alone on it."""

    latency: float
    """Seconds of a batch."""
    rest: float
    """Seconds between two batches, whatever their latency."""
    share: float
    """Of its latency that it rests besides."""


def speedup_at(curve: tuple[tuple[float, float], ...], at_once: float) -> float:
    """Times the work of one batch that a store does with so many at once."""
    if at_once <= 1:
        return at_once
    place = bisect_right(curve, at_once, key=lambda point: point[0])
    if place == len(curve):
        return curve[-1][1]
    (low, slow), (high, fast) = curve[place - 1], curve[place]
    return slow + (fast - slow) * (at_once - low) / (high - low)


def at_work(demands: Mapping[Demand, int], stretch: float) -> float:
    """Batches that are at work at once, on average, when each takes `stretch` times as long."""
    total = 0.0
    for (latency, rest, share), count in demands.items():
        busy = latency * stretch
        cycle = busy * (1 + share) + rest
        total += count * busy / cycle if cycle > 0 else 0.0
    return total


def stretch_of(curve: tuple[tuple[float, float], ...], demands: Mapping[Demand, int]) -> float:
    """How many times as long as alone each batch takes, at least 1. `demands`: each with how many shards have it."""

    def excess(stretch: float) -> float:
        busy = at_work(demands, stretch)
        done = speedup_at(curve, busy)
        return busy / done - stretch if done > 0 else 1 - stretch

    # A little grace, so that what rounding leaves is no stretch.
    if excess(1.0) <= 1e-9:
        return 1.0
    low, high = 1.0, float(max(2, sum(demands.values())))
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high
