"""Whether a target is cleaned as it should be, judged from a look of its own and not from what passes say they did.

Two questions: is the oldest record that ought to be gone younger than the objective, and did a pass of it succeed of
late. Does not belong here: the look (engine/remains.py), who asks (dagster_defs/witness.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cleanup_pipeline.ledger import WitnessRow
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.outcome import Remains
from cleanup_pipeline.model.target import Target

INTERVALS = 2
"""Of a pass, within which it has to succeed, and a record has to go after it fell due."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in the store, or why nothing was."""

    at: datetime
    """By the store's clock; by the host's where the store did not answer."""
    remains: Remains
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger knows of a target, or why it told nothing."""

    last_success: datetime | None = None
    first_known: datetime | None = None
    removed: Sequence[int] = ()
    """By the last passes."""
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What there is to say of a target: True is well, False is not, None is unknown, or nothing to be judged."""

    row: WitnessRow
    resting: str | None
    """Why it is not judged at all: nobody means it to be cleaned at present."""
    about_survivors: str
    about_freshness: str

    @property
    def failed(self) -> bool:
        """Whether something is known not to be as it should be."""
        return self.row.old_enough is False or self.row.fresh is False

    @property
    def unknown(self) -> bool:
        """Whether something could not be found out."""
        return self.resting is None and (self.row.old_enough is None or self.row.fresh is None)


def patience_of(target: Target, every: timedelta) -> timedelta:
    """Two intervals of the pass, and as long as the target's run window is closed a day."""
    window = target.pace.run_window
    return INTERVALS * every + (window.closed if window else timedelta(0))


def judge(
    target: Target,
    every: timedelta,
    look: Look | None,
    past: Past,
    now: datetime,
    *,
    resting: str | None = None,
    run_id: str | None = None,
) -> Judgement:
    """The judgement of a target whose pass runs every so often; `look` None where it rests and was not looked at."""
    objective = target.objective or patience_of(target, every)
    remains = look.remains if look else Remains(None, None, known=False)
    due = None if remains.oldest is None else remains.oldest + target.grace
    if resting is not None or look is None:
        resting = resting or "nobody looked"
        young, about_survivors = None, f"not judged: {resting}"
        fresh, about_freshness = None, f"not judged: {resting}"
    else:
        young, about_survivors = _survivors(look, due, objective, past)
        fresh, about_freshness = _freshness(past, patience_of(target, every), now)
    said = about_survivors if about_survivors == about_freshness else f"{about_survivors}; {about_freshness}"
    row = WitnessRow(
        target=target.name,
        checked_at=now,
        pass_name=target.pass_name,
        store=target.store,
        kind=target.kind,
        run_id=run_id,
        survivors=remains.count,
        oldest_survivor=due,
        known=remains.known,
        objective_seconds=objective.total_seconds(),
        old_enough=young,
        fresh=fresh,
        last_success=past.last_success,
        reason=said,
    )
    return Judgement(row, resting, about_survivors, about_freshness)


def _survivors(look: Look, due: datetime | None, objective: timedelta, past: Past) -> tuple[bool | None, str]:
    remains = look.remains
    if look.fault is not None:
        return None, f"unknown: {look.fault}"
    if not remains.known:
        return None, "unknown: the look took too long; raise census_timeout or index the expiry"
    if remains.count == 0:
        return True, "no expired record is left"
    if due is None:
        return _by_count(remains.count, past)
    age = max(timedelta(0), look.at - due)
    left = "an unknown number" if remains.count is None else f"{remains.count:,}"
    found = f"the oldest expired record ought to be gone since {_words(age)} (at most {_words(objective)}), {left} left"
    return age <= objective, found


def _by_count(count: int | None, past: Past) -> tuple[bool | None, str]:
    """Records without an instant of death: no more of them may be there than what dies in two intervals."""
    no_instant = "its records have no instant at which they die, so it is judged by their number"
    if count is None:
        return None, f"unknown: {no_instant}, and counting took too long"
    if past.fault is not None:
        return None, f"unknown: {no_instant}, and what passes remove is not known: {past.fault}"
    usual = max(past.removed, default=0)
    return count <= INTERVALS * usual, (
        f"{count:,} dead records are left; {no_instant}: at most twice the {usual:,} that the busiest of the last"
        " passes removed"
    )


def _freshness(past: Past, patience: timedelta, now: datetime) -> tuple[bool | None, str]:
    if past.fault is not None:
        return None, f"unknown: {past.fault}"
    if past.last_success is not None:
        age = max(timedelta(0), now - past.last_success)
        return age <= patience, f"last cleaned without fault {_words(age)} ago (at most {_words(patience)})"
    known = timedelta(0) if past.first_known is None else now - past.first_known
    if known <= patience:
        return True, f"never cleaned without fault yet; known for {_words(known)}, it has {_words(patience)}"
    return False, f"never cleaned without fault in the {_words(known)} that it is known (at most {_words(patience)})"


def _words(length: timedelta) -> str:
    """Its two largest units; seconds only below an hour."""
    seconds = int(length.total_seconds())
    if seconds >= 86_400:
        seconds -= seconds % 3600
    elif seconds >= 3600:
        seconds -= seconds % 60
    return format_duration(timedelta(seconds=seconds))
