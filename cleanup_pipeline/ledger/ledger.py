"""An open ledger: each method is one transaction. What it says is in writing.py, reading.py and pruning.py."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from cleanup_pipeline.ledger import alerting, daily, outbox, pruning, reading, watching, writing
from cleanup_pipeline.ledger.alerting import AlertRow, Changes
from cleanup_pipeline.ledger.braking import Brakes
from cleanup_pipeline.ledger.canaries import Canaries
from cleanup_pipeline.ledger.connect import SETTING, LedgerError, Place, place_of
from cleanup_pipeline.ledger.keepings import Keepings
from cleanup_pipeline.ledger.migrate import migrate
from cleanup_pipeline.ledger.operations import Operations
from cleanup_pipeline.ledger.outbox import Message, Outbox
from cleanup_pipeline.ledger.plans import KEPT, Plans
from cleanup_pipeline.ledger.rows import DayRow, PassDetail, PassRow, Pruned, Totals, WitnessRow
from cleanup_pipeline.ledger.words import LOST
from cleanup_pipeline.model.alert import Condition
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Plan

__all__ = ["SETTING", "Ledger", "LedgerError", "PassRow", "Totals", "open_ledger"]


def open_ledger(url: str) -> "Ledger":
    """The ledger at a URL, sqlite:///FILE or postgresql://...; its tables are made at the first use.

    Raises LedgerError.
    """
    place = place_of(url)
    try:
        migrate(place)
    except BaseException:
        place.engine.dispose()
        raise
    return Ledger(place)


@dataclass(frozen=True, slots=True)
class Ledger:
    """An open ledger. Its methods raise LedgerError; `Recorder` is for whoever may not fail for it.

    Any write may be done twice and changes nothing the second time, and makes the row of its pass where there is none.
    """

    place: Place

    def begin_pass(
        self,
        run_id: str,
        pass_name: str,
        *,
        dry_run: bool = False,
        window: str | None = None,
        window_start: datetime | None = None,
        window_end: datetime | None = None,
        backfill: str | None = None,
        parent_run_id: str | None = None,
        root_run_id: str | None = None,
        host: str = "",
        pid: int | None = None,
        started_at: datetime | None = None,
    ) -> None:
        """A pass is under way; whichever step comes first says so. `window` is its partition key.

        `pid` None is this process, `started_at` None is now.
        """
        at = writing.now()
        row = {
            "run_id": run_id,
            "pass_name": pass_name,
            "window_key": window,
            "window_start": window_start,
            "window_end": window_end,
            "backfill": backfill,
            "parent_run_id": parent_run_id,
            "root_run_id": root_run_id,
            "dry_run": dry_run,
            "host": host,
            "pid": os.getpid() if pid is None else pid,
            "started_at": started_at or at,
            "heartbeat_at": at,
        }
        with self.place.writing() as connection:
            writing.begin_pass(connection, row)

    def heartbeat(self, run_id: str) -> None:
        """The pass is alive. Every other write of a pass says so, too."""
        with self.place.writing() as connection:
            writing.alive(connection, run_id, writing.now())

    def record_plan(self, run_id: str, plan: Plan) -> None:
        """What a target was found to be like."""
        with self.place.writing() as connection:
            writing.record_plan(connection, run_id, plan)

    def begin_shard(self, run_id: str, plan: Plan, shard: int, *, at_most: int | None) -> None:
        """A shard begins to delete. `at_most` None: nobody can say what its first batch will remove."""
        with self.place.writing() as connection:
            writing.begin_shard(connection, run_id, plan, shard, at_most)

    def progress(self, run_id: str, target: str, shard: int, tally: Tally, at_most: int | None) -> None:
        """How far a shard is, before it goes on to what makes it `at_most`."""
        with self.place.writing() as connection:
            writing.progress(connection, run_id, target, shard, tally, at_most)

    def record_shard(self, run_id: str, outcome: ShardOutcome) -> None:
        """How a shard ended."""
        with self.place.writing() as connection:
            writing.record_shard(connection, run_id, outcome)

    def record_target(self, run_id: str, report: TargetReport) -> None:
        """What became of a target."""
        with self.place.writing() as connection:
            writing.record_target(connection, run_id, report)

    def close_pass(
        self, run_id: str, status: str, reason: str | None = None, *, ended_at: datetime | None = None
    ) -> None:
        """A pass has ended. Shards that never said how they ended are `lost`.

        The first word counts; but `lost` gives way to any other, and a green status to a red one. Raises ValueError
        for a status that is neither a PassStatus nor `lost` or `terminated`.
        """
        with self.place.writing() as connection:
            writing.close_pass(connection, run_id, status, ended_at, reason)

    def mark_lost(self, run_id: str, reason: str) -> None:
        """The process of a pass is gone. One that said how it ended stays as it is."""
        self.close_pass(run_id, LOST, reason)

    def running(self, older_than: timedelta = timedelta(0)) -> Sequence[PassRow]:
        """Passes that did not end and were not heard of for so long, the longest silent first."""
        with self.place.reading() as connection:
            return reading.running(connection, writing.now() - older_than)

    def history(
        self, limit: int = 20, pass_name: str | None = None, since: datetime | None = None
    ) -> Sequence[PassRow]:
        """The newest passes first."""
        with self.place.reading() as connection:
            return reading.history(connection, limit, pass_name, since)

    def pass_of(self, run_id: str) -> PassDetail | None:
        """One pass with its targets and shards; None: there is none, or it is older than retention."""
        with self.place.reading() as connection:
            return reading.pass_of(connection, run_id)

    def totals(self, target: str | None = None, since: datetime | None = None) -> Totals:
        """What all shards, or those of one target, removed. `since`: see `totals_by_target`."""
        found = self.totals_by_target(since)
        if target is not None:
            return found.get(target, Totals(0, 0))
        together = Totals(0, 0)
        for part in found.values():
            together = reading.add(together, part)
        return together

    def totals_by_target(self, since: datetime | None = None) -> dict[str, Totals]:
        """What was removed, by target, what retention has folded into days included.

        `since` takes the shards that ended then or later, those that run, and of the folded days whole UTC days only.
        """
        with self.place.reading() as connection:
            return reading.totals(connection, since)

    def last_success(self, *, pass_name: str | None = None, target: str | None = None) -> datetime | None:
        """When a pass, or a target, was last cleaned without fault; None: never. Dry and skipped runs do not count.

        Raises ValueError when neither is named.
        """
        if pass_name is None and target is None:
            raise ValueError("last_success needs a pass_name or a target")
        with self.place.reading() as connection:
            return reading.last_success(connection, pass_name, target)

    def outcomes(self, target: str, limit: int) -> Sequence[tuple[str, str | None, int | None]]:
        """Run, stop reason and survivors of a target in its last passes, the newest first; dry runs left out."""
        with self.place.reading() as connection:
            return reading.outcomes(connection, target, limit)

    def days(self, since: date | None = None, until: date | None = None) -> Sequence[DayRow]:
        """What each UTC day from `since` to `until` came to, both included, in order; what runs included.

        Of days that `seal` has not seen it adds up each row: about a tenth of a second for 8,000 shards.
        """
        with self.place.reading() as connection:
            return daily.read_days(connection, since, until)

    def seal(self, now: datetime | None = None) -> int:
        """Add up the days that ended a day ago or earlier, so that they are read at once; how many that were."""
        count = 0
        while True:
            with self.place.writing() as connection:
                if not daily.seal_next(connection, now or writing.now()):
                    return count
            count += 1

    def add_witness(self, row: WitnessRow) -> None:
        """What a witness found; the same target and instant again replaces it."""
        with self.place.writing() as connection:
            watching.add_witness(connection, row)

    def witnesses(self) -> Sequence[WitnessRow]:
        """The latest judgement of each target that ever had one, by target."""
        with self.place.reading() as connection:
            return watching.latest_witnesses(connection)

    def first_known(self, target: str) -> datetime | None:
        """When a target was first planned, reported or looked at; None: never."""
        with self.place.reading() as connection:
            return watching.first_known(connection, target)

    def recently_removed(self, target: str, limit: int = 3) -> Sequence[int]:
        """How many records each of the last passes removed from a target, the newest first."""
        with self.place.reading() as connection:
            return watching.recently_removed(connection, target, limit)

    def windows(self, pass_name: str, since: datetime) -> frozenset[str]:
        """The windows for which a run of a pass began since then."""
        with self.place.reading() as connection:
            return watching.windows(connection, pass_name, since)

    def prune(self, keep: timedelta, now: datetime | None = None) -> Pruned:
        """Fold passes that began longer than `keep` ago into days, and delete them. A pass that runs stays.

        As old judgements of witnesses, alerts that ended, messages that were delivered or given up, and what was kept
        and put back, are deleted, and plans that are as old, or older than plans.KEPT.

        Raises ValueError when `keep` is not above zero.
        """
        if keep <= timedelta(0):
            raise ValueError(f"keep must be above zero, found {keep}")
        before = (now or writing.now()) - keep
        done = Pruned(0, 0)
        while True:
            with self.place.writing() as connection:
                part = pruning.prune_chunk(connection, before)
            done = Pruned(done.passes + part.passes, done.shards + part.shards)
            if part.passes < pruning.CHUNK:
                break
        self.keepings.prune(before)
        watched = 0
        while True:
            with self.place.writing() as connection:
                count = watching.prune_chunk(connection, before, max(before, (now or writing.now()) - KEPT))
            watched += count
            if not count:
                return replace(done, watched=watched)

    def prunable(self, keep: timedelta, now: datetime | None = None) -> Pruned:
        """What `prune` would delete."""
        before = (now or writing.now()) - keep
        with self.place.reading() as connection:
            plans_before = max(before, (now or writing.now()) - KEPT)
            watched = watching.count_old(connection, before, plans_before)
            return replace(pruning.count_old(connection, before), watched=watched)

    @property
    def operations(self) -> Operations:
        """What targets were last found to be like, for those who watch."""
        return Operations(self.place)

    @property
    def brakes(self) -> Brakes:
        """What holds targets back, and what they are compared with."""
        return Brakes(self.place)

    @property
    def canaries(self) -> Canaries:
        """What passes planted and have to take away again."""
        return Canaries(self.place)

    @property
    def plans(self) -> Plans:
        """What was going to be removed, and whether it was."""
        return Plans(self.place)

    @property
    def keepings(self) -> Keepings:
        """What was kept of removed records, put back and erased."""
        return Keepings(self.place)

    @property
    def outbox(self) -> Outbox:
        """The messages that are on their way to somebody."""
        return Outbox(self.place)

    def open_alerts(self) -> Sequence[AlertRow]:
        """The alerts that fire, by start."""
        with self.place.reading() as connection:
            return alerting.open_alerts(connection)

    def alerts(self, since: datetime | None = None) -> Sequence[AlertRow]:
        """The alerts that fire, and those that ended at `since` or later (None: ever), by start."""
        with self.place.reading() as connection:
            return alerting.alerts_since(connection, since)

    def set_alerts(self, conditions: Sequence[Condition], now: datetime) -> Changes:
        """Start and end alerts; an unknown condition does neither, and one that is not named ends its alert."""
        with self.place.writing() as connection:
            return alerting.set_alerts(connection, conditions, now)

    def tell_alerts(
        self, compose: Callable[[Changes], Sequence[Message]], per_hour: int, now: datetime
    ) -> Sequence[Message]:
        """Put what `compose` makes of the changes that nobody was told of into the outbox, once."""
        with self.place.writing() as connection:
            several = compose(alerting.take_untold(connection, now))
            outbox.put(connection, several, per_hour, now)
            return several

    def forget_alerts(self, before: datetime) -> int:
        """Delete alerts that ended before an instant; how many."""
        with self.place.writing() as connection:
            return alerting.forget(connection, before)

    def close(self) -> None:
        """Close every connection."""
        self.place.engine.dispose()
