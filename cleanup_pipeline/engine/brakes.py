"""Whether what a look at a target found is out of the ordinary. Pure: knows no store, no ledger and no clock.

The formulas and the figures behind them are in docs/decisions/0015-brakes.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from cleanup_pipeline.model.brake import Brake, BrakeName, BrakeSettings, Release
from cleanup_pipeline.model.durations import format_duration

ENOUGH_PASSES = 5
"""Green passes from which on it is known what is usual."""
WHOLE_WEEK = timedelta(days=7)
"""Before a history has seen a whole week, a count alone says nothing: Monday is not Sunday."""
MORE_THAN_GREW = 2.0
"""Times as much as the busiest passes found in the same time: less explains a large share by itself, after downtime."""
FEW = 100
"""Unreadable expiries; fewer say nothing about a target."""
MARGIN = 0.25
"""How much worse than what was let go a figure may get, as a share of it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a scan found. None is unknown, and never brakes."""

    cutoff: datetime
    expired: int | None = None
    live: int | None = None
    without_expiry: int | None = None
    unparsable: int | None = None
    newest: datetime | None = None
    shape: str | None = None
    windowed: bool = False
    """It keeps to a window, so that what it counts is not all there is."""
    skews: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds by which the clock of each store of the pass goes before the host's; the target's own is `store`."""
    store: str = ""

    @property
    def share(self) -> float | None:
        """Expired ones among the records whose expiry can be read."""
        if self.expired is None or self.live is None or not self.expired + self.live:
            return None
        return self.expired / (self.expired + self.live)

    @property
    def unreadable_share(self) -> float | None:
        """Unparsable expiries among those records that have one."""
        if self.unparsable is None or self.expired is None or self.live is None:
            return None
        whole = self.unparsable + self.expired + self.live
        return self.unparsable / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class History:
    """What earlier looks at the target found that were not held back, dry runs and windows left out."""

    green: tuple[Look, ...] = ()
    """Of passes that ended green, the newest first."""
    recent: tuple[Look, ...] = ()
    """Of all of them in the last days, the newest first."""
    braked_at: datetime | None = None
    """The cutoff of the first pass that brake `unusual` holds back: what comes together while it does is no excuse."""


def judge_brakes(look: Look, history: History | None, settings: BrakeSettings) -> tuple[Brake, ...]:
    """The brakes that hold a target back, each at most once. History None: nobody knows, as its ledger is away."""
    found = [_clocks(look, settings), _unreadable(look, settings)]
    if history is not None:
        found += [_unusual(look, history, settings), _restored(look, history, settings)]
        found.append(_changed(look, history, settings))
    return tuple(brake for brake in found if brake is not None)


def unjudged(look: Look, history: History | None, settings: BrakeSettings) -> frozenset[BrakeName]:
    """The brakes that are on and about which this look can say nothing: what held the target before still does."""
    no_history = history is None
    unknown = {
        BrakeName.UNUSUAL: (settings.unusual_count is not None or settings.unusual_share is not None)
        and (
            history is None
            or look.windowed
            or look.expired is None
            or usual_of(look, history.green, history.braked_at) is None
        ),
        BrakeName.RESTORED: settings.restored is not None and (no_history or look.newest is None),
        BrakeName.CHANGED: (settings.changed or settings.unreadable_rise is not None)
        and (no_history or look.unreadable_share is None),
        BrakeName.CLOCKS: settings.clocks is not None and not set(look.skews) - {look.store},
        BrakeName.UNREADABLE: settings.unreadable and look.unreadable_share is None,
    }
    return frozenset(name for name, is_unknown in unknown.items() if is_unknown)


def holding(brakes: Sequence[Brake], releases: Sequence[Release], now: datetime) -> tuple[Brake, ...]:
    """Those that nobody let go."""
    return tuple(brake for brake in brakes if not any(covers(release, brake, now) for release in releases))


def covers(release: Release, brake: Brake, now: datetime) -> bool:
    """Whether a release is about this very brake and about what it sees now."""
    return now < release.until and same(release.seen, brake)


def same(seen: Brake, brake: Brake) -> bool:
    """Whether a brake sees what it saw before, or less: the same kind of thing, and no figure much worse."""
    if seen.name != brake.name or seen.about != brake.about or set(seen.figures) != set(brake.figures):
        return False
    return all(value <= seen.figures[name] * (1 + MARGIN) for name, value in brake.figures.items())


@dataclass(frozen=True, slots=True)
class Usual:
    """What a history leads to expect of a pass."""

    expired: float
    """As many as the busiest passes but one found in the time since the last green one."""
    share: float | None
    """The largest share but one that a green pass found; None: unknown."""
    span: timedelta
    passes: int


def usual_of(look: Look, green: Sequence[Look], braked_at: datetime | None = None) -> Usual | None:
    """None: there are too few passes to say."""
    known = [past for past in green if past.expired is not None]
    if len(known) < ENOUGH_PASSES:
        return None
    gaps = [(newer, newer.cutoff - older.cutoff) for newer, older in pairwise(known) if newer.cutoff > older.cutoff]
    if len(gaps) < ENOUGH_PASSES - 1:
        return None
    typical = timedelta(seconds=median(gap.total_seconds() for _, gap in gaps))
    # A pass by hand, a minute after another one, finds what is left of it: that is no rate.
    rates = [(past.expired or 0) / max(gap, typical).total_seconds() for past, gap in gaps]
    until = look.cutoff if braked_at is None else min(look.cutoff, braked_at)
    since = max(until - known[0].cutoff, typical)
    shares = [past.share for past in known if past.share is not None]
    return Usual(
        expired=_largest_but_one(rates) * since.total_seconds(),
        share=_largest_but_one(shares) if len(shares) >= ENOUGH_PASSES else None,
        span=known[0].cutoff - known[-1].cutoff,
        passes=len(known),
    )


