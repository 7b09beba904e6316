"""Plans on record: made by somebody, to be applied once, or by a pass, which is its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from secrets import token_bytes, token_hex
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from cleanup_pipeline.engine.applying import Planned
from cleanup_pipeline.engine.cover import Cover
from cleanup_pipeline.engine.estimate import Measured
from cleanup_pipeline.ledger.connect import Place
from cleanup_pipeline.ledger.plan_tables import keys, planned, plans
from cleanup_pipeline.ledger.tables import shards
from cleanup_pipeline.ledger.writing import insert
from cleanup_pipeline.model.plan import Plan

KEPT = timedelta(days=30)
"""How long a plan stays, where history is not kept for less."""
VALID_FOR = timedelta(hours=24)
LONGEST_RUN = timedelta(hours=24)
"""After which what an applied plan covered goes; a run that still needs it ends red."""
MEASURED_PASSES = 5
_KEY = "plans"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class ToKeep:
    """One target of a plan, for the ledger to keep."""

    plan: Plan
    pass_name: str
    facets: Mapping[str, str]
    body: Mapping[str, Any]
    """The plan as JSON-like data."""
    key: str = ""
    cover: Cover | None = None


@dataclass(frozen=True, slots=True)
class PlanTarget:
    """One target of a plan, as it is kept."""

    target: str
    pass_name: str
    store: str
    kind: str
    cutoff: datetime
    expired: int | None
    skipped: str | None
    undated: bool
    """Its records die with others, so that no plan can say which go: it is looked at and not applied."""
    applied_at: datetime | None
    applied_run: str | None
    drift: Mapping[str, Any] | None
    body: Mapping[str, Any] = field(repr=False)

    @property
    def may_apply(self) -> bool:
        """Whether the plan covers anything of it, applied or not."""
        return self.skipped is None and not self.undated


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan as the ledger has it."""

    id: str
    made_at: datetime
    expires_at: datetime
    made_by: str
    """user@host; empty: a pass made it."""
    run_id: str | None
    """The pass that is its own plan."""
    targets: tuple[PlanTarget, ...]

    def state(self, now: datetime) -> str:
        """In one or two words."""
        if self.run_id is not None:
            return "a pass"
        there = [each for each in self.targets if each.may_apply]
        done = [each for each in there if each.applied_at is not None]
        if there and len(done) == len(there):
            return "applied"
        if now >= self.expires_at:
            return "void"
        return "applied in part" if done else "open"


def new_id() -> str:
    """For a plan that somebody asks for."""
    return token_hex(5)


def id_of_run(run_id: str) -> str:
    """The id of the plan that a pass is: its run's, shortened, the same in each of its steps."""
    return run_id.replace("-", "")[:10]


