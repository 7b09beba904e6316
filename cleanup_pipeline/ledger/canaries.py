"""The canaries that may be in a store: written down before they are planted, forgotten once they are removed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update

from cleanup_pipeline.ledger.connect import Place
from cleanup_pipeline.ledger.tables import canaries, passes, shards, targets
from cleanup_pipeline.ledger.words import FAILED_SHARD
from cleanup_pipeline.model.canary import Canary, CanaryKind, due


@dataclass(frozen=True, slots=True)
class Standing:
    """A canary that was to be planted and was not yet removed."""

    run_id: str
    canary: Canary
    gone: bool
    """An expired one that some shard removed, and subtracted from what it counts."""
    late: bool
    """Planted when shards had begun already, so that they may have passed its place before."""
    planted_at: datetime


@dataclass(frozen=True, slots=True)
class Reach:
    """What a run that was to delete from a target takes for dead: what died before `cutoff` and not before `since`."""

    run_id: str
    cutoff: datetime
    since: datetime | None
    reported: bool
    """It is through with the target."""
    seen_at: datetime
    """When it last wrote anything down."""

    def holds(self, canary: Canary) -> bool:
        """Whether a canary is dead by its rule."""
        return due(canary, self.cutoff, self.since)


@dataclass(frozen=True, slots=True)
class Canaries:
    """Questions to a ledger and writes. Each method is one transaction and raises LedgerError."""

    place: Place

    def remember(self, run_id: str, target: str, several: Sequence[Canary], now: datetime, *, late: bool) -> bool:
        """Write them down. False, and nothing is written, where the run has some for this target already."""
        with self.place.writing() as connection:
            of_run = (canaries.c.run_id == run_id) & (canaries.c.target == target)
            if connection.execute(select(canaries.c.mark).where(of_run).limit(1)).first() is not None:
                return False
            connection.execute(canaries.insert(), [_row(run_id, target, each, now, late) for each in several])
            return True

    def standing(self, target: str) -> Sequence[Standing]:
        """Those that have to be where they were planted; also the expired one, whether it went or not."""
        with self.place.reading() as connection:
            chosen = select(canaries).where(canaries.c.target == target, canaries.c.removing_at.is_(None))
            return [_of_row(row) for row in connection.execute(chosen.order_by(canaries.c.mark)).mappings()]

    def claim(self, mark: str, run_id: str) -> bool:
        """The one shard that may subtract an expired one that is gone: True for the first that asks."""
        with self.place.writing() as connection:
            free = (canaries.c.mark == mark) & canaries.c.gone_by.is_(None) & canaries.c.removing_at.is_(None)
            return connection.execute(update(canaries).where(free).values(gone_by=run_id)).rowcount == 1

    def leave(self, marks: Collection[str], now: datetime) -> bool:
        """True. They are about to be removed by whoever planted them: from now on a missing one means nothing."""
        with self.place.writing() as connection:
            connection.execute(update(canaries).where(canaries.c.mark.in_(marks)).values(removing_at=now))
            return True

    def of_runs(self, target: str) -> Sequence[Standing]:
        """All that may be in the store, also those that somebody began to remove."""
        with self.place.reading() as connection:
            chosen = select(canaries).where(canaries.c.target == target).order_by(canaries.c.mark)
            return [_of_row(row) for row in connection.execute(chosen).mappings()]

    def forget(self, marks: Collection[str]) -> None:
        """They are in no store any more."""
        with self.place.writing() as connection:
            connection.execute(delete(canaries).where(canaries.c.mark.in_(marks)))

    def reaches(self, target: str, since: datetime) -> Sequence[Reach]:
        """Of the runs that may have deleted from a target after an instant, as far as the ledger knows."""
        chosen = (
            select(targets.c.run_id, targets.c.cutoff, targets.c.since, targets.c.reported_at, passes.c.heartbeat_at)
            .join(passes, passes.c.run_id == targets.c.run_id)
            .where(targets.c.target == target, targets.c.dry_run.is_(False), targets.c.skipped.is_(None))
            .where(targets.c.cutoff.is_not(None), targets.c.reported_at.is_(None) | (targets.c.reported_at >= since))
        )
        with self.place.reading() as connection:
            found = connection.execute(chosen).all()
        return [Reach(run, cutoff, begin, at is not None, at or beat) for run, cutoff, begin, at, beat in found]

    def shards_ended(self, run_id: str, target: str) -> tuple[int, int]:
        """How many shards of a target ended in this very run, and how many of them so that nothing comes after them."""
        with self.place.reading() as connection:
            ended = shards.c.ended_at.is_not(None)
            failed = func.count().filter(shards.c.stop_reason.in_(sorted(FAILED_SHARD)))
            chosen = select(func.count(), failed).where(shards.c.run_id == run_id, shards.c.target == target, ended)
            count, red = connection.execute(chosen).one()
            return int(count), int(red)


def _row(run_id: str, target: str, canary: Canary, now: datetime, late: bool) -> dict[str, Any]:
    return {
        "mark": canary.mark,
        "run_id": run_id,
        "target": target,
        "kind": str(canary.kind),
        "identity": dict(canary.identity),
        "dies_at": canary.dies_at,
        "planted_at": now,
        "late": late,
    }


def _of_row(row: Any) -> Standing:
    canary = Canary(row["mark"], CanaryKind(row["kind"]), row["dies_at"], dict(row["identity"]))
    return Standing(row["run_id"], canary, row["gone_by"] is not None, bool(row["late"]), row["planted_at"])
