"""The hours of the day in which deleting is allowed, such as "01:00-05:00 Europe/Berlin"."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_TEXT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])(?: (\S+))?")


@dataclass(frozen=True, slots=True)
class RunWindow:
    """From `start` up to, not including, `end`, every day, by the clocks of `zone`. Wraps midnight when end < start."""

    start: time
    end: time
    zone: str = "UTC"
    """IANA name."""

    def is_open(self, now: datetime) -> bool:
        """Whether `now` (time-zone aware) lies in the window."""
        clock = now.astimezone(ZoneInfo(self.zone)).time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    def opens_at(self, now: datetime) -> datetime:
        """The next instant in UTC, `now` or later, at which the window is open.

        A start that the clocks skip in spring is moved by as much as they are put forward.
        """
        if self.is_open(now):
            return now
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        starts = (
            datetime.combine(today + timedelta(days=days), self.start, zone).astimezone(UTC) for days in range(-1, 3)
        )
        return next(start for start in starts if start > now)

    @property
    def closed(self) -> timedelta:
        """How long it is closed each day, the days on which clocks change aside."""
        day = datetime(2001, 1, 1, tzinfo=UTC).date()
        opened = datetime.combine(day, self.end, UTC) - datetime.combine(day, self.start, UTC)
        return timedelta(days=1) - opened % timedelta(days=1)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"


def parse_run_window(text: str) -> RunWindow:
    """The window that a text stands for; UTC when it names no zone. Raises ValueError when it stands for none."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a window")
    start, end = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    if start == end:
        raise ValueError("a window that begins where it ends")
    zone = match[5] or "UTC"
    if not re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", zone):
        raise ValueError("not a time zone")
    try:
        ZoneInfo(zone)
    # ZoneInfo opens a file by this name; what it raises for a folder or a stray file differs by platform.
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone") from None
    return RunWindow(start, end, zone)
