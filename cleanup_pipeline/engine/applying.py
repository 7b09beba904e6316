"""Carrying out an earlier plan: the target has to be what it was, the cutoff stays what it was, and what became of the
records in between is told."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cleanup_pipeline.engine.cover import Cover, Follower, hash_of, key_id
from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.engine.scan import scan, switched_off
from cleanup_pipeline.model.outline import Approval, Drift, State
from cleanup_pipeline.model.plan import Finding, Plan
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.window import Window
from cleanup_pipeline.model.words import Mode, Severity
from cleanup_pipeline.stores.base import BatchTimeoutError, HasMembers, NamesRecords, Store, StoreError
from cleanup_pipeline.stores.open import store_for

MOST_SPARED = 1000
"""Records that came after a plan, with an expiry before its cutoff, and are told one by one to be left. With more of
them the plan is of another table."""
UNDATED = "its records die with others, at no instant of their own, so that no plan can say which go"
NEW_PLAN = "make a new plan"
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Planned:
    """One target of a plan, as it was kept."""

    plan: str
    target: str
    made_at: datetime
    until: datetime
    cutoff: datetime
    facets: Mapping[str, str]
    expired: int | None
    """None: nobody counted all of them."""
    undated: bool
    key: str
    """`cover.key_id` of the key that its hashes were made with."""
    cover: Cover | None
    covered: int | None = None
    """How many records it covers one by one, or in a sample. With None as `cover`: which, is not kept any more."""

    @property
    def names_records(self) -> bool:
        """Whether it is about records that it knows one by one, so that none other may go under it."""
        return self.cover is not None or self.covered is not None


def facets_of(target: Target, store: Store) -> dict[str, str]:
    """What decides which records a target is about, by the names of its settings; fingerprints, no values.

    When one of them changes, what was planned is not what would go.
    """
    parts: dict[str, object] = {
        "store": (target.store, store.config.type, store.config.where),
        "source": target.source,
        "expires": target.expiry,
        "where": sorted(target.where.items()),
        "guards": target.guards,
        "grace": target.grace,
        "set_null": target.set_null,
        "unset": target.unset,
        "detach": target.detach,
        "children": (target.children_first, target.cascade),
    }
    if target.members is not None:
        # Nobody has read of those that came since.
        fleet = store_for(store, target)
        parts["members"] = (target.members, tuple(fleet.members(target)) if isinstance(fleet, HasMembers) else ())
    return {name: sha256(repr(part).encode()).hexdigest()[:16] for name, part in parts.items()}


def scan_planned(
    store: Store, target: Target, planned: Planned, key: bytes, *, dry_run: bool, now: datetime | None = None
) -> Plan:
    """The plan of a pass that carries out `planned` and nothing else, with the drift in it.

    Asking for it is the user's word for this one pass, whatever the target's mode is. Raises StoreError where the plan
    is void, or cannot be carried out, and says why.
    """
    if target.report_only is not None:
        return switched_off(target, f"its layout only reports: {target.report_only}")
    _refuse_void(planned, target, store, now or datetime.now(UTC))
    # A window that ends at the plan's cutoff and is open below: all that was planned, and nothing later.
    end = planned.cutoff + target.grace
    window = Window(end - _INSTANT, end, open_below=True, shares=False)
    plan = scan(store, replace(target, mode=Mode.DELETE), dry_run=dry_run, window=window)
    if plan.skipped is not None:
        return plan
    if plan.since is not None:
        return switched_off(target, "a backfill of it goes on, and a plan is about the whole target")
    if plan.cutoff > planned.cutoff:
        raise _fault(planned, "its cutoff is not the one that was planned", NEW_PLAN)
    drift = follow_up(store, target, planned, plan, key)
    if not dry_run and planned.names_records and drift.arrived is None:
        # The cutoff alone would take what came later with an expiry before it.
        why = drift.notes[0] if drift.notes else "its records cannot be told"
        raise _fault(planned, why, NEW_PLAN)
    if drift.arrived is not None and drift.arrived > MOST_SPARED:
        what = f"{drift.arrived:,} records came after it with an expiry before its cutoff"
        raise _fault(planned, what, NEW_PLAN)
    if drift.arrived and target.drop_partitions:
        # A partition goes with all that is in it.
        plan = replace(plan, work=store.plan(replace(target, drop_partitions=False), plan.cutoff, plan.census))
    what = f"approved for this pass by plan {planned.plan}" + (" (its mode is dry_run)" * (target.mode is Mode.DRY_RUN))
    findings = (*plan.findings, Finding(Severity.INFO, what, code="applied"), *_told(drift))
    return replace(plan, findings=findings, approval=Approval(planned.plan, planned.until, drift))


def follow_up(store: Store, target: Target, planned: Planned, plan: Plan, key: bytes) -> Drift:
    """What became of what was planned, and what came besides. Reads only; what cannot be told is None, with a note."""
    notes: list[str] = []
    store = store_for(store, target)
    due = _due_since(store, target, planned)
    follower = _follower(store, target, planned, key, notes)
    expired_now = plan.census.expired if plan.census.exact else None
    if follower is None:
        return Drift(planned.expired, expired_now, None, None, None, None if due is None else due, False, tuple(notes))
    there, gone, revived, arrived = follower.counts()
    new = None if due is None else due + arrived
    whole = planned.cover is not None and planned.cover.whole
    records = planned.expired if planned.cover is None else planned.cover.records
    return Drift(records, there, gone, revived, arrived, new, not whole, tuple(notes))


def sparing(store: Store, target: Target, planned: Planned, key: bytes) -> Target:
    """The target, less the records that the plan does not cover though they are past its cutoff.

    Raises StoreError where they cannot be found out any more, or are too many.
    """
    if not planned.names_records:
        return target
    notes: list[str] = []
    spared: set[str] = set()
    if _follower(store, target, planned, key, notes, spared) is None:
        raise _fault(planned, notes[0], NEW_PLAN)
    if len(spared) > MOST_SPARED:
        raise _fault(planned, f"{len(spared):,} records came after it", NEW_PLAN)
    return replace(target, spared=tuple(sorted(spared)))


def _follower(
    store: Store,
    target: Target,
    planned: Planned,
    key: bytes,
    notes: list[str],
    strangers: set[str] | None = None,
) -> Follower | None:
    """Who has met every record as it is now; None, and a note that says why, where that cannot be.

    `strangers` takes the names of those that are expired and not covered, up to one more than MOST_SPARED.
    """
    if planned.cover is None and planned.covered is not None:
        notes.append("which records it covers is not kept any more")
        return None
    if planned.cover is None:
        notes.append("which records it covered was not kept one by one: see the plan's notes")
        return None
    if planned.key != key_id(key):
        notes.append("its hashes were made with another key (CLEANUP_PLAN_KEY): no record can be known again")
        return None
    if not isinstance(store, NamesRecords):
        notes.append("this store does not name its records")
        return None
    follower = Follower(planned.cover)
    try:
        with closing(store.sightings(target, planned.cutoff, _patience(target))) as sightings:
            for each in sightings:
                stranger = follower.meet(hash_of(key, each.id), expired=each.state is State.EXPIRED)
                if stranger and strangers is not None and len(strangers) <= MOST_SPARED:
                    strangers.add(each.id)
    except BatchTimeoutError:
        notes.append("too many records to look at each again in time: see census_timeout")
        return None
    except StoreError as fault:
        notes.append(fault.problem)
        return None
    return follower


def _due_since(store: Store, target: Target, planned: Planned) -> int | None:
    """How many died between the plan's cutoff and what is the cutoff by now."""
    try:
        now = retrying()(store.clock) - target.grace
        if now <= planned.cutoff:
            return 0
        return store.survivors(replace(target, since=planned.cutoff), now, target.census_timeout)
    except StoreError:
        return None