@dataclass(frozen=True, slots=True)
class Plans:
    """Questions to a ledger and writes. Each method is one transaction and raises LedgerError."""

    place: Place

    def keep(
        self,
        plan_id: str,
        several: Sequence[ToKeep],
        *,
        now: datetime,
        valid_for: timedelta = VALID_FOR,
        made_by: str = "",
        run_id: str | None = None,
    ) -> None:
        """Write a plan down, or more targets of it. The same again replaces it, unless it was applied."""
        with self.place.writing() as connection:
            dialect = connection.dialect.name
            row = {"id": plan_id, "made_at": now, "expires_at": now + valid_for, "made_by": made_by, "run_id": run_id}
            connection.execute(insert(dialect, plans).values(row).on_conflict_do_nothing(index_elements=["id"]))
            for each in several:
                values = _row(plan_id, each, now)
                statement = insert(dialect, planned).values(values)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["plan_id", "target"], set_=values, where=planned.c.applied_at.is_(None)
                    )
                )
            _forget_covers(connection, now)

    def find(self, plan_id: str) -> PlanRow | None:
        """A plan by its id, or by the first letters of it where they are those of no other. None: there is none."""
        with self.place.reading() as connection:
            chosen = select(plans).where(plans.c.id.startswith(plan_id, autoescape=True)).limit(2)
            rows = connection.execute(chosen).mappings().all()
            exact = [row for row in rows if row["id"] == plan_id] or rows
            return _read(connection, exact[0]) if len(exact) == 1 else None

    def newest(self, limit: int, *, by_hand: bool = False) -> Sequence[PlanRow]:
        """The newest first. `by_hand`: without those of passes."""
        chosen = select(plans).order_by(plans.c.made_at.desc()).limit(limit)
        if by_hand:
            chosen = chosen.where(plans.c.run_id.is_(None))
        with self.place.reading() as connection:
            return [_read(connection, row) for row in connection.execute(chosen).mappings().all()]

    def planned(self, plan_id: str, target: str) -> Planned | None:
        """One target of a plan with what it covers; None: the plan is none, or not about it."""
        on = plans.c.id == planned.c.plan_id
        chosen = select(planned, plans.c.expires_at).join(plans, on)
        with self.place.reading() as connection:
            row = (
                connection.execute(chosen.where(planned.c.plan_id == plan_id, planned.c.target == target))
                .mappings()
                .one_or_none()
            )
        if row is None or row["skipped"] is not None:
            return None
        cover = None if row["cover"] is None else Cover(bytes(row["cover"]), row["covered"])
        return Planned(
            plan=plan_id,
            target=target,
            made_at=row["made_at"],
            until=row["expires_at"],
            cutoff=row["cutoff"],
            facets=dict(row["facets"]),
            expired=row["expired"],
            undated=bool(row["undated"]),
            key=row["key_id"],
            cover=cover,
            covered=row["covered"],
        )

    def applied_by(self, plan_id: str, target: str) -> str | None:
        """The run that a target of a plan was applied in; None: it was not."""
        chosen = select(planned.c.applied_run).where(planned.c.plan_id == plan_id, planned.c.target == target)
        with self.place.reading() as connection:
            return connection.execute(chosen).scalar_one_or_none()

    def claim(self, plan_id: str, target: str, run_id: str, drift: Mapping[str, Any], now: datetime) -> str:
        """Use a target of a plan up: the run that has it from now on, which is another one when that came first."""
        mine = and_(planned.c.plan_id == plan_id, planned.c.target == target)
        with self.place.writing() as connection:
            free = planned.c.applied_run.is_(None)
            values = {"applied_at": now, "applied_run": run_id, "drift": dict(drift)}
            connection.execute(update(planned).where(mine, free).values(values))
            return str(connection.execute(select(planned.c.applied_run).where(mine)).scalar_one())

    def of_runs(self, run_ids: Sequence[str]) -> dict[str, str]:
        """The plan that each run was, or that it applied."""
        found: dict[str, str] = {}
        with self.place.reading() as connection:
            own = select(plans.c.run_id, plans.c.id).where(plans.c.run_id.in_(run_ids))
            applied = select(planned.c.applied_run, planned.c.plan_id).where(planned.c.applied_run.in_(run_ids))
            for statement in (own, applied):
                found |= {str(run_id): str(plan_id) for run_id, plan_id in connection.execute(statement)}
        return found

    def key(self, now: datetime) -> bytes:
        """The ledger's own key for hashes, made at the first use. For those who set none."""
        chosen = select(keys.c.value).where(keys.c.name == _KEY)
        with self.place.reading() as connection:
            found = connection.execute(chosen).scalar_one_or_none()
        if found is not None:
            return bytes(found)
        with self.place.writing() as connection:
            row = {"name": _KEY, "value": token_bytes(_KEY_BYTES), "made_at": now}
            statement = insert(connection.dialect.name, keys).values(row)
            connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
            return bytes(connection.execute(chosen).scalar_one())

    def measured(self, target: str) -> Measured | None:
        """What the last passes that removed something from a target took; None: there is none."""
        worked = (shards.c.target == target, shards.c.ended_at.is_not(None), shards.c.deleted > 0)
        last = (
            select(shards.c.run_id)
            .where(*worked)
            .group_by(shards.c.run_id)
            .order_by(func.max(shards.c.ended_at).desc())
            .limit(MEASURED_PASSES)
        )
        sums = select(
            func.count(shards.c.run_id.distinct()),
            func.sum(shards.c.deleted),
            func.sum(shards.c.batches),
            func.sum(shards.c.seconds),
            func.sum(shards.c.paused_seconds + shards.c.waited_seconds),
        ).where(*worked, shards.c.run_id.in_(last))
        with self.place.reading() as connection:
            passes, deleted, batches, seconds, idle = connection.execute(sums).one()
        return Measured(passes, int(deleted), int(batches), float(seconds), float(idle)) if passes else None


def _row(plan_id: str, each: ToKeep, now: datetime) -> dict[str, Any]:
    plan = each.plan
    return {
        "plan_id": plan_id,
        "target": plan.target,
        "made_at": now,
        "pass_name": each.pass_name,
        "store": plan.store,
        "kind": plan.kind,
        "cutoff": plan.cutoff,
        "expired": plan.census.expired if plan.census.exact else None,
        "skipped": plan.skipped,
        "undated": plan.work.undated,
        "facets": dict(each.facets),
        "body": dict(each.body),
        "key_id": each.key,
        "cover": None if each.cover is None else each.cover.packed,
        "covered": None if each.cover is None else each.cover.records,
    }


def _read(connection: Connection, row: Any) -> PlanRow:
    columns = ("target", "pass_name", "store", "kind", "cutoff", "expired", "skipped", "undated")
    wanted = [planned.c[name] for name in (*columns, "applied_at", "applied_run", "drift", "body")]
    chosen = select(*wanted).where(planned.c.plan_id == row["id"]).order_by(planned.c.target)
    targets = tuple(PlanTarget(*each) for each in connection.execute(chosen).all())
    return PlanRow(row["id"], row["made_at"], row["expires_at"], row["made_by"], row["run_id"], targets)


def _forget_covers(connection: Connection, now: datetime) -> None:
    """What only `apply` needs goes when nobody can apply it any more."""
    void = and_(
        planned.c.applied_at.is_(None), planned.c.plan_id.in_(select(plans.c.id).where(plans.c.expires_at < now))
    )
    # A run that applies one looks at it again in each shard, and at the end. `covered` stays: what is not known any
    # more is not taken for what never was.
    done = planned.c.applied_at < now - LONGEST_RUN
    over = and_(planned.c.cover.is_not(None), or_(void, done))
    connection.execute(update(planned).where(over).values(cover=None))
