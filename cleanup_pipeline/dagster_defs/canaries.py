"""Canaries in a run: planted once a target is scanned, looked for after each shard and at the end, and taken away.

What is in a store is in the ledger before. Does not belong here: which canaries there are (engine/canaries.py), how a
store makes them (stores).
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import dagster as dg

from cleanup_pipeline.dagster_defs.canary_reports import Said, is_expired, without
from cleanup_pipeline.dagster_defs.process import gone
from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.dagster_defs.switches import ALL, Pause, pause
from cleanup_pipeline.dagster_defs.telling import tell
from cleanup_pipeline.engine.canaries import Verdict, verdict, wanted
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.canaries import Reach, Standing
from cleanup_pipeline.model.alert import AlertSeverity
from cleanup_pipeline.model.canary import Canary, CanaryKind
from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.plan import Finding, Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity, StopReason
from cleanup_pipeline.settings.notifications import NotificationSettings
from cleanup_pipeline.stores.base import Canaries, PlantsCanaries, SourceMissingError, Store, StoreError

log = logging.getLogger(__name__)

EVENT = "canary_missing"
_GOES_ON = "the next pass takes away what is left of them"


@dataclass(frozen=True, slots=True)
class Cage:
    """The canaries of one target in one run."""

    context: dg.OpExecutionContext
    ledger: Recorder
    store: Store
    target: Target
    notifications: NotificationSettings | None

    def scanned(self, scan: Callable[[], Plan], *, dry_run: bool) -> Plan:
        """Scan, with what dead runs left taken away before, and canaries that stand left out of the census.

        What the target's settings say of canaries by now does not matter: the ledger knows what was planted. On a dry
        run nothing is taken away. Raises StoreError, also where the ledger is away and the target is to have canaries:
        then nobody knows what is planted.
        """
        if not dry_run:
            self._clear_left()
        # A dry run needs no ledger.
        known = self._known if dry_run else self._all
        before = {each.canary.mark for each in known() if not each.gone}
        plan = scan()
        if not before or plan.skipped is not None:
            return plan
        here = self._here
        # Without the setting no script knows them by their mark.
        if not here.counted and self.target.canaries is not None:
            return plan
        rows = [each for each in known() if each.canary.mark in before and not each.gone]
        with suppress(StoreError if self.target.canaries is None else SourceMissingError):
            there = self._present(rows)
            return replace(plan, census=without(plan, [row.canary for row in rows if row.canary.mark in there]))
        return plan

    def planted(self, plan: Plan) -> Plan:
        """The plan of a pass that may delete, with its canaries in the store. Raises StoreError where it cannot."""
        if self.target.canaries is None or plan.dry_run or plan.skipped is not None or plan.braked:
            return plan
        # Before it looks for others': of two that begin at once one sees the other.
        self.ledger.record_plan(self.context.run_id, plan)
        others = [each for each in self._all() if each.run_id != self.context.run_id]
        self._make_way([each for each in others if is_expired(each.canary, plan)])
        if others and plan.since is None:
            what = "canaries of another run stand, so this one plants none"
            return replace(plan, findings=(*plan.findings, Finding(Severity.INFO, what, code="canaries.others")))
        count = self._plant(plan, late=False)
        ours = "exactly the expired one has to be gone at the end" if plan.approval is None else "none of them may go"
        what = f"{count} canaries planted: {ours}"
        return replace(plan, findings=(*plan.findings, Finding(Severity.INFO, what, code="canaries.planted")))

    def stand(self, plan: Plan) -> None:
        """See that there are canaries before a shard deletes, in a repetition that did not scan. Raises StoreError."""
        if self.target.canaries is not None and not self._all():
            self.ledger.record_plan(self.context.run_id, plan)
            self._plant(plan, late=True)

    def after_shard(self, plan: Plan, outcome: ShardOutcome) -> ShardOutcome:
        """Look for the canaries: the outcome without them, and red where one is missing. Never raises."""
        if self.target.canaries is None or outcome.stop_reason is StopReason.SKIPPED:
            return outcome
        try:
            rows = self._standing()
            there = self._present(rows)
            judged = self._judged(rows, there, plan)
            for row in rows:
                outcome = self._subtracted(outcome, row, plan, there)
        except StoreError as fault:
            # What an interruption or a fault of the shard itself has to say goes first.
            return outcome if outcome.error else replace(outcome, stop_reason=StopReason.ERROR, error=str(fault))
        if judged.alarm is None:
            return outcome
        return replace(outcome, stop_reason=StopReason.CANARY, error=self._stop_all(judged))

    def shown(self, plan: Plan, tally: Tally) -> Tally:
        """A running sum as somebody who watches is to see it: not more than was found before the canaries came."""
        found = plan.census.expired
        if self.target.canaries is None or found is None or not plan.census.exact:
            return tally
        return replace(tally, deleted=min(tally.deleted, found))

    def standing_expired(self, plan: Plan) -> int:
        """How many of what a count finds expired are canaries. Raises StoreError."""
        if self.target.canaries is None or not self._here.counted:
            return 0
        rows = [each for each in self._standing() if is_expired(each.canary, plan)]
        return len(self._present(rows))

    def after_failure(self, plan: Plan, *, stopped: bool) -> None:
        """After the last shard of a target that has a red one, or when the run is being ended: nobody else would take
        the canaries away. Never raises."""
        if self.target.canaries is None:
            return
        run_id, name = self.context.run_id, self.target.name
        ended = self.ledger.ask(lambda opened: opened.canaries.shards_ended(run_id, name))
        count, red = ended or (0, 0)
        if stopped or (red and count >= len(plan.work.shards)):
            self.clear()

    def at_the_end(self, plan: Plan, outcomes: Sequence[ShardOutcome]) -> Said | None:
        """What the canaries say of a target whose shards have all come back: why it is red, or, without a reason, what
        is not known of them; or None. They are gone afterwards. Never raises."""
        if self.target.canaries is None or plan.dry_run or plan.skipped is not None:
            return None
        try:
            if not any(outcome.stop_reason is not StopReason.SKIPPED for outcome in outcomes):
                return None
            rows = self._standing()
            judged = self._judged(rows, self._present(rows), plan)
            if judged.alarm is not None:
                return StopReason.CANARY, self._stop_all(judged)
            through = all(outcome.stop_reason is StopReason.EXHAUSTED for outcome in outcomes)
            mine = [row for row in rows if row.run_id == self.context.run_id]
            if judged.left and through and mine and not any(row.late for row in mine):
                return StopReason.EXHAUSTED, (
                    f"targets.{self.target.name}: every shard came to its end and an expired canary is still there;"
                    " see what the rule, its guards or a trigger make of records like it"
                )
            own = [row for row in self._all() if row.run_id == self.context.run_id]
            there = self._present(own)
            away = [row for row in own if row.canary.kind is not CanaryKind.EXPIRED and row.canary.mark not in there]
        except StoreError as fault:
            return StopReason.ERROR, str(fault)
        else:
            if not away:
                return None
            return None, (
                f"{len(away)} of the canaries were dead by the rule of another run, which took them away or may have:"
                " what this pass would have made of them is not known"
            )
        finally:
            self.clear()

    def clear(self) -> None:
        """Take away those of this run. Never raises: what stays is found by the next pass."""
        try:
            self._take_away([each for each in self._all() if each.run_id == self.context.run_id])
        except StoreError as fault:
            log.warning("targets.%s: canaries stay for now: %s; %s", self.target.name, fault, _GOES_ON)

    @property
    def _here(self) -> Canaries:
        if isinstance(self.store, PlantsCanaries):
            return self.store.canaries(self.target)
        raise StoreError(
            "no canary can be planted in such a store",
            setting=f"targets.{self.target.name}.canaries",
            remedy="remove it",
        )

    def _plant(self, plan: Plan, *, late: bool) -> int:
        settings, here, now = self.target.canaries, self._here, datetime.now(UTC)
        refused = [each for each in here.refusals() if each.severity is Severity.ERROR]
        if refused or settings is None:
            place = f"targets.{self.target.name}.canaries"
            raise StoreError(refused[0].what, setting=place, remedy=refused[0].remedy)
        kinds = wanted(settings, plan.cutoff, plan.since, self.target.grace, now)
        if plan.approval is not None:
            # To an earlier plan whatever is planted now is new, and stays.
            kinds = [each for each in kinds if each.kind is not CanaryKind.EXPIRED]
        several = here.make(kinds)
        run_id, name = self.context.run_id, self.target.name
        # First on record: what is planted by a process that is killed has to be found again.
        mine = self.ledger.ask(lambda opened: opened.canaries.remember(run_id, name, several, now, late=late))
        if mine is None:
            raise self._away()
        if not mine:
            # Another shard of this very run was first, and plants them.
            return 0
        several = self._without_strangers(several, now)
        try:
            here.plant(several, plan.cutoff)
        except StoreError:
            self.clear()
            raise
        return len(several)

    def _without_strangers(self, several: Sequence[Canary], now: datetime) -> Sequence[Canary]:
        """Those that no other run that goes on would delete. Asked once they are on record: see `planted`."""
        run_id = self.context.run_id
        others = [each for each in self._reaches(now) if each.run_id != run_id and not each.reported]
        living = [each for each in others if not self._is_left(each.run_id)]
        doomed = [
            each.mark
            for each in several
            if each.kind is not CanaryKind.EXPIRED and any(other.holds(each) for other in living)
        ]
        if doomed:
            self.ledger.ask(lambda opened: opened.canaries.forget(doomed))
        return [each for each in several if each.mark not in doomed]

    def _known(self) -> Sequence[Standing]:
        return self.ledger.ask(lambda opened: opened.canaries.of_runs(self.target.name)) or []

    def _all(self) -> Sequence[Standing]:
        if self.target.canaries is None:
            return self._known()
        found = self.ledger.ask(lambda opened: opened.canaries.of_runs(self.target.name))
        if found is None:
            raise self._away()
        return found

    def _standing(self) -> Sequence[Standing]:
        found = self.ledger.ask(lambda opened: opened.canaries.standing(self.target.name))
        if found is None:
            raise self._away()
        return found

    def _present(self, rows: Sequence[Standing]) -> frozenset[str]:
        return retrying()(self._here.present, [row.canary for row in rows]) if rows else frozenset()

    def _judged(self, rows: Sequence[Standing], there: frozenset[str], plan: Plan) -> Verdict:
        own, run_id = [row.canary for row in rows if row.run_id == self.context.run_id], self.context.run_id
        watched = [row for row in rows if row.run_id == run_id or not is_expired(row.canary, plan)]
        first = verdict([row.canary for row in watched], there)
        left = verdict(own, there).left
        if not first.lost:
            return replace(first, left=left)
        # Whoever takes canaries away says so before: only one that still ought to be there was killed.
        still = {row.canary.mark for row in self._standing() if not row.gone}
        lost = [row for row in watched if row.canary.mark in still and row.canary.mark not in there]
        killed = [row.canary for row in lost if not self._may_go(row)]
        return replace(verdict(killed, there), left=left)

    def _may_go(self, row: Standing) -> bool:
        """Whether nobody answers for a canary any more, or a run may have removed it by a rule that is its own."""
        if row.run_id != self.context.run_id and self._is_left(row.run_id):
            return True
        return any(
            each.run_id != row.run_id
            and each.holds(row.canary)
            and (each.seen_at >= row.planted_at or not self._is_left(each.run_id))
            for each in self._reaches(row.planted_at)
        )

    def _subtracted(self, outcome: ShardOutcome, row: Standing, plan: Plan, there: frozenset[str]) -> ShardOutcome:
        gone_now = is_expired(row.canary, plan) and row.canary.mark not in there and not row.gone
        if not gone_now or not self._here.counted or not outcome.tally.deleted:
            return outcome
        mark, run_id = row.canary.mark, self.context.run_id
        if not self.ledger.ask(lambda opened: opened.canaries.claim(mark, run_id)):
            return outcome
        tally = outcome.tally
        return replace(outcome, tally=replace(tally, deleted=tally.deleted - 1, scanned=max(0, tally.scanned - 1)))

    def _reaches(self, since: datetime) -> Sequence[Reach]:
        found = self.ledger.ask(lambda opened: opened.canaries.reaches(self.target.name, since))
        if found is None:
            raise self._away()
        return found

    def _make_way(self, rows: Sequence[Standing]) -> None:
        """Take away what other runs planted to stay and this one would delete, so that it counts none of it. Those runs
        forget them."""
        stay = [row for row in rows if row.canary.kind is not CanaryKind.EXPIRED]
        there = self._present(stay)
        # One that is gone already was killed by somebody else: that is its own run's to find.
        self._leave([row for row in stay if row.canary.mark in there])

    def _clear_left(self) -> None:
        try:
            self._take_away([each for each in self._all() if self._is_left(each.run_id)])
        except StoreError as fault:
            if self.target.canaries is not None:
                raise
            self.context.log.warning("targets.%s: canaries stay for now: %s", self.target.name, fault)

    def _take_away(self, rows: Sequence[Standing]) -> None:
        marks = [row.canary.mark for row in rows]
        self._leave(rows)
        if marks:
            self.ledger.ask(lambda opened: opened.canaries.forget(marks))

    def _leave(self, rows: Sequence[Standing]) -> None:
        if not rows:
            return
        marks = [row.canary.mark for row in rows]
        if not self.ledger.ask(lambda opened: opened.canaries.leave(marks, datetime.now(UTC))):
            raise self._away()
        # With its table a canary is gone as well.
        with suppress(SourceMissingError):
            retrying()(self._here.remove, [row.canary for row in rows])

    def _is_left(self, run_id: str) -> bool:
        """Whether nobody will take away what a run planted."""
        if run_id == self.context.run_id:
            return True
        run = self.context.instance.get_run_by_id(run_id)
        return run is None or run.is_finished or gone(self.context.instance, run)

    def _stop_all(self, judged: Verdict) -> str:
        name = self.target.name
        pause(self.context.instance, Pause(ALL, datetime.now(UTC), None, f"the canaries of {name}"))
        text = (
            f"targets.{name}: {judged.alarm}, so that this pass may have removed what it must not: every target"
            " is paused; stop what else deletes there, compare with a backup, and when it is known why,"
            " `cleanup-pipeline resume --all`"
        )
        if self.notifications is None:
            self.context.log.error(text)
            return text
        key = f"{EVENT} {name} {self.context.run_id}"
        url = ledger_url(self.context.instance)
        tell(url, self.notifications, EVENT, text, key, self.context.log, severity=AlertSeverity.CRITICAL)
        return text

    def _away(self) -> StoreError:
        return StoreError(
            "the ledger is away, without which nobody knows what canaries are planted",
            setting=f"targets.{self.target.name}.canaries",
            remedy="bring it back (CLEANUP_LEDGER_URL), or remove `canaries` for as long",
        )
