"""Durations as people write them: "1h30m", "50ms", "7d".

The grammar is that of Go's time.ParseDuration (https://pkg.go.dev/time#ParseDuration): a sign, then numbers with an
optional fraction, each with a unit, or a bare "0". Two units are added to Go's: d (24 hours) and w (7 days).
"""

import re
from datetime import timedelta
from fractions import Fraction

LONGEST = timedelta(days=36500)
"""Nothing that this product waits for or keeps is longer than a hundred years."""

_MICROSECONDS = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),  # U+00B5, as Go prints it
    "μs": Fraction(1),  # U+03BC, as Greek keyboards write it
    "ms": Fraction(1_000),
    "s": Fraction(1_000_000),
    "m": Fraction(60_000_000),
    "h": Fraction(3_600_000_000),
    "d": Fraction(86_400_000_000),
    "w": Fraction(604_800_000_000),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"([+-]?)((?:{_PART.pattern})+|0)")
_LONGEST_TEXT = 64


def parse_duration(text: str) -> timedelta:
    """The duration that a text stands for, rounded down to whole microseconds; may be negative.

    Raises ValueError when the text is no duration, or longer than `LONGEST`.
    """
    match = _WHOLE.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise ValueError("not a duration")
    parts = _PART.findall(match[2])
    microseconds = int(sum((Fraction(number) * _MICROSECONDS[unit] for number, unit in parts), Fraction(0)))
    if microseconds > LONGEST // timedelta(microseconds=1):
        raise ValueError("longer than a hundred years")
    return timedelta(microseconds=-microseconds if match[1] == "-" else microseconds)


def format_duration(duration: timedelta) -> str:
    """The shortest exact text in whole units that `parse_duration` reads back: "1h30m", "7d", "50ms", "0s"."""
    rest = duration // timedelta(microseconds=1)
    text = "-" if rest < 0 else ""
    rest = abs(rest)
    for unit in ("d", "h", "m", "s", "ms", "us"):
        number, rest = divmod(rest, int(_MICROSECONDS[unit]))
        if number:
            text += f"{number}{unit}"
    return text or "0s"
