"""What ought to have run and did not, or did not end well: judged from the instance and the ledger, changing nothing.

Does not belong here: launching anything (sensors.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import dagster as dg

from cleanup_pipeline.dagster_defs import names
from cleanup_pipeline.dagster_defs.schedules import UNFINISHED
from cleanup_pipeline.dagster_defs.windows import Windows, is_due, window_of
from cleanup_pipeline.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.settings.history import KEEP_RUNS
from cleanup_pipeline.settings.settings import PassSettings

LATE = timedelta(seconds=90)
"""How long after the end of a window its own schedule may take to start it."""
LOOK_BACK = 100
"""Windows back from now among which one may have been missed: what is older is cleaned by the newer ones all the same,
whose runs are open below."""
TIMES = 3
"""A target that was left unfinished so often in a row is said to be."""
_OUTCOMES = 100
"""Outcomes of a target among which those TIMES are looked for, without the passes that left it alone."""
_UNFINISHED_FOR = {StopReason.DEADLINE, StopReason.ROW_LIMIT, StopReason.GOVERNOR, StopReason.EXHAUSTED}


@dataclass(frozen=True, slots=True)
class Failed:
    """The newest scheduled run of a pass, which ended red."""

    run: dg.DagsterRun
    attempt: int
    """0 is the one that the schedule started."""
    ended: datetime
    in_a_row: int
    """Scheduled runs that failed one after the other, whatever their windows."""
    told: bool
    """Whether an earlier one of them was given up."""


def missed_windows(
    instance: dg.DagsterInstance,
    of_pass: PassSettings,
    windows: Windows,
    after: str,
    now: datetime,
    keep_runs: timedelta = KEEP_RUNS,
) -> list[str]:
    """The windows later than `after` that have ended a while ago and for which no run was ever made, newest first.

    Only those whose end is a time of the schedule, and that ended less than `keep_runs` ago: the run of an older one
    may have been pruned. No run of a younger one was, because it ended later than its window did.
    """
    keys = [key for key in windows.get_partition_keys(current_time=now)[-LOOK_BACK:] if key > after]
    missed = []
    zone = ZoneInfo(of_pass.timezone)
    for key in reversed(keys):
        end = window_of(windows, key).end
        if end < now - keep_runs:
            break
        if end > now - LATE or not is_due(end.astimezone(zone), of_pass.every):
            continue
        of_window = dg.RunsFilter(job_name=names.job_name(of_pass.name), tags={names.PARTITION_TAG: key})
        if not instance.get_runs(of_window, limit=1):
            missed.append(key)
    return missed


def unfinished_runs(instance: dg.DagsterInstance, pass_name: str) -> int:
    """Scheduled runs of a pass that wait or go: a pass that takes longer than its interval misses windows for ever."""
    tags = {names.SCHEDULED_TAG: pass_name}
    return instance.get_runs_count(dg.RunsFilter(job_name=names.job_name(pass_name), statuses=UNFINISHED, tags=tags))


def not_on_record(url: str, pass_name: str, windows: Windows, missed: Sequence[str]) -> list[str]:
    """Those of some missed windows that the ledger knows no run of either: somebody may have wiped Dagster's.

    All of them where the ledger is away: a run that repeats another one finds nothing to do.
    """
    if not missed:
        return []
    try:
        ledger = open_ledger(url)
        try:
            known = ledger.windows(pass_name, min(window_of(windows, key).start for key in missed))
        finally:
            ledger.close()
    except LedgerError:
        return list(missed)
    return [key for key in missed if key not in known]


def failed_pass(instance: dg.DagsterInstance, pass_name: str) -> Failed | None:
    """The newest scheduled run of a pass if it failed, else None. One that somebody stopped did not fail."""
    scheduled = dg.RunsFilter(job_name=names.job_name(pass_name), tags={names.SCHEDULED_TAG: pass_name})
    records = instance.get_run_records(scheduled, limit=1)
    if not records or records[0].dagster_run.status is not dg.DagsterRunStatus.FAILURE:
        return None
    run, ended = records[0].dagster_run, records[0].end_time
    before = [record.dagster_run for record in instance.get_run_records(scheduled, limit=LOOK_BACK)]
    red = takewhile(lambda each: each.status is dg.DagsterRunStatus.FAILURE, before)
    # What a brake held did not fail: it is no reason to give up on what fails after it was let go.
    row = [each for each in red if names.ONLY_BRAKED_TAG not in each.tags or each.run_id == run.run_id]
    told = any(names.GIVEN_UP_TAG in each.tags for each in row[1:])
    since = datetime.now(UTC) if ended is None else datetime.fromtimestamp(ended, UTC)
    return Failed(run, int(run.tags.get(names.ATTEMPT_TAG, "0")), since, len(row), told)


def retry_at(failed: Failed, of_pass: PassSettings) -> datetime | None:
    """When to try again: `retry_after` after the first failure, four times as long after each further one.

    None when it was tried as often as `retries` says, by whatever runs: where windows are short the schedule's next run
    comes first, as another first attempt.
    """
    if failed.attempt >= of_pass.retries or (failed.in_a_row > of_pass.retries and not failed.told):
        return None
    times: int = 4**failed.attempt
    return failed.ended + of_pass.retry_after * times


def left_unfinished(ledger: Ledger, targets: Sequence[str]) -> dict[str, tuple[str, int | None]]:
    """The targets that were left with expired records TIMES times in a row: the newest run, and how many.

    None: nobody knows how many.
    """
    found: dict[str, tuple[str, int | None]] = {}
    for target in targets:
        outcomes = [each for each in ledger.outcomes(target, _OUTCOMES) if each[1] != StopReason.SKIPPED][:TIMES]
        cut_short = [reason in _UNFINISHED_FOR and survivors != 0 for _, reason, survivors in outcomes]
        if len(cut_short) == TIMES and all(cut_short):
            found[target] = (outcomes[0][0], outcomes[0][2])
    return found
