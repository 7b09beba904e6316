"""The windows of a pass as Dagster's partitions: how long they are, where the first one begins, which one a run is for.

Does not belong here: what a window makes of a cutoff (model/window.py), when a pass starts (schedules.py).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from math import gcd
from zoneinfo import ZoneInfo

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.model.lease import window_label
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.window import Window
from cleanup_pipeline.settings.settings import PassSettings

DAY_MINUTES = 24 * 60
WINDOWS = 900
"""How many windows a pass without `start` has, and a few more: up to the beginning of a day. From a thousand on the UI
draws no chart of them."""
MOST_WINDOWS = 10_000
"""Where `start` lies further back the first window moves with the days: the page of partitions asks for all of them at
once, which takes half a second for so many."""

Windows = dg.TimeWindowPartitionsDefinition


def step_of(every: timedelta) -> timedelta:
    """The length of a window: the interval where a cron string can say it, else the greatest step of it that one can.

    Raises ValueError below a minute.
    """
    minutes = int(every.total_seconds()) // 60
    if minutes < 1:
        raise ValueError("an interval is at least one minute")
    step = gcd(minutes, DAY_MINUTES)
    # 45 or 90 minutes: no cron field can step by it, so step by what it shares with an hour.
    return timedelta(minutes=step if step % 60 == 0 or 60 % step == 0 else gcd(step, 60))


def cron_of(every: timedelta) -> str:
    """The cron string whose ticks hold every multiple of the interval. Raises ValueError below a minute."""
    step = int(step_of(every).total_seconds()) // 60
    if step == DAY_MINUTES:
        return "0 0 * * *"
    if step % 60 == 0:
        return f"0 */{step // 60} * * *" if step > 60 else "0 * * * *"
    return f"*/{step} * * * *" if step > 1 else "* * * * *"


def is_due(tick: datetime, every: timedelta) -> bool:
    """Whether a tick is a multiple of the interval by the clocks of its time zone, counted from 1970-01-01 00:00."""
    if step_of(every) == every:
        return True
    minutes = int((tick.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) // 60
    return minutes % (int(every.total_seconds()) // 60) == 0


def windows_of(of_pass: PassSettings, now: datetime | None = None) -> Windows:
    """The windows of a pass. Those that have not ended are not among them."""
    zone = ZoneInfo(of_pass.timezone)
    step = step_of(of_pass.every)
    today = (now or datetime.now(UTC)).astimezone(zone)
    start = (today - WINDOWS * step).date()
    if of_pass.start is not None:
        start = max(of_pass.start, (today - MOST_WINDOWS * step).date())
    # A clock that is put back shows an hour twice: only the offset tells which one a window is.
    fmt = "%Y-%m-%d" if step >= timedelta(days=1) else "%Y-%m-%dT%H:%M"
    if step < timedelta(days=1) and of_pass.timezone != "UTC":
        fmt += "%z"
    begins = datetime.combine(start, time(), zone)
    return Windows(start=begins, cron_schedule=cron_of(of_pass.every), timezone=of_pass.timezone, fmt=fmt)


def last_complete(windows: Windows, at: datetime) -> str | None:
    """The key of the last window that has ended by `at`. None before the end of the first."""
    with dg.partition_loading_context(effective_dt=at):
        return windows.get_last_partition_key()


def keys_between(windows: Windows, begin: datetime, end: datetime) -> list[str]:
    """The keys of the windows that lie wholly between two instants and have ended, oldest first."""
    keys = windows.get_partition_keys()
    first = bisect_left(keys, begin, key=lambda key: window_of(windows, key).start)
    beyond = bisect_right(keys, end, key=lambda key: window_of(windows, key).end)
    return list(keys[first:beyond])


def window_of(windows: Windows, key: str) -> Window:
    """The window of a key, the first one open below; it need not have ended.

    Raises ValueError when the key is that of no window.
    """
    try:
        span = windows.time_window_for_partition_key(key)
    except ValueError:
        span = None
    # Dagster takes an instant within a window for the window after it.
    if span is None or windows.get_partition_key_for_timestamp(span.start.timestamp()) != key:
        raise ValueError(f"{key} is no window of this pass; they are written like {windows.fmt}")
    return Window(span.start, span.end, open_below=span.start == windows.start)


def window_of_run(windows: Windows, instance: dg.DagsterInstance, run: dg.DagsterRun) -> Window | None:
    """What a run keeps to: the window of its partition, open below unless a backfill started it; None without one.

    A backfill has to be disjoint, so that its runs may go on side by side. Everybody else takes what is older, too:
    what an earlier run left must not be stranded.
    """
    key = run.tags.get(names.PARTITION_TAG)
    if key is None:
        return None
    window = window_of(windows, key)
    return window if of_backfill(instance, run) else replace(window, open_below=True, shares=False)


def lease_window(instance: dg.DagsterInstance, run: dg.DagsterRun, plan: Plan) -> str:
    """The `window` of a run's lease: its own, or the whole target where it takes everything older along."""
    whole = plan.since is None and not (names.PARTITION_TAG in run.tags and of_backfill(instance, run))
    return "" if whole else window_label(plan.since, plan.cutoff)


def of_backfill(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run, or the one that it repeats, belongs to a backfill. Dagster does not hand on its tag for that."""
    current: dg.DagsterRun | None = run
    while current is not None:
        if names.DAGSTER_BACKFILL_TAG in current.tags or names.BACKFILL_TAG in current.tags:
            return True
        current = instance.get_run_by_id(current.parent_run_id) if current.parent_run_id else None
    return False


def partition_tags(job_name: str, key: str) -> Mapping[str, str]:
    """What makes a run appear in the grid of partitions of its job."""
    return {names.PARTITION_TAG: key, names.PARTITION_SET_TAG: f"{job_name}_partition_set"}
