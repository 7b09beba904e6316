"""Spans of time in words, for messages."""

from datetime import timedelta


def span(length: timedelta) -> str:
    """A length in its one or two largest units: `3 d 4 h`, `2 h 5 m`, `4 m 10 s`, `12 s`, `80 ms`."""
    seconds = max(0.0, length.total_seconds())
    if 0 < seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    total = round(seconds)
    for large, first, small, second in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if total >= large:
            rest = total % large // small
            return f"{total // large:,} {first}" + (f" {rest} {second}" if rest else "")
    return f"{total} s"
