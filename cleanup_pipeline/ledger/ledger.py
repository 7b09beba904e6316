"""Writing and reading the ledger. Every write may be done twice and changes nothing the second time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, inspect, select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_postgres
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from cleanup_pipeline.ledger.tables import metadata, passes, shards, targets
from cleanup_pipeline.model.outcome import ShardOutcome, Tally, TargetReport
from cleanup_pipeline.model.plan import Plan

SETTING = "CLEANUP_LEDGER_URL"
LOST = "lost"
"""Stop reason of a shard whose process was gone before it could say how it ended."""
_LOCK = 7_215_604_331
"""Advisory lock of PostgreSQL, held while tables are made."""


class LedgerError(Exception):
    """One line: what is wrong with the ledger and what to do. Never holds a password."""


@dataclass(frozen=True, slots=True)
class PassRow:
    """A pass as the ledger has it."""

    run_id: str
    pass_name: str
    window: str | None
    host: str
    dry_run: bool
    started_at: datetime
    ended_at: datetime | None
    status: str | None
    """None while it runs."""
    reason: str | None
    deleted: int
    at_most: int | None
    """The most that it can have deleted; None: nobody knows."""
    survivors: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What shards removed, together."""

    deleted: int
    at_most: int | None
    """As far as known: more than `deleted` by what killed shards may have done in their last batch."""


def open_ledger(url: str) -> "Ledger":
    """The ledger at a URL, sqlite:///FILE or postgresql://...; its tables are made at the first use.

    Raises LedgerError.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise LedgerError(
            f"{SETTING}: this is no URL; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    kind = parsed.get_backend_name()
    if kind not in {"sqlite", "postgresql"}:
        raise LedgerError(f"{SETTING}: found {kind}, expected sqlite or postgresql")
    shown = parsed.render_as_string(hide_password=True)
    try:
        if kind == "sqlite":
            engine = _sqlite(Path(parsed.database or ""), url)
        else:
            options = {"connect_timeout": 5, "application_name": "cleanup-pipeline-ledger"}
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                connect_args={**options, "options": "-c statement_timeout=5s -c lock_timeout=5s"},
                pool_size=1,
                max_overflow=1,
                pool_pre_ping=True,
            )
        _make_tables(engine)
    except (SQLAlchemyError, OSError) as fault:
        raise LedgerError(
            f"{SETTING}: the ledger at {shown} cannot be used ({_line(fault, parsed.password)}); "
            "correct the URL, or make the place writable"
        ) from None
    return Ledger(engine)


def _sqlite(file: Path, url: str) -> Engine:
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 5}, poolclass=NullPool if str(file) == "" else None)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # WAL with this setting loses the last writes when the power goes, and none when a process is killed.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _make_tables(engine: Engine) -> None:
    if inspect(engine).has_table(shards.name):
        return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        else:
            connection.execute(text("BEGIN IMMEDIATE")) if not connection.in_transaction() else None
        metadata.create_all(connection)


def _line(fault: Exception, password: str | None) -> str:
    line = " ".join(str(getattr(fault, "orig", None) or fault).split())[:200]
    return line.replace(password, "***") if password else line


class Ledger:
    """An open ledger. Methods raise SQLAlchemyError; `Recorder` is for whoever may not fail for it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def begin_pass(
        self,
        run_id: str,
        pass_name: str,
        *,
        dry_run: bool = False,
        window: str | None = None,
        parent_run_id: str | None = None,
        host: str = "",
    ) -> None:
        """A pass is under way; whichever step comes first says so."""
        row = {
            "run_id": run_id,
            "pass_name": pass_name,
            "window": window,
            "parent_run_id": parent_run_id,
            "host": host,
            "dry_run": dry_run,
            "started_at": _now(),
        }
        with self._writing() as connection:
            _insert(connection, passes, row, replace=False)

    def record_plan(self, run_id: str, plan: Plan) -> None:
        """What a target was found to be like."""
        known = plan.census if plan.census.exact else None
        row = {
            **_target(plan.store, plan.store_type, plan.kind),
            "run_id": run_id,
            "target": plan.target,
            "strategy": None if plan.skipped else plan.work.strategy,
            "cutoff": plan.cutoff,
            "expired_found": known and known.expired,
            "oldest_expired": plan.census.oldest_expired,
            "without_expiry": known and known.without_expiry,
            "unparsable": known and known.unparsable,
            "planned_at": _now(),
        }
        with self._writing() as connection:
            _insert(connection, targets, row)

    def begin_shard(self, run_id: str, plan: Plan, shard: int, *, at_most: int | None) -> None:
        """A shard begins to delete. `at_most` None: nobody can say what its first batch will remove."""
        row = {
            **_shard(run_id, plan.target, shard),
            "store": plan.store,
            "kind": plan.kind,
            "started_at": _now(),
            "deleted": 0,
            "at_most": at_most,
        }
        with self._writing() as connection:
            _insert(connection, shards, row, replace=False)

    def progress(self, run_id: str, target: str, shard: int, tally: Tally, at_most: int | None) -> None:
        """How far a shard is, before it goes on to what makes it `at_most`."""
        values = {**_counts(tally), "at_most": at_most}
        with self._writing() as connection:
            connection.execute(update(shards).where(*_is(run_id, target, shard)).values(values))

    def record_shard(self, run_id: str, outcome: ShardOutcome) -> None:
        """How a shard that was begun ended."""
        values = {
            **_counts(outcome.tally),
            "at_most": outcome.tally.deleted + outcome.tally.uncertain,
            "ended_at": _now(),
            "stop_reason": str(outcome.stop_reason),
            "seconds": outcome.seconds,
            "error": outcome.error or outcome.note,
            "latency_ms": list(outcome.tally.latency_ms),
            "slowed": dict(outcome.tally.slowed),
        }
        with self._writing() as connection:
            connection.execute(update(shards).where(*_is(run_id, outcome.target, outcome.shard)).values(values))

    def record_target(self, run_id: str, report: TargetReport) -> None:
        """What became of a target."""
        row = {
            **_target(report.store, report.store_type, report.kind),
            "run_id": run_id,
            "target": report.target,
            "strategy": report.strategy,
            "cutoff": report.cutoff,
            "survivors": report.survivors,
            "stop_reason": str(report.stop_reason),
            "seconds": report.seconds,
            "error": report.error,
            "reported_at": _now(),
        }
        with self._writing() as connection:
            _insert(connection, targets, row)

    def close_pass(self, run_id: str, status: str, reason: str | None = None) -> None:
        """A pass has ended; the last word counts. Shards that never said how they ended are `lost`."""
        with self._writing() as connection:
            closed = (
                update(passes)
                .where(passes.c.run_id == run_id)
                .values(status=status, reason=func.coalesce(reason, passes.c.reason))
            )
            connection.execute(closed.values(ended_at=func.coalesce(passes.c.ended_at, _now())))
            connection.execute(
                update(shards)
                .where(shards.c.run_id == run_id, shards.c.ended_at.is_(None))
                .values(stop_reason=LOST, ended_at=_now())
            )

    def history(
        self, limit: int = 20, pass_name: str | None = None, since: datetime | None = None
    ) -> Sequence[PassRow]:
        """The newest passes first."""
        chosen = select(passes).order_by(passes.c.started_at.desc(), passes.c.run_id).limit(limit)
        if pass_name is not None:
            chosen = chosen.where(passes.c.pass_name == pass_name)
        if since is not None:
            chosen = chosen.where(passes.c.started_at >= since)
        with self.engine.connect() as connection:
            rows = connection.execute(chosen).mappings().all()
            return [_pass_row(connection, row) for row in rows]

    def totals(self, target: str | None = None) -> Totals:
        """What all shards, or those of one target, removed."""
        columns = (func.sum(shards.c.deleted), func.sum(shards.c.at_most), func.count() - func.count(shards.c.at_most))
        chosen = select(*columns)
        if target is not None:
            chosen = chosen.where(shards.c.target == target)
        with self.engine.connect() as connection:
            deleted, at_most, unknown = connection.execute(chosen).one()
        return Totals(int(deleted or 0), None if unknown else int(at_most or 0))

    def outcomes(self, target: str, limit: int) -> Sequence[tuple[str, str | None, int | None]]:
        """Run, stop reason and survivors of a target in its last passes, the newest first; dry runs left out."""
        chosen = (
            select(targets.c.run_id, targets.c.stop_reason, targets.c.survivors)
            .join(passes, passes.c.run_id == targets.c.run_id)
            .where(targets.c.target == target, passes.c.dry_run.is_(False), targets.c.reported_at.is_not(None))
            .order_by(targets.c.reported_at.desc())
            .limit(limit)
        )
        with self.engine.connect() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(chosen)]

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection


