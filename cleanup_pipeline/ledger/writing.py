"""The statements that write. Each may be done twice and changes nothing the second time.

Every one of them makes the row of its pass where there is none, and says that the pass is alive.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.postgresql import insert as insert_postgres
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from cleanup_pipeline.ledger.connect import LONGEST_LINE, one_line
from cleanup_pipeline.ledger.daily import unseal
from cleanup_pipeline.ledger.tables import Instant, passes, shards, targets
from cleanup_pipeline.ledger.words import GREEN, LOST, RED, STATUSES
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Plan, Storage
from cleanup_pipeline.model.words import StopReason

Row = Mapping[str, Any]
Upsert = PostgresInsert | SqliteInsert
_COUNTED = ("deleted", "scanned", "live", "repaired", "children", "bytes_freed", "batches", "largest_batch", "retries")
_OF_TALLY = (*_COUNTED, "parked", "paused_seconds", "waited_seconds")


def now() -> datetime:
    """The host's clock."""
    return datetime.now(UTC)


def insert(dialect: str, table: Table) -> Upsert:
    """An insert that can be an upsert; both databases say it alike."""
    return insert_postgres(table) if dialect == "postgresql" else insert_sqlite(table)


def begin_pass(connection: Connection, row: Row) -> None:
    """What is known of a pass stays; of one that was only heard of, this is what it is."""
    statement = insert(connection.dialect.name, passes).values(row)
    new = statement.excluded
    changed = {
        name: case((passes.c.pass_name == "", new[name]), else_=passes.c[name])
        for name in row
        if name not in {"run_id", "started_at", "heartbeat_at"}
    }
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id"],
            set_=changed
            | {
                "started_at": case((new.started_at < passes.c.started_at, new.started_at), else_=passes.c.started_at),
                "heartbeat_at": _later(new.heartbeat_at, passes.c.heartbeat_at),
            },
        )
    )


def alive(connection: Connection, run_id: str, at: datetime) -> None:
    """The pass is there, and was heard of."""
    row = {"run_id": run_id, "pass_name": "", "dry_run": False, "started_at": at, "heartbeat_at": at}
    connection.execute(_alive(connection.dialect.name), row)


# What is written with each batch is put together once: that takes longer than to carry it out.
@cache
def _alive(dialect: str) -> Upsert:
    statement = insert(dialect, passes)
    later = _later(statement.excluded.heartbeat_at, passes.c.heartbeat_at)
    return statement.on_conflict_do_update(index_elements=["run_id"], set_={"heartbeat_at": later})


def _at(instant: datetime | None) -> BindParameter[Any]:
    return literal(instant, Instant())


def _later(new: Any, old: Any) -> Any:
    return case((new > old, new), else_=old)


def record_plan(connection: Connection, run_id: str, plan: Plan) -> None:
    """What a target was found to be like."""
    at, census = now(), plan.census
    known = census if census.exact else None
    row = {
        "store": plan.store,
        "store_type": str(plan.store_type),
        "kind": plan.kind,
        "strategy": None if plan.skipped else plan.work.strategy,
        "cutoff": plan.cutoff,
        "since": plan.since,
        "dry_run": plan.dry_run,
        "expired_found": known and known.expired,
        "oldest_expired": census.oldest_expired,
        "without_expiry": known and known.without_expiry,
        "unparsable": known and known.unparsable,
        "skipped": _line(plan.skipped),
        **_storage("before", plan.storage),
        "planned_at": at,
    }
    alive(connection, run_id, at)
    _upsert_target(connection, run_id, plan.target, row, first=("planned_at",), only_new={"survivors_known": False})


def record_target(connection: Connection, run_id: str, report: TargetReport) -> None:
    """What became of a target. What its plan said and the report does not know stays."""
    at = now()
    of_plan = {
        "strategy": report.strategy,
        "cutoff": report.cutoff,
        "expired_found": report.expired_found,
        "without_expiry": report.without_expiry,
        "unparsable": report.unparsable,
        **_storage("before", report.storage_before),
    }
    row = {
        "store": report.store,
        "store_type": str(report.store_type),
        "kind": report.kind,
        "survivors": report.survivors,
        "survivors_known": report.survivors is not None,
        "stop_reason": str(report.stop_reason),
        "error": _line(report.error),
        "seconds": report.seconds,
        "bytes_freed": report.bytes_freed,
        **_storage("after", report.storage_after),
        **{name: value for name, value in of_plan.items() if value is not None},
        "reported_at": at,
    }
    dry_run = report.stop_reason is StopReason.DRY_RUN
    alive(connection, run_id, at)
    unseal(connection, run_id)
    _upsert_target(connection, run_id, report.target, row, first=("reported_at",), only_new={"dry_run": dry_run})


def _upsert_target(
    connection: Connection, run_id: str, target: str, row: Row, *, first: Collection[str], only_new: Row
) -> None:
    """Of the columns in `first` the earliest value stays; those in `only_new` are for a row that was not there."""
    statement = insert(connection.dialect.name, targets).values({"run_id": run_id, "target": target, **row, **only_new})
    changed: dict[str, Any] = {name: statement.excluded[name] for name in row}
    changed |= {name: func.coalesce(targets.c[name], statement.excluded[name]) for name in first}
    connection.execute(statement.on_conflict_do_update(index_elements=["run_id", "target"], set_=changed))


