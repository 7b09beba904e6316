"""An epoch written in digits, as number.lua reads it."""

import re
from fractions import Fraction

from cleanup_pipeline.model.words import FIRST_PLAUSIBLE_SECONDS, EpochUnit

LAST_MS = 253_402_300_800_000
"""The year 10000."""
_NUMBER = re.compile(rb"[0-9]+(\.[0-9]+)?")


def death_of(text: bytes, unit: EpochUnit) -> int | str:
    """Epoch ms, rounded down; `unknown` for what is no instant, zero too; `far` for what is later than any date."""
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        return "unknown"
    ms = int(Fraction(text.decode()) * 1000 / unit.per_second)
    if ms < FIRST_PLAUSIBLE_SECONDS * 1000:
        return "unknown"
    return "far" if ms >= LAST_MS else ms
