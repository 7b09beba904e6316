"""The figures of a report in words, the same on a terminal, in Markdown and in HTML."""

from cleanup_pipeline.reporting.report.document import Group, Outlook, Report
from cleanup_pipeline.reporting.words import UNKNOWN, number


def removed(deleted: int, at_most: int | None) -> str:
    """How many were removed, both bounds where they differ: `1,200 to 1,400`."""
    if at_most is None:
        return f"{deleted:,} or more"
    return f"{deleted:,}" if at_most == deleted else f"{deleted:,} to {at_most:,}"


def percent(share: float | None) -> str:
    """0.0123 -> `1.2 %`; what is not quite nothing, or not quite all, is not rounded to it."""
    if share is None:
        return UNKNOWN
    value = share * 100
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.0f} %" if value in {0.0, 100.0} or value >= 1000 else f"{value:.1f} %"


def span(seconds: float | None) -> str:
    """A time in its one or two largest units: `0 s`, `0.25 s`, `42 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    for size, unit, part, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size:,} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{whole} s"


def size(count: int | None) -> str:
    """Bytes in a unit that fits."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:,.0f} B" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def rate(per_second: float | None) -> str:
    """Records a second."""
    return UNKNOWN if per_second is None else f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"


def outlook(of: Outlook) -> str:
    """Where a backlog is going, in a few words."""
    if of.backlog is None:
        return "unknown"
    if of.backlog == 0:
        return "none"
    if of.per_day is None:
        return "no trend yet"
    if of.gone_on is not None:
        return f"gone on {of.gone_on:%Y-%m-%d} at this pace"
    if of.per_day == 0:
        return "does not change"
    return f"{of.per_day:+,.0f} a day" if of.per_day > 0 else "shrinks hardly"


def oldest(report: Report) -> str:
    """The oldest survivor of all targets; nothing is known to be clean while some target is not known."""
    unknown = report.oldest_survivor_unknown
    if report.oldest_survivor_seconds is None or (unknown and report.oldest_survivor_seconds == 0):
        return UNKNOWN
    return span(report.oldest_survivor_seconds) + (" or older" if unknown else "")


def headline(report: Report) -> list[tuple[str, str, str]]:
    """Name, figure and a note, in the order of importance."""
    total: Group = report.total
    line, ahead = total.line, total.outlook
    unsure = f"{report.oldest_survivor_unknown} of {len(report.targets)} targets not known"
    counted = f"of {number(ahead.expired)} expired since {ahead.counted_from}" if ahead.expired is not None else ""
    return [
        ("removed", removed(line.deleted, line.at_most), f"records, {rate(line.per_second)} while deleting"),
        (
            "operations",
            number(line.operations),
            f"half within {span(line.p50_seconds)}, 95 % in {span(line.p95_seconds)}",
        ),
        ("failed", percent(line.failed_share), f"{number(line.failed)} of {number(line.operations)} operations"),
        ("backlog", number(ahead.backlog), outlook(ahead)),
        ("oldest survivor", oldest(report), unsure if report.oldest_survivor_unknown else "of all targets"),
        ("kept up", percent(ahead.keep_up), counted or "nothing to count from yet"),
    ]
