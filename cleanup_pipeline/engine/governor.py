"""What slows, shrinks or stops batches when the store or the clock says so. One for each shard.

The size follows the latency of batches: additive increase, multiplicative decrease. Whether a batch may go at all is
decided by the run window, the store's load signals and the veto, none of which is looked at more than once a second.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import monotonic

from cleanup_pipeline.engine import veto
from cleanup_pipeline.engine.signals import Hold, over_threshold
from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.stores.base import ShowsLoad, Store, StoreError

log = logging.getLogger(__name__)

GROWTH = 20
"""A batch grows by this part of its configured size."""

CALM = 5
"""Batches that have to go well after a time-out before the size grows again."""

HostClock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Size:
    """How large the next batch may be."""

    records: int
    calm: int = 0
    """Batches that still have to go well, after a time-out, before it grows again."""


def adapted(size: Size, worked: float, most: int, pace: Pace) -> Size:
    """The size after a batch that went well and kept the store busy for `worked` seconds; at most `most` records."""
    if worked > pace.latency_target.total_seconds():
        floor = min(pace.min_batch, most)
        return replace(size, records=max(size.records // 2, min(floor, size.records)))
    if size.calm > 0:
        return replace(size, calm=size.calm - 1)
    return replace(size, records=min(most, size.records + max(1, most // GROWTH)))


def rest_after(pause: float, pace: Pace, share: float, latency: float) -> float:
    """Seconds to rest after a batch of this share of a whole one, which took `latency` seconds."""
    return pause * share + pace.pause_share * latency


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again in so many seconds."""

    seconds: float
    hold: Hold


@dataclass(frozen=True, slots=True)
class Stop:
    """Waiting would outlast the deadline."""

    hold: Hold


def host_clock() -> datetime:
    """This machine's time, in UTC."""
    return datetime.now(UTC)


class Governor:
    """`admit` before each batch, then `size` and `pause` of it; `observe` after it."""

    def __init__(
        self, store: Store, pace: Pace, batch_size: int, pause_seconds: float, clock: HostClock = host_clock
    ) -> None:
        self.size = batch_size
        self._store, self._pace, self._clock = store, pace, clock
        self._most = batch_size
        self._pause = pause_seconds
        self._latency = 0.0
        self._calm = 0
        self._next_look = 0.0
        self._found: Hold | None = None
        self._shortest_ping: float | None = None

    def admit(self, left: float) -> Wait | Stop | None:
        """None to go on. `left` is how many seconds remain until the deadline."""
        closed = self._closed()
        if closed is not None:
            return Stop(closed.hold) if closed.seconds >= left else closed
        if monotonic() >= self._next_look:
            self._found = self._look()
            self._next_look = monotonic() + self._pace.look_every.total_seconds()
        if self._found is None:
            return None
        return Wait(max(0.0, self._next_look - monotonic()), self._found)

    def observe(self, seconds: float, slowest: float | None) -> bool:
        """Adapt to a batch that went well and took `seconds`; True when the next one has to be smaller for it.

        `slowest` is the longest that the store was held up at once, where that is less than the whole batch.
        """
        self._latency = seconds if slowest is None else slowest
        # The way to the server and back is no work of the server's, and no smaller for a smaller batch.
        worked = max(0.0, seconds - (self._shortest_ping or 0.0)) if slowest is None else slowest
        after = adapted(Size(self.size, self._calm), worked, self._most, self._pace)
        shrunk = after.records < self.size
        self.size, self._calm = after.records, after.calm
        return shrunk

    def halve(self, *, timed_out: bool) -> bool:
        """Shrink after a batch that failed; False when it was of a single record already."""
        if self.size == 1:
            return False
        self._calm = CALM if timed_out else 0
        self.size //= 2
        return True

    def pause_after(self, share: float) -> float:
        """Seconds to rest after the last batch, which was this share of a whole one."""
        return rest_after(self._pause, self._pace, share, self._latency)

    def _closed(self) -> Wait | None:
        now = self._clock()
        text = closed_now(self._pace, now)
        if text is None or self._pace.run_window is None:
            return None
        return Wait((self._pace.run_window.opens_at(now) - now).total_seconds(), Hold("run_window", text))

    def _look(self) -> Hold | None:
        load = self._load()
        if load.ping is not None:
            self._shortest_ping = min(load.ping, self._shortest_ping or load.ping)
        hold = over_threshold(load, self._pace)
        if hold is None and self._pace.veto_url is not None:
            hold = veto.ask(self._pace.veto_url, self._pace.networks)
        return hold

    def _load(self) -> Load:
        if not isinstance(self._store, ShowsLoad):
            return Load()
        try:
            return self._store.load()
        except StoreError as fault:
            log.debug("load unknown: %s", fault)
            return Load()


def closed_for(pace: Pace, now: datetime, patience: timedelta) -> str | None:
    """Why a pass that begins `now` would only wait for its run window until its deadline; None when it would not.

    A pass in the wrong hour is no failure, and one that is red every hour of the day is soon not looked at.
    """
    if pace.run_window is None or pace.run_window.is_open(now) or pace.run_window.opens_at(now) - now < patience:
        return None
    return closed_now(pace, now)


def closed_now(pace: Pace, now: datetime) -> str | None:
    """Why a pass that begins `now` (time-zone aware) has nothing to do yet, or None. For whoever plans passes."""
    if pace.run_window is None or pace.run_window.is_open(now):
        return None
    return f"outside run_window {pace.run_window}, which opens at {pace.run_window.opens_at(now):%Y-%m-%d %H:%M} UTC"
