"""This pass beside the usual one, in one line. Needs no pandas: passes use it."""

from datetime import datetime

from cleanup_pipeline.model.outcome import PassReport, TargetReport
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.reporting.words import UNKNOWN, age, number

NO_USUAL = "no usual yet"
_UNDONE = {StopReason.DRY_RUN, StopReason.SKIPPED}


def target_beside_usual(report: TargetReport, usual: float | None, oldest_expired: datetime | None) -> str | None:
    """`removed 12,310; usual 11,900; backlog 0; oldest survivor 0 s`. None: the pass did nothing to the target.

    `oldest_expired` is of those that were there when the pass began: what survived is no older.
    """
    if report.stop_reason in _UNDONE:
        return None
    if report.survivors == 0:
        oldest = "0 s"
    elif oldest_expired is not None and report.cutoff is not None:
        oldest = f"at most {age(oldest_expired, report.cutoff)}"
    else:
        oldest = UNKNOWN
    return _line(report.deleted, usual, report.survivors, oldest)


def pass_beside_usual(report: PassReport, usual: float | None) -> str | None:
    """The same of all targets of a pass. None: it did nothing to any."""
    done = [target for target in report.targets if target.stop_reason not in _UNDONE]
    if not done:
        return None
    left = [target.survivors for target in done]
    backlog = None if None in left else sum(n or 0 for n in left)
    return _line(sum(target.deleted for target in done), usual, backlog, "0 s" if backlog == 0 else UNKNOWN)


def _line(deleted: int, usual: float | None, backlog: int | None, oldest: str) -> str:
    before = NO_USUAL if usual is None else f"usual {round(usual):,}"
    return f"removed {number(deleted)}; {before}; backlog {number(backlog)}; oldest survivor {oldest}"
