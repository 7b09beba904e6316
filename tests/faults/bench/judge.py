"""What has to be so after a pass, whatever struck it: in the store, in what the pass said, and in the ledger."""

from dataclasses import dataclass
from typing import Any

from tests.faults.bench.fault import Fault
from tests.faults.bench.hosts import Host
from tests.faults.bench.oracle import Oracle, Verdict
from tests.faults.bench.passes import STATUS_TAG, Ended, Pace, Passes
from tests.faults.bench.stores import wait_until


class WrongError(AssertionError):
    """What a round found; the message names the seed that finds it again."""


@dataclass(frozen=True)
class Judge:
    """Holds the oracle's account against what is there. Everything here raises WrongError."""

    host: Host
    side: Any
    passes: Passes
    oracle: Oracle
    fault: Fault
    shape: str

    def nothing_wrong(self, verdict: Verdict, when: str) -> None:
        if verdict.survivors:
            some = verdict.survivors[:3]
            raise WrongError(f"{when}: green, and {len(verdict.survivors)} dead are left, such as {some}")
        if self.oracle.wrong:
            raise WrongError(f"{when}: {'; '.join(self.oracle.wrong[:5])}")
        if half := self.side.half_done():
            raise WrongError(f"{when}: {half} records lost some of their rows")

    def nothing_left_open(self, pace: Pace) -> None:
        if not wait_until(lambda: self.host.proxy.open == 0, 10):
            raise WrongError(f"{self.host.proxy.open} connections are left: {self.host.proxy.who()} {self.side.who()}")
        if not wait_until(lambda: self.side.connections() == 0, 15):
            raise WrongError(f"the server still has {self.side.connections()} connections of the cleaner's")
        # What could not be given back ends by itself, within its time.
        if not wait_until(lambda: self.side.leases() == 0, float(pace.lease[:-1]) + 5):
            raise WrongError(f"{self.side.leases()} leases are left")

    def told_the_truth(
        self, ended: Ended, found: dict[str, float | None], start: float, *, first: bool = False
    ) -> None:
        report = ended.report
        [target] = report["targets"]
        status, left = report["status"], target["survivors"]
        dead = sum(1 for name in found if self.oracle.was_dead(self.oracle.records[name], start))
        moved = sum(1 for record in self.oracle.records.values() if record.touched >= start)
        if status == "succeeded" and (left != 0 or target["error"]):
            raise WrongError(f"green with {left} left and error {target['error']}")
        if status in {"failed", "partial"} and not (target["error"] or report["reason"]):
            raise WrongError(f"{status} and no reason for it")
        if status not in {"succeeded", "failed", "partial", "skipped"}:
            raise WrongError(f"ended {status}")
        if status == "skipped" and target["deleted"]:
            raise WrongError("skipped, and deleted something")
        sure = left is not None and status != "skipped" and not (self.fault.forgets and first)
        if sure and not dead <= left <= dead + moved:
            raise WrongError(f"says {left} are left; there are {dead}, and {moved} were touched meanwhile")
        with self.passes.ledger() as ledger:
            detail = ledger.pass_of(ended.run_id)
        if detail is None or detail.row.ended_at is None or detail.row.status is None:
            raise WrongError(f"the ledger has no end of the pass: {detail}")
        if detail.row.status not in {status, "terminated"} or ended.tags.get(STATUS_TAG) != detail.row.status:
            raise WrongError(
                f"{status} in the report, {detail.row.status} in the ledger, {ended.tags.get(STATUS_TAG)} on the run"
            )
        if detail.row.deleted != target["deleted"] or ended.tags.get("cleanup/deleted") != str(target["deleted"]):
            raise WrongError(f"{target['deleted']} in the report, {detail.row.deleted} in the ledger: {ended.tags}")
        if any(shard.ended_at is None or shard.stop_reason is None for shard in detail.shards):
            raise WrongError("the ledger has a shard without an end")
        [row] = detail.targets
        if (row.survivors, bool(row.error)) != (left, bool(target["error"])) and row.stop_reason != "skipped":
            raise WrongError(
                f"the ledger says {row.survivors} left and {row.error}, the report {left} and {target['error']}"
            )

    def ledger(self, before: Any, verdict: Verdict) -> int:
        """Hold the ledger against what the store lost; how many deletions the store forgot."""
        with self.passes.ledger() as ledger:
            now = ledger.totals("it")
            if any(row.ended_at is None for row in ledger.history(2)) and not self.fault.worker:
                raise WrongError("the ledger has a pass without an end")
        deleted, at_most = now.deleted - before.deleted, None
        if now.at_most is not None:
            at_most = now.at_most - (before.at_most or 0)
        sure = verdict.lost - verdict.loose
        back = 0
        if self.fault.rewinds:
            # Done twice, where the store forgot the first time.
            back = max(0, deleted - verdict.lost)
            deleted -= back
        if deleted > verdict.lost:
            raise WrongError(f"the ledger says {deleted} were deleted, the store lost {verdict.lost}")
        # How many elements a pass that was killed pulled, nobody knows, and the ledger says so.
        unknown = at_most is None and self.shape == "pull" and self.fault.name == "worker_kill_9"
        if not unknown and (at_most is None or sure > at_most):
            raise WrongError(f"the store lost {sure}, the ledger says at most {at_most} (deleted {deleted})")
        return back