def begin_shard(connection: Connection, run_id: str, plan: Plan, shard: int, at_most: int | None) -> None:
    """A shard begins to delete; one that is there already stays as it is, but for what it belongs to."""
    at = now()
    statement = insert(connection.dialect.name, shards).values(
        run_id=run_id,
        target=plan.target,
        shard=shard,
        store=plan.store,
        kind=plan.kind,
        started_at=at,
        deleted=0,
        at_most=at_most,
    )
    changed = {"store": statement.excluded.store, "kind": statement.excluded.kind}
    alive(connection, run_id, at)
    connection.execute(statement.on_conflict_do_update(index_elements=_KEYS, set_=changed))


def progress(connection: Connection, run_id: str, target: str, shard: int, tally: Tally, at_most: int | None) -> None:
    """How far a shard is. Too late for one that has said how it ended."""
    at = now()
    alive(connection, run_id, at)
    row = {**_key(run_id, target, shard), "started_at": at, **_tallied(tally), "at_most": at_most}
    connection.execute(_upsert_shard(connection.dialect.name, (*_OF_TALLY, "at_most"), final=False), row)


def record_shard(connection: Connection, run_id: str, outcome: ShardOutcome) -> None:
    """How a shard ended; that it was taken for lost is forgotten."""
    at, tally = now(), outcome.tally
    row = {
        **_tallied(tally),
        "at_most": tally.deleted + tally.uncertain,
        "stop_reason": str(outcome.stop_reason),
        "seconds": outcome.seconds,
        "cpu_seconds": outcome.cpu_seconds,
        "error": _line(outcome.error),
        "note": _line(outcome.note),
        "slowed": dict(tally.slowed),
        "latency_ms": list(tally.latency_ms),
    }
    alive(connection, run_id, at)
    unseal(connection, run_id)
    statement = _upsert_shard(connection.dialect.name, tuple(row), final=True)
    connection.execute(
        statement, {**_key(run_id, outcome.target, outcome.shard), "started_at": at, "ended_at": at, **row}
    )


_KEYS = ["run_id", "target", "shard"]


@cache
def _upsert_shard(dialect: str, names: tuple[str, ...], *, final: bool) -> Upsert:
    """Where nothing said that the shard began, its target says what it belongs to."""
    statement = insert(dialect, shards).values(store=_of_target("store"), kind=_of_target("kind"))
    new = statement.excluded
    changed: dict[str, Any] = {name: new[name] for name in names}
    lost = shards.c.stop_reason == LOST
    if final:
        changed["ended_at"] = case((lost, new.ended_at), else_=func.coalesce(shards.c.ended_at, new.ended_at))
    where = None if final else or_(shards.c.ended_at.is_(None), lost)
    return statement.on_conflict_do_update(index_elements=_KEYS, set_=changed, where=where)


def _of_target(name: str) -> ColumnElement[str]:
    of = select(targets.c[name]).where(
        targets.c.run_id == bindparam("of_run", type_=Text()), targets.c.target == bindparam("of_target", type_=Text())
    )
    return func.coalesce(of.scalar_subquery(), "")


def close_pass(connection: Connection, run_id: str, status: str, ended_at: datetime | None, reason: str | None) -> None:
    """The first word counts; but `lost` gives way to what is known better, and green to red.

    Raises ValueError for a status that is none.
    """
    if status not in STATUSES:
        raise ValueError(f"status {status!r} is none of {', '.join(sorted(STATUSES))}")
    at = now()
    alive(connection, run_id, at)
    unseal(connection, run_id)
    open_to_it: list[ColumnElement[bool]] = [passes.c.status.is_(None)]
    if status != LOST:
        open_to_it.append(passes.c.status == LOST)
    if status in RED - {LOST}:
        open_to_it.append(passes.c.status.in_(sorted(GREEN)))
    connection.execute(
        update(passes)
        .where(passes.c.run_id == run_id, or_(*open_to_it))
        .values(
            status=status,
            ended_at=func.coalesce(_at(ended_at), passes.c.ended_at, _at(at)),
            reason=func.coalesce(literal(_line(reason), Text()), passes.c.reason),
        )
    )
    _lose_shards(connection, run_id, ended_at or at)


def _lose_shards(connection: Connection, run_id: str, at: datetime) -> None:
    connection.execute(
        update(shards)
        .where(shards.c.run_id == run_id, shards.c.ended_at.is_(None))
        .values(stop_reason=LOST, ended_at=at)
    )


def _key(run_id: str, target: str, shard: int) -> dict[str, Any]:
    return {"run_id": run_id, "target": target, "shard": shard, "of_run": run_id, "of_target": target}


def _tallied(tally: Tally) -> dict[str, Any]:
    return {name: getattr(tally, name) for name in _OF_TALLY}


def _storage(when: str, storage: Storage | None) -> dict[str, int | None]:
    return {
        f"bytes_{when}": None if storage is None else storage.size_bytes,
        f"records_{when}": None if storage is None else storage.records,
        f"dead_records_{when}": None if storage is None else storage.dead_records,
    }


def _line(words: str | None) -> str | None:
    return None if words is None else one_line(words)[:LONGEST_LINE]
