"""A store and its targets looked over for a person, before anything is deleted. Changes nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from cleanup_pipeline.engine.looks import PATIENCE, skew_of
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.engine.scan import LARGEST_SKEW, implausible, refuse_the_impossible
from cleanup_pipeline.model.plan import Finding
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import (
    ChecksUp,
    ImplausibleError,
    PlantsCanaries,
    SourceMissingError,
    Store,
    StoreError,
    UnavailableError,
)
from cleanup_pipeline.stores.open import store_for

NOTABLE_SKEW = 1.0
"""Seconds."""
_WORST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found about a store or a target, the worst first."""

    name: str
    findings: tuple[Finding, ...]
    reached: bool = True
    """False: the store could not be reached, so that nothing is known of its targets."""


def check_store(store: Store) -> Checked:
    """The connection, the clock and the server."""
    name = store.config.name
    skew = skew_of(store)
    if skew is None:
        try:
            retrying()(store.clock)
        except StoreError as fault:
            return Checked(name, (_of(fault),), reached=not isinstance(fault, UnavailableError))
        skew = skew_of(store)
    findings = [] if skew is None else [_clock(skew)]
    if isinstance(store, ChecksUp):
        findings += _found(store.check_server)
    return Checked(name, _sorted(findings))


def check_target(store: Store, target: Target) -> Checked:
    """What preflight says of a target, and what is worth knowing besides."""
    findings: list[Finding] = []
    store = store_for(store, target)
    try:
        findings += retrying()(store.preflight, target)
    except SourceMissingError as fault:
        missing = _of(fault)
        if target.if_missing_skip:
            missing = replace(missing, severity=Severity.INFO, remedy="nothing to do")
        return Checked(target.name, (missing,))
    except StoreError as fault:
        findings.append(_of(fault))
    if not any(each.severity is Severity.ERROR for each in findings):
        findings += _found(lambda: _expiries(store, target))
    if target.canaries is not None and isinstance(store, PlantsCanaries):
        findings += _found(lambda: store.canaries(target).refusals())
    if isinstance(store, ChecksUp):
        # Which knows more about what preflight mentions in passing.
        more = _found(lambda: store.check_source(target))
        known = {each.code for each in more}
        findings = [each for each in findings if each.code not in known] + more
    return Checked(target.name, _sorted(findings))


def _expiries(store: Store, target: Target) -> list[Finding]:
    """What a pass would refuse or warn of when it counts; nothing where counting takes longer than PATIENCE."""
    try:
        census = store.census(target, store.clock() - target.grace, min(PATIENCE, target.census_timeout))
        refuse_the_impossible(target, census)
    except ImplausibleError as fault:
        return [Finding(Severity.ERROR, fault.problem, fault.remedy, fault.setting, code="implausible-expiry")]
    return list(implausible(census))


def looked_over(store: Store, target: Target, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """What both would say of a target whose preflight has `found` something, the worst first. Raises nothing."""
    if not isinstance(store, ChecksUp):
        return _sorted(found)
    more = [*_found(store.check_server), *_found(lambda: store.check_source(target))]
    known = {each.code for each in more}
    return _sorted([*(each for each in found if each.code not in known), *more])


def _found(look: Callable[[], Sequence[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except StoreError as fault:
        what = f"some of this could not be looked at: {fault.problem}"
        return [Finding(Severity.INFO, what, fault.remedy, fault.setting, code="unseen")]


def _clock(skew: float) -> Finding:
    if abs(skew) > LARGEST_SKEW.total_seconds():
        what = f"its clock and this machine's are {abs(skew):.0f} s apart: nothing is deleted over a minute"
        return Finding(Severity.ERROR, what, "set both by NTP", code="clock.apart")
    severity = Severity.WARNING if abs(skew) > NOTABLE_SKEW else Severity.INFO
    remedy = "set both by NTP" if severity is Severity.WARNING else ""
    return Finding(severity, f"its clock and this machine's are {abs(skew):.1f} s apart", remedy, code="clock")


def _of(fault: StoreError) -> Finding:
    return Finding(Severity.ERROR, fault.problem, fault.remedy, fault.setting, code="refused")


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda each: _WORST_FIRST.index(each.severity)))