def _patience(target: Target) -> timedelta:
    # Somebody waits for the answer, and asked for exactly this.
    return max(target.census_timeout, timedelta(seconds=10))


def _refuse_void(planned: Planned, target: Target, store: Store, now: datetime) -> None:
    if now >= planned.until:
        raise _fault(planned, f"it was good until {planned.until:%Y-%m-%d %H:%M} UTC", NEW_PLAN)
    facets = facets_of(target, store)
    names = sorted({*facets, *planned.facets})
    changed = [name for name in names if facets.get(name) != planned.facets.get(name)]
    if changed:
        what = f"{', '.join(changed)} changed since it was made"
        raise _fault(planned, what, NEW_PLAN)
    if planned.undated:
        raise _fault(planned, UNDATED, f"run the pass {target.pass_name}, which judges each as it goes")


def _fault(planned: Planned, problem: str, remedy: str) -> StoreError:
    return StoreError(
        f"plan {planned.plan} is not applied: {problem}", setting=f"targets.{planned.target}", remedy=remedy
    )


def _told(drift: Drift) -> list[Finding]:
    found = [Finding(Severity.INFO, f"drift: {note}", code="drift") for note in drift.notes]
    if drift.arrived:
        records = "1 record" if drift.arrived == 1 else f"{drift.arrived:,} records"
        what = f"{records} came after the plan with an expiry before its cutoff, and stay"
        found.append(
            Finding(Severity.WARNING, what, "see who writes records that are expired already", code="drift.arrived")
        )
    return found
