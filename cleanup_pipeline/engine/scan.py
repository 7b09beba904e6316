"""Looking before deleting: one store, one target, one plan. Nothing here changes a store."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

from cleanup_pipeline.engine.governor import closed_for
from cleanup_pipeline.engine.looks import newest_of, shape_of
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.engine.upkeep import storage_of
from cleanup_pipeline.model.lease import Holder
from cleanup_pipeline.model.plan import Census, Finding, Plan, Work
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.window import Window
from cleanup_pipeline.model.words import AFTER_2100, TOO_LARGE, Mode, Severity
from cleanup_pipeline.stores.base import ImplausibleError, Leases, SourceMissingError, Store, StoreError
from cleanup_pipeline.stores.open import store_for

LARGEST_SKEW = timedelta(minutes=1)
"""Host and store clocks further apart than this mean that one of them cannot be trusted with a cutoff."""

ONLY_REPORTS = "its layout only reports: nothing is ever deleted"
NOT_APPROVED = "not approved (mode: dry_run): passes look, and delete nothing"


def _host_clock() -> datetime:
    return datetime.now(UTC)


def scan(
    store: Store,
    target: Target,
    *,
    dry_run: bool,
    window: Window | None = None,
    host_clock: Callable[[], datetime] = _host_clock,
) -> Plan:
    """What a pass is going to do to one target.

    The cutoff is the store's own clock now, or the end of `window` where that is earlier, less grace. Raises StoreError
    when the target may not or cannot be cleaned, or the window has not begun by the store's clock; a source that need
    not exist and does not gives a plan with `skipped` set. Faults that may pass are tried again.
    """
    return retrying()(_scan, store_for(store, target), target, dry_run, window, host_clock)


def _scan(
    store: Store, target: Target, dry_run: bool, window: Window | None, host_clock: Callable[[], datetime]
) -> Plan:
    began = monotonic()
    closed = closed_for(target.pace, host_clock(), target.operation_timeout)
    if closed is not None and not (dry_run or target.mode is Mode.DRY_RUN):
        return switched_off(target, closed)
    dry = dry_run or target.mode is Mode.DRY_RUN
    beside = [] if dry else _in_the_way(store, target, window)
    if beside:
        if window is None or not all(each.window for each in beside):
            return switched_off(target, str(beside[0]))
        window = replace(window, open_below=False, shares=True)
    now = _agreed_clock(store, target, host_clock)
    cutoff = now - target.grace
    if window is not None:
        _refuse_the_future(window, now, target)
        cutoff = window.cutoff(now, target.grace)
        target = replace(target, since=window.since(target.grace))
    try:
        findings = tuple(store.preflight(target))
    except SourceMissingError as fault:
        if not target.if_missing_skip:
            raise
        return _plan(target, cutoff, dry, Census(), Work("none", fault.problem, ()), began, skipped=fault.problem)
    forbidding = [f for f in findings if f.severity is Severity.ERROR]
    if forbidding:
        raise StoreError(
            forbidding[0].what, setting=f"targets.{target.name}", remedy=forbidding[0].remedy or "see the findings"
        )
    census = store.census(target, cutoff, target.census_timeout)
    refuse_the_impossible(target, census)
    work = store.plan(target, cutoff, census)
    findings += (*implausible(census), *_too_large(census), *_approval(target))
    if beside:
        what = f"keeps to its own window, as a backfill goes on ({beside[0]})"
        findings += (
            Finding(Severity.INFO, what, "what is older is the backfill's, or the next pass's", code="beside-backfill"),
        )
    storage = storage_of(store, target)
    plan = _plan(target, cutoff, dry, census, work, began, skipped=None if work.shards else work.why)
    newest, shape = newest_of(store, target), shape_of(store, target)
    return replace(plan, findings=findings, storage=storage, newest=newest, shape=shape)


def _in_the_way(store: Store, target: Target, window: Window | None) -> list[Holder]:
    """Who cleans the target at present and does not share it with this run.

    Runs that keep to windows of their own may share it; whether they do is seen when the lease is asked for.
    """
    if not isinstance(store, Leases) or store.config.lease is None:
        return []
    shares = window is not None and window.shares
    return [each for each in store.holders(target) if not (shares and each.window)]


def _agreed_clock(store: Store, target: Target, host_clock: Callable[[], datetime]) -> datetime:
    before = host_clock()
    now = store.clock()
    after = host_clock()
    skew = max(before - now, now - after)
    if skew > LARGEST_SKEW:
        raise StoreError(
            f"the store's clock says {now:%Y-%m-%d %H:%M:%S} UTC and this machine's {after:%Y-%m-%d %H:%M:%S} UTC",
            setting=f"stores.{target.store}",
            remedy="set both by NTP; nothing is deleted while they disagree by more than a minute",
        )
    return now


def _refuse_the_future(window: Window, now: datetime, target: Target) -> None:
    if window.start < now:
        return
    raise StoreError(
        f"the window begins at {window.start:%Y-%m-%d %H:%M %Z}, which is still to come by the store's clock"
        f" ({now:%Y-%m-%d %H:%M:%S} UTC)",
        setting=f"targets.{target.name}",
        remedy="run it when it has ended",
    )


def switched_off(target: Target, why: str = "cleanup is switched off (enabled: false)") -> Plan:
    """The plan of a target whose pass may do nothing at present. No store is asked."""
    return _plan(target, _host_clock(), True, Census(), Work("none", why, ()), monotonic(), skipped=why)


def implausible(census: Census) -> tuple[Finding, ...]:
    """A warning where most expiries cannot be right."""
    readable = (census.live or 0) + (census.expired or 0)
    if not census.unparsable or census.unparsable <= readable:
        return ()
    what = f"{census.unparsable} records have an expiry that cannot be read or be right, and {readable} one that can"
    return (
        Finding(
            Severity.WARNING, what, "check `expires`, above all its unit; such records are left", code="unparsable"
        ),
    )


def _too_large(census: Census) -> tuple[Finding, ...]:
    count = census.details.get(TOO_LARGE, 0)
    if not count:
        return ()
    what = f"{count} values are too large to be read (over 1 MiB, or 4 KiB where a number belongs), and are left"
    return (Finding(Severity.WARNING, what, "look at them by hand: redis-cli --bigkeys, --memkeys", code="too-large"),)


def _approval(target: Target) -> tuple[Finding, ...]:
    if target.mode is Mode.DELETE:
        return ()
    if target.report_only is not None:
        return (Finding(Severity.INFO, ONLY_REPORTS, target.report_only, code="only-reports"),)
    remedy = f"read this plan, then set targets.{target.name}.mode: delete"
    return (Finding(Severity.INFO, NOT_APPROVED, remedy, code="not-approved"),)


def refuse_the_impossible(target: Target, census: Census) -> None:
    """Raises ImplausibleError where all readable expiries lie after 2100: milliseconds were taken for seconds.

    PostgreSQL sees to it itself.
    What is taken the other way lies before 2001, where nothing is removed.
    """
    late = census.details.get(AFTER_2100, 0)
    readable = (census.live or 0) + (census.expired or 0)
    if not census.exact or target.since is not None or not late or late < readable:
        return
    raise ImplausibleError(
        f"all {late} records that have an expiry have one after 2100",
        setting=f"targets.{target.name}.expires",
        remedy="correct the field or its `unit`; nothing would ever be removed",
    )


def _plan(
    target: Target, cutoff: datetime, dry: bool, census: Census, work: Work, began: float, skipped: str | None = None
) -> Plan:
    return Plan(
        target=target.name,
        store=target.store,
        store_type=target.store_type,
        kind=target.kind,
        cutoff=cutoff,
        dry_run=dry,
        census=census,
        work=work,
        seconds=monotonic() - began,
        rule=target.fingerprint,
        skipped=skipped,
        since=target.since,
        judged_by_others=target.judged_by_others,
    )