def _largest_but_one(values: Sequence[float]) -> float:
    """So that one odd pass, that somebody let go on, is not the measure of those after it; two are."""
    return sorted(values, reverse=True)[1]


def _unusual(look: Look, history: History, settings: BrakeSettings) -> Brake | None:
    if look.windowed or look.expired is None or look.expired < settings.unusual_from:
        return None
    usual = usual_of(look, history.green, history.braked_at)
    if usual is None:
        return None
    share, limit = look.share, settings.unusual_share
    far_share = (
        share is not None
        and limit is not None
        and usual.share is not None
        and share > limit
        and share > 2 * usual.share
        and look.expired > MORE_THAN_GREW * usual.expired
    )
    far_count = (
        settings.unusual_count is not None
        and look.expired > settings.unusual_count * usual.expired
        and usual.span >= WHOLE_WEEK
    )
    if not far_share and not far_count:
        return None
    of_all = f", {share:.0%} of all," if share is not None else ""
    at_most = f" and at most {usual.share:.0%}" if usual.share is not None else ""
    return Brake(
        BrakeName.UNUSUAL,
        f"{look.expired:,} records{of_all} are expired, where the last {usual.passes} green passes let expect about"
        f" {usual.expired:,.0f}{at_most}",
        "see whether people can log in and whether clocks are right: it looks like this when a clock was set forward,"
        " when an expiry is read wrongly, and when the application was away for longer than its sessions live",
        figures={"expired": look.expired, **({"share": share} if share is not None else {})},
    )


def _clocks(look: Look, settings: BrakeSettings) -> Brake | None:
    own = look.skews.get(look.store)
    if settings.clocks is None or own is None:
        return None
    apart = {name: abs(skew - own) for name, skew in look.skews.items() if name != look.store}
    name = max(apart, key=lambda each: apart[each], default=None)
    if name is None or apart[name] <= settings.clocks.total_seconds():
        return None
    return Brake(
        BrakeName.CLOCKS,
        f"the clocks of stores {look.store} and {name} are {apart[name]:.0f} s apart",
        "set all of them by NTP",
        about=" ".join(sorted((look.store, name))),
        figures={"seconds": round(apart[name], 1)},
    )


def _restored(look: Look, history: History, settings: BrakeSettings) -> Brake | None:
    seen = _newest_seen(history.recent, settings.restored) if settings.restored is not None else None
    records = sum(count or 0 for count in (look.expired, look.live))
    # Of a small table the newest records are a few people, who log out.
    small = not look.windowed and records < settings.unusual_from
    if settings.restored is None or look.newest is None or seen is None or small:
        return None
    behind = seen - look.newest
    if behind <= settings.restored:
        return None
    return Brake(
        BrakeName.RESTORED,
        f"the newest records expire {_rough(behind)} earlier than those that passes of the last days saw",
        "see whether the table was restored from a backup or emptied of its newest records, and whether the"
        " application writes to it",
        figures={"behind_seconds": round(behind.total_seconds())},
    )


def _newest_seen(recent: Sequence[Look], limit: timedelta) -> datetime | None:
    """The newest expiry that passes saw since somebody let one go on that was as far behind as that."""
    seen: datetime | None = None
    for past in reversed(recent):
        if past.newest is None:
            continue
        begins = seen is None or past.newest < seen - limit
        seen = past.newest if begins or seen is None else max(seen, past.newest)
    return seen


def _changed(look: Look, history: History, settings: BrakeSettings) -> Brake | None:
    last = next(iter(history.recent), None)
    if last is None:
        return None
    shape = next((past.shape for past in history.recent if past.shape is not None), None)
    if settings.changed and None not in (look.shape, shape) and look.shape != shape:
        return Brake(
            BrakeName.CHANGED,
            f"the expiry was {shape} when it was last cleaned, and is {look.shape} now",
            "see whether `expires` still says what the application writes",
            about=f"{shape} -> {look.shape}",
        )
    now, before = look.unreadable_share, last.unreadable_share
    limit = settings.unreadable_rise
    if limit is None or now is None or before is None or look.windowed or (look.unparsable or 0) < FEW:
        return None
    if now - before <= limit:
        return None
    return Brake(
        BrakeName.CHANGED,
        f"{now:.0%} of the expiries cannot be read or cannot be right, and it was {before:.0%} last time",
        "see whether the application writes another unit or format than `expires` says",
        about="unreadable",
        figures={"share": round(now, 4)},
    )


def _unreadable(look: Look, settings: BrakeSettings) -> Brake | None:
    if not settings.unreadable or look.unparsable is None or look.unparsable < FEW:
        return None
    readable = (look.live or 0) + (look.expired or 0)
    if look.live is None or look.expired is None or look.unparsable <= readable:
        return None
    return Brake(
        BrakeName.UNREADABLE,
        f"{look.unparsable:,} records have an expiry that cannot be read or cannot be right, and only {readable:,} one"
        " that can",
        "check `expires`, above all its unit",
        figures={"unparsable": look.unparsable},
    )


def _rough(length: timedelta) -> str:
    return format_duration(timedelta(hours=round(length / timedelta(hours=1))))


def explained(brakes: Sequence[Brake]) -> Iterator[str]:
    """A line for each brake."""
    for brake in brakes:
        yield f"brake {brake.name}: {brake.what}; {brake.remedy}"
