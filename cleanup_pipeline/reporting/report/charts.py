"""The geometry of the charts in the HTML report. Templates draw it; nothing here is markup.

Places are in percent of the plot, so that it can be as wide as the page: the plot is stretched, and labels, which must
not be, stand beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil, log10

from cleanup_pipeline.reporting.report.document import Left, Line, Report
from cleanup_pipeline.reporting.statistics.figures import Every, period_of

MOST_SERIES = 5
"""Groups with a colour of their own; colours that everybody can tell apart are few."""
OTHERS = "others"
MOST_LABELS = 5
_GAP = 0.18
"""Of the place of a bar, left free between it and the next."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A grid line or label, and where it is."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A rectangle of a bar: where, and what it says."""

    series: int | None
    """Its place among the series; None: what may have been removed besides."""
    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars, one a period."""

    series: tuple[str, ...]
    """Names, in the order in which they are stacked; the last may be `others`."""
    segments: tuple[Segment, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    unsure: bool
    """Some bar has a part that may have been removed, too."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with gaps where nothing is known."""

    pieces: tuple[tuple[tuple[float, float], ...], ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]


def volume_bars(report: Report, every: Every) -> Bars | None:
    """Records removed by period, stacked by group; None: there was none."""
    series = _series(report.periods)
    by_period: dict[date, list[Line]] = {}
    for line in report.periods:
        by_period.setdefault(line.period, []).append(line)
    highest = max((sum(_most(line) for line in lines) for lines in by_period.values()), default=0)
    if highest == 0:
        return None
    rows = _rows(highest)
    scale = 100 / _top(highest)
    periods = _periods(report.since, report.until, every)
    width = 100 / len(periods)
    segments: list[Segment] = []
    unsure = False
    for place, period in enumerate(periods):
        lines = by_period.get(period, [])
        x, wide, y = (place + _GAP / 2) * width, width * (1 - _GAP), 100.0
        for of, deleted in _stack(lines, series):
            y -= deleted * scale
            segments.append(Segment(of, x, y, wide, deleted * scale, f"{period}, {series[of]}: {deleted:,}"))
        more = sum(_most(line) - line.deleted for line in lines)
        unknown = any(line.at_most is None for line in lines)
        if more or unknown:
            unsure = True
            high = max(more * scale, 1.0)
            words = f"{period}: {more:,} more may have been removed" + (", or an unknown number" if unknown else "")
            segments.append(Segment(None, x, max(0.0, y - high), wide, high, words))
    return Bars(series, tuple(segments), rows, _columns(periods, every), unsure)


def _most(line: Line) -> int:
    return line.deleted if line.at_most is None else line.at_most


def _series(lines: Iterable[Line]) -> tuple[str, ...]:
    total: dict[str, int] = {}
    for line in lines:
        total[line.group] = total.get(line.group, 0) + line.deleted
    names = sorted((name for name in total if total[name]), key=lambda name: (-total[name], name))
    if len(names) <= MOST_SERIES:
        return tuple(names)
    return (*names[: MOST_SERIES - 1], OTHERS)


def _stack(lines: Sequence[Line], series: Sequence[str]) -> Iterable[tuple[int, int]]:
    found: Mapping[str, int] = {line.group: line.deleted for line in lines}
    named = [found.get(name, 0) if name != OTHERS else 0 for name in series]
    if OTHERS in series:
        named[series.index(OTHERS)] = sum(found.values()) - sum(named)
    return [(place, deleted) for place, deleted in enumerate(named) if deleted]


def backlog_curve(backlog: Sequence[Left], since: date, until: date) -> Curve | None:
    """What was left by day; None: that was never known, or never more than nothing."""
    known = {left.day: left.backlog for left in backlog if left.backlog is not None}
    highest = max(known.values(), default=0)
    if highest == 0:
        return None
    days = _periods(since, until, "day")
    scale, width = 100 / _top(highest), 100 / len(days)
    pieces: list[list[tuple[float, float]]] = []
    unbroken = False
    for place, day in enumerate(days):
        if day in known:
            if not unbroken:
                pieces.append([])
            pieces[-1].append(((place + 0.5) * width, 100 - known[day] * scale))
        unbroken = day in known
    # A single day is a stroke as wide as itself.
    drawn = [
        tuple(piece)
        if len(piece) > 1
        else ((piece[0][0] - width / 2, piece[0][1]), (piece[0][0] + width / 2, piece[0][1]))
        for piece in pieces
    ]
    return Curve(tuple(drawn), _rows(highest), _columns(days, "day"))


def _periods(since: date, until: date, every: Every) -> list[date]:
    found: list[date] = []
    day = since
    while day <= until:
        period = period_of(day, every, since)
        if not found or found[-1] != period:
            found.append(period)
        day += timedelta(days=1)
    return found


_TOPS = ((1, 2), (1.5, 3), (2, 4), (2.5, 5), (3, 3), (4, 4), (5, 5), (6, 3), (8, 4), (10, 5))
"""Round numbers that a scale may end at, and into how many round parts each is cut."""


def _scale(highest: int) -> tuple[float, int]:
    size = 10 ** int(log10(highest))
    return next((step * size, parts) for step, parts in _TOPS if step * size >= highest)


def _top(highest: int) -> float:
    return _scale(highest)[0]


def _rows(highest: int) -> tuple[Tick, ...]:
    top, parts = _scale(highest)
    values = [top * part / parts for part in range(parts + 1)]
    # There is no half record.
    return tuple(Tick(100 - 100 * value / top, short(value)) for value in values if value == int(value))


def _columns(periods: Sequence[date], every: Every) -> tuple[Tick, ...]:
    step = max(1, ceil(len(periods) / MOST_LABELS))
    style = "%b %Y" if every == "month" else "%d %b"
    width = 100 / len(periods)
    return tuple(
        Tick((place + 0.5) * width, f"{periods[place]:{style}}".lstrip("0"))
        for place in range(step // 2, len(periods), step)
    )


def short(value: float) -> str:
    """1500 -> `1.5k`: for an axis."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:g}"
