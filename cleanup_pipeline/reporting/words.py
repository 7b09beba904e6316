"""Numbers, times and outcomes in words, the same on a terminal, in Markdown and in the UI."""

from datetime import datetime, timedelta

from cleanup_pipeline.model.outcome import TargetReport
from cleanup_pipeline.model.plan import Storage
from cleanup_pipeline.model.words import StopReason

UNKNOWN = "-"


def number(value: int | None) -> str:
    """1234567 -> `1,234,567`; None, which is unknown, -> `-`."""
    return UNKNOWN if value is None else f"{value:,}"


def seconds(value: float) -> str:
    """A time taken, in s below a minute, else in m and s."""
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    return f"{minutes} m {rest} s"


def age(instant: datetime | None, now: datetime) -> str:
    """How long before `now` an instant lies, in its one or two largest units."""
    if instant is None:
        return UNKNOWN
    left = max(timedelta(0), now - instant)
    days, rest = left.days, left.seconds
    if days:
        return f"{days:,} d {rest // 3600} h"
    hours, minutes = rest // 3600, rest // 60 % 60
    return f"{hours} h {minutes} m" if hours else f"{minutes} m {rest % 60} s"


def outcome_words(report: TargetReport) -> str:
    """How a target ended, for a person."""
    if report.error is not None:
        return report.error
    match report.stop_reason:
        case StopReason.DRY_RUN:
            return "dry run, nothing deleted"
        case StopReason.SKIPPED:
            return f"skipped: {report.why}"
        case StopReason.EXHAUSTED:
            return "clean"
        case reason:
            return f"clean, stopped by {reason}"


def storage(taken: Storage) -> str:
    """What a table takes up, in one line."""
    return f"{taken.size_bytes / 2**20:,.1f} MiB with indexes, {number(taken.dead_records)} dead rows"
