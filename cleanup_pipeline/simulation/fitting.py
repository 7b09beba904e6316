"""Costs out of what passes took: least squares without negative costs, leaning on figures measured elsewhere.

Passes under one setting say what a batch takes, and not how much of that is for each record. So the shape comes from
figures that were measured here, scaled to what the passes took, and gives way to the passes where these differ enough
to tell.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

LEAN = 0.1
"""Weight of what was measured elsewhere, against passes that each weigh 1."""
LEAST = 1e-6
"""Seconds below which a row took nothing."""


def fitted(rows: Sequence[Sequence[float]], took: Sequence[float], prior: Sequence[float]) -> tuple[float, ...]:
    """What each of a row's amounts costs, none below zero, so that together they come to what the rows `took`.

    Deviations count by their share of what a row took. A row that took nothing says nothing; with none left the prior
    stands. Non-negative least squares (Lawson and Hanson, 1974), by trying which costs are zero: there are three at
    most.
    """
    used = [(row, seconds) for row, seconds in zip(rows, took, strict=True) if seconds >= LEAST and any(row)]
    scales = [
        seconds / whole
        for row, seconds in used
        if (whole := sum(amount * cost for amount, cost in zip(row, prior, strict=True))) > 0
    ]
    if not scales:
        return tuple(prior)
    leaning = np.array(prior) * float(np.median(scales))
    weights = np.array([1 / seconds for _, seconds in used])
    # In units of what is expected, so that no column is a million times another.
    units = np.where(leaning > 0, leaning, 1.0)
    amounts = np.array([row for row, _ in used]) * weights[:, None] * units
    known = [place for place, cost in enumerate(leaning) if cost > 0]
    lean = np.zeros((len(known), len(prior)))
    for number, place in enumerate(known):
        lean[number, place] = LEAN
    matrix = np.vstack([amounts, lean])
    target = np.concatenate([np.ones(len(used)), np.full(len(known), LEAN)])
    best, least = leaning / units, float("inf")
    for count in range(1, len(prior) + 1):
        for chosen in combinations(range(len(prior)), count):
            part, *_ = np.linalg.lstsq(matrix[:, chosen], target, rcond=None)
            if (part < 0).any():
                continue
            found = np.zeros(len(prior))
            found[list(chosen)] = part
            error = float(np.sum((matrix @ found - target) ** 2))
            if error < least:
                best, least = found, error
    return tuple(float(each) for each in best * units)
