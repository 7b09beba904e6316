"""From figures to conditions. Pure: the same figures at the same time always give the same."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from cleanup_pipeline.ledger.operations import Operation
from cleanup_pipeline.model.alert import AlertName, AlertSeverity, AlertState, Condition
from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.observability.alerts.figures import Figures, PassFigures, TargetFigures
from cleanup_pipeline.observability.words import span
from cleanup_pipeline.settings.alerts import AlertSettings

MARGIN = timedelta(minutes=5)
"""A pass may take so long besides its intervals before it is late."""
LEAST_FAILED = 2
"""One red operation of few is no rate."""
GROWING = 3
"""Passes in a row after each of which more was left than after the one before."""
HELD_SHARE = 0.5
LEAST_HELD_SECONDS = 5.0
"""Half of next to nothing is no reason to call anybody."""
ASKED_FOR = frozenset({"run_window"})
"""What holds batches back because the settings say so."""


def judge(figures: Figures, thresholds: AlertSettings, now: datetime) -> tuple[Condition, ...]:
    """What is to be said of each pass and target: firing, clear or unknown. Alerts that are off are left out."""
    if not thresholds.enabled:
        return ()
    return tuple(_judged(figures, thresholds, now))


def _judged(figures: Figures, thresholds: AlertSettings, now: datetime) -> Iterator[Condition]:
    for of_pass in figures.passes:
        if thresholds.late_after is not None:
            yield not_running(of_pass, thresholds.late_after, now)
        if thresholds.error_share is not None:
            yield high_error_rate(of_pass, thresholds.error_share)
    for target in figures.targets:
        if thresholds.slow_after is not None:
            yield slow(target, thresholds.slow_after, now)
        if thresholds.survivors_too_old:
            yield survivors_too_old(target, now)
        if thresholds.backlog_growing:
            yield backlog_growing(target)
        if thresholds.held_back:
            yield held_back(target)


def _condition(
    name: AlertName,
    subject: str,
    firing: bool | None,
    value: float | None = None,
    summary: str = "",
    severity: AlertSeverity = AlertSeverity.WARNING,
) -> Condition:
    """`firing` None: nobody knows."""
    if firing is None:
        return Condition(name, subject, AlertState.UNKNOWN, severity)
    return Condition(name, subject, AlertState.FIRING if firing else AlertState.CLEAR, severity, value, summary)


def not_running(of_pass: PassFigures, late_after: float, now: datetime) -> Condition:
    """No pass ended for `late_after` intervals and a margin; value: seconds since the last end, or the first look."""
    since = [at for at in (of_pass.last_end or of_pass.first, of_pass.looked_since) if at is not None]
    name, critical = AlertName.NOT_RUNNING, AlertSeverity.CRITICAL
    if not since:
        return _condition(name, of_pass.name, None, severity=critical)
    # A pass that was off until now is not late for the time before.
    reference = max(since)
    silent = now - reference
    every = format_duration(of_pass.every)
    if of_pass.last_end is None:
        told = f"pass {of_pass.name} never ended; it runs every {every}, and was first heard of {span(silent)} ago"
    else:
        told = f"pass {of_pass.name} last ended {span(now - of_pass.last_end)} ago; it runs every {every}"
    late = silent > late_after * of_pass.every + MARGIN
    return _condition(name, of_pass.name, late, silent.total_seconds(), told, critical)


def high_error_rate(of_pass: PassFigures, error_share: float) -> Condition:
    """More than a share of its operations failed, and more than one; value: that share."""
    if of_pass.operations == 0:
        return _condition(AlertName.HIGH_ERROR_RATE, of_pass.name, None)
    share = of_pass.failed / of_pass.operations
    told = f"pass {of_pass.name}: {of_pass.failed:,} of the last {of_pass.operations:,} operations failed ({share:.0%})"
    high = share > error_share and of_pass.failed >= LEAST_FAILED
    return _condition(AlertName.HIGH_ERROR_RATE, of_pass.name, high, share, told)


def slow(target: TargetFigures, slow_after: timedelta, now: datetime) -> Condition:
    """One of its operations in the last two intervals took too long; value: the seconds of the longest."""
    recent = _within(target, now)
    if not recent:
        return _condition(AlertName.SLOW, target.name, None)
    longest = max(operation.seconds for operation in recent)
    limit = slow_after.total_seconds()
    told = f"target {target.name} took {span(timedelta(seconds=longest))}, more than {format_duration(slow_after)}"
    return _condition(AlertName.SLOW, target.name, longest > limit, longest, told)


def survivors_too_old(target: TargetFigures, now: datetime) -> Condition:
    """Its oldest expired survivor is older than the objective; value: the age in seconds when it was looked for."""
    name, critical = AlertName.SURVIVORS_TOO_OLD, AlertSeverity.CRITICAL
    witness = target.witness
    if witness is None or not witness.known or now - witness.checked_at > 2 * target.every + MARGIN:
        return _condition(name, target.name, None, severity=critical)
    if witness.oldest_survivor is None:
        return _condition(name, target.name, False, 0.0, severity=critical)
    age = witness.checked_at - witness.oldest_survivor
    objective = timedelta(seconds=witness.objective_seconds)
    told = f"target {target.name}: the oldest expired survivor is {span(age)} old, the objective is {span(objective)}"
    return _condition(name, target.name, age > objective, age.total_seconds(), told, critical)


def backlog_growing(target: TargetFigures) -> Condition:
    """More survivors after each of the last three passes; value: how many more than before the three."""
    counts = [operation.survivors for operation in target.recent[: GROWING + 1]]
    steps = [None if new is None or old is None else new > old for new, old in pairwise(counts)]
    name = AlertName.BACKLOG_GROWING
    if False in steps:
        return _condition(name, target.name, False, 0.0)
    newest, oldest = (counts[0], counts[-1]) if counts else (None, None)
    if len(steps) < GROWING or None in steps or newest is None or oldest is None:
        return _condition(name, target.name, None)
    told = f"target {target.name}: each of {GROWING} passes left more, {oldest:,} records before and {newest:,} now"
    return _condition(name, target.name, True, newest - oldest, told)


def held_back(target: TargetFigures) -> Condition:
    """The governor stopped its last operation, or held it back for more than half of its time; value: that share."""
    name = AlertName.HELD_BACK
    if not target.recent:
        return _condition(name, target.name, None)
    last = target.recent[0]
    share = min(1.0, last.waited_seconds / last.busy_seconds) if last.busy_seconds > 0 else 0.0
    why = _why(last)
    if last.slowed and set(last.slowed) <= ASKED_FOR:
        return _condition(name, target.name, False, share)
    if last.stop_reason == StopReason.GOVERNOR:
        told = f"target {target.name}: the governor stopped its last pass{why}"
        return _condition(name, target.name, True, share, told)
    held = share > HELD_SHARE and last.waited_seconds >= LEAST_HELD_SECONDS
    told = f"target {target.name}: the governor held its last pass back for {share:.0%} of its time{why}"
    return _condition(name, target.name, held, share, told)


def _why(operation: Operation) -> str:
    reasons = sorted(operation.slowed, key=lambda reason: -operation.slowed[reason])
    return f" ({', '.join(reasons[:3])})" if reasons else ""


def _within(target: TargetFigures, now: datetime) -> list[Operation]:
    return [operation for operation in target.recent if now - operation.reported_at <= 2 * target.every + MARGIN]
