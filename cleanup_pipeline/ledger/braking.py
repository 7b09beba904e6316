"""What brakes need to know of earlier passes, what they hold, and who let it go.

Does not belong here: judging (engine/brakes.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Select, and_, select, update

from cleanup_pipeline.engine.brakes import History, Look, same
from cleanup_pipeline.ledger.connect import LONGEST_LINE, Place, one_line
from cleanup_pipeline.ledger.tables import brakes, looks, targets
from cleanup_pipeline.ledger.words import UNDONE
from cleanup_pipeline.ledger.writing import insert
from cleanup_pipeline.model.brake import Brake, BrakeName, Release

GREEN_LOOKS = 400
"""Green passes that a history goes back: a week of half-hourly ones, and some more."""
RECENT = timedelta(days=7)
"""Before the last pass that went ahead, in which the newest record may have been seen."""
_RECENT_LOOKS = 400
RELEASED_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Held:
    """A brake that holds a target back, or did until somebody let it go."""

    id: str
    target: str
    brake: Brake
    run_id: str
    """The pass that it held back first."""
    cutoff: datetime
    began_at: datetime
    seen_at: datetime
    """By the last pass that it held back."""
    release: Release | None


@dataclass(frozen=True, slots=True)
class Brakes:
    """Questions to a ledger and writes. Each method is one transaction and raises LedgerError."""

    place: Place

    def history(self, target: str, rule: str) -> History:
        """What earlier passes found. What says how the expiry looks is taken from those with the same `rule` only."""
        with self.place.reading() as connection:
            held = _held(connection, target)
            since = next((each.cutoff for each in held if each.brake.name == BrakeName.UNUSUAL), None)
            return History(_green(connection, target), _recent(connection, target, rule), since)

    def held(self, target: str | None = None) -> Sequence[Held]:
        """What holds a target, or any, by target and name; also what was let go and is not over."""
        with self.place.reading() as connection:
            return _held(connection, target)

    def saw(
        self, run_id: str, look: Look, target: str, found: Sequence[Brake], unjudged: Collection[str], now: datetime
    ) -> Sequence[Held]:
        """Write down what a pass that was to delete was held back by, or was let go from; the ids stay while it is the
        same. What is no longer so, and not `unjudged`, is over."""
        with self.place.writing() as connection:
            before = {held.brake.name: held for held in _held(connection, target)}
            for brake in found:
                held = before.pop(brake.name, None)
                if held is not None and not _over(held, brake, now):
                    _change(connection, held, seen_at=now)
                    continue
                if held is not None:
                    _change(connection, held, ended_at=now)
                connection.execute(brakes.insert().values(_row(run_id, look, target, brake, now)))
            for name, held in before.items():
                if name not in unjudged:
                    _change(connection, held, ended_at=now)
            return _held(connection, target)

    def went_ahead(self, run_id: str, target: str, rule: str, look: Look, now: datetime) -> None:
        """A pass goes on to delete: remember what it found, and use up what was let go for one pass."""
        with self.place.writing() as connection:
            for held in _held(connection, target):
                if held.release is not None and held.release.once:
                    _change(connection, held, ended_at=now, used_by=run_id)
            if look.windowed:
                return
            counted = {name: getattr(look, name) for name in ("expired", "live", "without_expiry", "unparsable")}
            row = {"looked_at": now, "cutoff": look.cutoff, "rule": rule, "newest": look.newest, "shape": look.shape}
            statement = insert(connection.dialect.name, looks).values(target=target, run_id=run_id, **row, **counted)
            keys = ["target", "run_id"]
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_={**row, **counted}))

    def release(self, target: str, by: str, *, once: bool, now: datetime) -> Sequence[Held]:
        """Let go what holds a target at present, for RELEASED_FOR: that and nothing else. Empty: nothing does."""
        with self.place.writing() as connection:
            several = [held for held in _held(connection, target) if held.release is None or now >= held.release.until]
            for held in several:
                until = now + RELEASED_FOR
                _change(connection, held, released_by=by, released_at=now, released_until=until, once=once)
            names = {held.brake.name for held in several}
            return [held for held in _held(connection, target) if held.brake.name in names]


def _over(held: Held, brake: Brake, now: datetime) -> bool:
    """Whether what a brake sees is another matter than before, or the word that let it go has run out."""
    return not same(held.brake, brake) or (held.release is not None and now >= held.release.until)


def _row(run_id: str, look: Look, target: str, brake: Brake, now: datetime) -> dict[str, Any]:
    return {
        "id": uuid4().hex[:12],
        "target": target,
        "name": str(brake.name),
        "run_id": run_id,
        "cutoff": look.cutoff,
        "what": one_line(brake.what)[:LONGEST_LINE],
        "remedy": one_line(brake.remedy)[:LONGEST_LINE],
        "about": brake.about,
        "figures": dict(brake.figures),
        "began_at": now,
        "seen_at": now,
        "once": False,
    }


def _change(connection: Connection, held: Held, **values: Any) -> None:
    connection.execute(update(brakes).where(brakes.c.id == held.id).values(values))


def _held(connection: Connection, target: str | None) -> list[Held]:
    chosen = select(brakes).where(brakes.c.ended_at.is_(None)).order_by(brakes.c.target, brakes.c.name)
    if target is not None:
        chosen = chosen.where(brakes.c.target == target)
    return [_of_row(row) for row in connection.execute(chosen).mappings()]


def _of_row(row: Any) -> Held:
    brake = Brake(BrakeName(row["name"]), row["what"], row["remedy"], row["about"], dict(row["figures"]))
    release = None
    if row["released_at"] is not None:
        release = Release(brake, row["released_by"] or "", row["released_until"], bool(row["once"]))
    at = (row["cutoff"], row["began_at"], row["seen_at"])
    return Held(row["id"], row["target"], brake, row["run_id"], *at, release)


def _green(connection: Connection, target: str) -> tuple[Look, ...]:
    on = and_(targets.c.run_id == looks.c.run_id, targets.c.target == looks.c.target)
    chosen = (
        select(looks)
        .join(targets, on)
        .where(
            looks.c.target == target,
            targets.c.reported_at.is_not(None),
            targets.c.error.is_(None),
            targets.c.stop_reason.not_in(sorted(UNDONE)),
        )
        .order_by(looks.c.looked_at.desc())
        .limit(GREEN_LOOKS)
    )
    return _looks(connection, chosen)


def _recent(connection: Connection, target: str, rule: str) -> tuple[Look, ...]:
    of_rule = and_(looks.c.target == target, looks.c.rule == rule)
    newest_first = select(looks).where(of_rule).order_by(looks.c.looked_at.desc())
    last = connection.execute(newest_first.limit(1)).mappings().one_or_none()
    if last is None:
        return ()
    # Back from the last one, not from now: a brake that holds for long must not run out of what it is judged by.
    since: datetime = last["looked_at"] - RECENT
    return _looks(connection, newest_first.where(looks.c.looked_at >= since).limit(_RECENT_LOOKS))


def _looks(connection: Connection, chosen: Select[Any]) -> tuple[Look, ...]:
    counted = ("expired", "live", "without_expiry", "unparsable", "newest", "shape")
    rows = connection.execute(chosen).mappings().all()
    return tuple(Look(row["cutoff"], *(row[name] for name in counted)) for row in rows)


def now() -> datetime:
    """The host's clock."""
    return datetime.now(UTC)
