"""Which canaries a pass needs, when they die, and what it means when one is where it should not be. Asks no store."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cleanup_pipeline.model.canary import Canary, CanaryKind, CanarySettings, new_mark

NEAR = timedelta(minutes=1)
"""How long before the cutoff the expired one died, and how long after it the one within the grace does, at most: near
enough to the line that a rule that is off by more than that shows."""
LIVES_FOR = timedelta(hours=1)


def wanted(
    settings: CanarySettings, cutoff: datetime, since: datetime | None, grace: timedelta, now: datetime
) -> list[Canary]:
    """One of each kind that is asked for and makes sense, without an identity yet.

    What dies before the cutoff and not before `since` is removed by the pass; all instants are time-zone aware.
    """
    before = NEAR if since is None else min(NEAR, (cutoff - since) / 2)
    instants: dict[CanaryKind, datetime | None] = {
        CanaryKind.EXPIRED: cutoff - before,
        CanaryKind.LIVE: max(now, cutoff + grace) + LIVES_FOR,
        CanaryKind.WITHOUT_EXPIRY: None,
        CanaryKind.UNPARSABLE: None,
    }
    # A whole second is the coarsest unit that an expiry is written in: below two of them there is no inside.
    if grace >= timedelta(seconds=4):
        instants[CanaryKind.GRACE] = cutoff + min(NEAR, grace / 2)
    return [Canary(new_mark(), kind, at) for kind, at in instants.items() if kind in settings.kinds]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of canaries that have to be there."""

    lost: tuple[CanaryKind, ...]
    """Those that must never go, and went."""
    left: bool
    """The expired one stayed."""

    @property
    def alarm(self) -> str | None:
        """What is missing that must not be, as a clause; None when nothing is."""
        if not self.lost:
            return None
        names = {
            CanaryKind.LIVE: "a live canary",
            CanaryKind.GRACE: "a canary within its grace",
            CanaryKind.WITHOUT_EXPIRY: "a canary without expiry",
            CanaryKind.UNPARSABLE: "a canary whose expiry cannot be read",
        }
        *first, last = [names[kind] for kind in self.lost]
        return f"{', '.join(first)} and {last} are gone" if first else f"{last} is gone"


def verdict(planted: Sequence[Canary], present: Collection[str]) -> Verdict:
    """Judge canaries by the marks of those that are still there."""
    lost = [each.kind for each in planted if each.kind is not CanaryKind.EXPIRED and each.mark not in present]
    left = any(each.kind is CanaryKind.EXPIRED and each.mark in present for each in planted)
    return Verdict(tuple(dict.fromkeys(sorted(lost))), left)