def _insert(connection: Connection, table: Table, row: Mapping[str, Any], *, replace: bool = True) -> None:
    make: Any = insert_postgres if connection.dialect.name == "postgresql" else insert_sqlite
    statement = make(table).values(row)
    keys = [column.name for column in table.primary_key]
    changed = {name: value for name, value in row.items() if name not in keys}
    if replace:
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=keys))


def _pass_row(connection: Connection, row: Mapping[Any, Any]) -> PassRow:
    of_shards = select(
        func.sum(shards.c.deleted), func.sum(shards.c.at_most), func.count() - func.count(shards.c.at_most)
    ).where(shards.c.run_id == row["run_id"])
    deleted, at_most, unknown = connection.execute(of_shards).one()
    of_targets = select(func.sum(targets.c.survivors), func.count() - func.count(targets.c.survivors)).where(
        targets.c.run_id == row["run_id"], targets.c.stop_reason.is_distinct_from("skipped")
    )
    survivors, uncounted = connection.execute(of_targets).one()
    return PassRow(
        run_id=row["run_id"],
        pass_name=row["pass_name"],
        window=row["window"],
        host=row["host"],
        dry_run=row["dry_run"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        status=row["status"],
        reason=row["reason"],
        deleted=int(deleted or 0),
        at_most=None if unknown else int(at_most or 0),
        survivors=None if uncounted or survivors is None else int(survivors),
    )


def _counts(tally: Tally) -> dict[str, Any]:
    names = ("deleted", "scanned", "live", "repaired", "children", "bytes_freed", "batches", "retries", "parked")
    return {name: getattr(tally, name) for name in (*names, "paused_seconds", "waited_seconds")}


def _target(store: str, store_type: str, kind: str) -> dict[str, Any]:
    return {"store": store, "store_type": str(store_type), "kind": kind}


def _shard(run_id: str, target: str, shard: int) -> dict[str, Any]:
    return {"run_id": run_id, "target": target, "shard": shard}


def _is(run_id: str, target: str, shard: int) -> tuple[Any, ...]:
    return (shards.c.run_id == run_id, shards.c.target == target, shards.c.shard == shard)


def _now() -> datetime:
    return datetime.now(UTC)
