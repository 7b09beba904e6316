"""The queries. Totals hold what retention has folded into days, too."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, or_, select

from cleanup_pipeline.ledger.rows import PassDetail, PassRow, ShardRow, TargetRow, Totals
from cleanup_pipeline.ledger.tables import days, passes, shards, targets
from cleanup_pipeline.ledger.words import UNDONE
from cleanup_pipeline.model.words import PassStatus, StopReason


def history(connection: Connection, limit: int, pass_name: str | None, since: datetime | None) -> list[PassRow]:
    """The newest passes first."""
    chosen = select(passes).order_by(passes.c.started_at.desc(), passes.c.run_id).limit(limit)
    if pass_name is not None:
        chosen = chosen.where(passes.c.pass_name == pass_name)
    if since is not None:
        chosen = chosen.where(passes.c.started_at >= since)
    return _with_totals(connection, chosen, lambda row: (-row.started_at.timestamp(), row.run_id))


def running(connection: Connection, heard_before: datetime) -> list[PassRow]:
    """Passes that did not end and were not heard of since, the longest silent first."""
    chosen = select(passes).where(passes.c.ended_at.is_(None), passes.c.heartbeat_at < heard_before)
    return _with_totals(connection, chosen, lambda row: (row.heartbeat_at, row.run_id))


def pass_of(connection: Connection, run_id: str) -> PassDetail | None:
    """One pass with its targets and shards."""
    rows = _with_totals(connection, select(passes).where(passes.c.run_id == run_id), lambda row: row.run_id)
    if not rows:
        return None
    of_targets = select(targets).where(targets.c.run_id == run_id).order_by(targets.c.target)
    of_shards = select(shards).where(shards.c.run_id == run_id).order_by(shards.c.target, shards.c.shard)
    return PassDetail(
        row=rows[0],
        targets=tuple(TargetRow(**row) for row in connection.execute(of_targets).mappings()),
        shards=tuple(_shard_row(row) for row in connection.execute(of_shards).mappings()),
    )


def _shard_row(row: Mapping[Any, Any]) -> ShardRow:
    latency = row["latency_ms"]
    return ShardRow(**{**row, "latency_ms": None if latency is None else tuple(latency)})


def _with_totals(connection: Connection, chosen: Select[Any], key: Callable[[PassRow], Any]) -> list[PassRow]:
    of = chosen.cte("chosen")
    ids = select(of.c.run_id)
    removed = (
        select(shards.c.run_id, *_sums()).where(shards.c.run_id.in_(ids)).group_by(shards.c.run_id).subquery("removed")
    )
    counted = targets.c.stop_reason.is_distinct_from(str(StopReason.SKIPPED))
    braked = and_(targets.c.error.is_not(None), targets.c.stop_reason == str(StopReason.BRAKED))
    left = (
        select(
            targets.c.run_id,
            func.sum(targets.c.survivors).label("survivors"),
            (func.count() - func.count(targets.c.survivors)).label("uncounted"),
            func.count(targets.c.error).label("red"),
            func.sum(case((braked, 1), else_=0)).label("braked"),
        )
        .where(targets.c.run_id.in_(ids), counted)
        .group_by(targets.c.run_id)
        .subquery("survived")
    )
    joined = (
        select(of, *(removed.c[name] for name in ("deleted", "at_most", "unknown")))
        .add_columns(*(left.c[name] for name in ("survivors", "uncounted", "red", "braked")))
        .outerjoin(removed, removed.c.run_id == of.c.run_id)
        .outerjoin(left, left.c.run_id == of.c.run_id)
    )
    rows = [_pass_row(row) for row in connection.execute(joined).mappings()]
    return sorted(rows, key=key)


def _sums() -> Sequence[Any]:
    unknown = (func.count() - func.count(shards.c.at_most)).label("unknown")
    return func.sum(shards.c.deleted).label("deleted"), func.sum(shards.c.at_most).label("at_most"), unknown


def _pass_row(row: Mapping[Any, Any]) -> PassRow:
    return PassRow(
        run_id=row["run_id"],
        pass_name=row["pass_name"],
        window=row["window_key"],
        window_start=row["window_start"],
        window_end=row["window_end"],
        backfill=row["backfill"],
        parent_run_id=row["parent_run_id"],
        root_run_id=row["root_run_id"],
        host=row["host"],
        pid=row["pid"],
        dry_run=row["dry_run"],
        started_at=row["started_at"],
        heartbeat_at=row["heartbeat_at"],
        ended_at=row["ended_at"],
        status=row["status"],
        reason=row["reason"],
        deleted=int(row["deleted"] or 0),
        at_most=None if row["unknown"] else int(row["at_most"] or 0),
        survivors=None if row["uncounted"] or row["survivors"] is None else int(row["survivors"]),
        only_braked=bool(row["red"]) and row["red"] == row["braked"],
    )


def totals(connection: Connection, since: datetime | None) -> dict[str, Totals]:
    """What was removed, by target. `since` takes shards that ended later or run, and the whole UTC days after it."""
    live = select(shards.c.target, *_sums()).group_by(shards.c.target)
    unknown = (func.count() - func.count(days.c.at_most)).label("unknown")
    folded = select(
        days.c.target, func.sum(days.c.deleted).label("deleted"), func.sum(days.c.at_most).label("at_most"), unknown
    ).group_by(days.c.target)
    folded = folded.where(days.c.shards > 0)
    if since is not None:
        live = live.where(or_(shards.c.ended_at >= since, shards.c.ended_at.is_(None)))
        folded = folded.where(days.c.day >= _first_whole_day(since))
    found: dict[str, Totals] = {}
    for statement in (live, folded):
        for target, deleted, at_most, unsure in connection.execute(statement):
            part = Totals(int(deleted), None if unsure else int(at_most))
            found[target] = add(found[target], part) if target in found else part
    return found


def add(one: Totals, other: Totals) -> Totals:
    """Both together."""
    known = one.at_most is not None and other.at_most is not None
    return Totals(one.deleted + other.deleted, (one.at_most or 0) + (other.at_most or 0) if known else None)


def _first_whole_day(since: datetime) -> Any:
    day = since.astimezone(UTC)
    return day.date() if day.timetz() == time(tzinfo=UTC) else day.date() + timedelta(days=1)


def outcomes(connection: Connection, target: str, limit: int) -> list[tuple[str, str | None, int | None]]:
    """Run, stop reason and survivors of a target in its last passes, the newest first; dry runs left out."""
    chosen = (
        select(targets.c.run_id, targets.c.stop_reason, targets.c.survivors)
        .join(passes, passes.c.run_id == targets.c.run_id)
        .where(
            targets.c.target == target,
            targets.c.reported_at.is_not(None),
            passes.c.dry_run.is_(False),
            targets.c.dry_run.is_(False),
        )
        .order_by(targets.c.reported_at.desc(), targets.c.run_id)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(chosen)]


def successes() -> tuple[Any, Any]:
    """What makes a pass, and what makes a target in it, a success: something was cleaned, and none of it is left."""
    of_pass = and_(passes.c.status == str(PassStatus.SUCCEEDED), passes.c.dry_run.is_(False))
    of_target = and_(
        targets.c.reported_at.is_not(None),
        targets.c.error.is_(None),
        targets.c.stop_reason.not_in(sorted(UNDONE)),
        targets.c.dry_run.is_(False),
    )
    return of_pass, of_target


def last_success(connection: Connection, pass_name: str | None, target: str | None) -> datetime | None:
    """When a pass, or a target in whatever pass, last was cleaned without fault. A dry run never counts."""
    of_pass, of_target = successes()
    folded = select(func.max(days.c.last_success))
    if target is not None:
        recent = select(func.max(targets.c.reported_at)).join(passes, passes.c.run_id == targets.c.run_id)
        recent = recent.where(targets.c.target == target, of_target, passes.c.dry_run.is_(False))
        folded = folded.where(days.c.target == target)
        if pass_name is not None:
            recent = recent.where(passes.c.pass_name == pass_name)
    else:
        recent = select(func.max(passes.c.ended_at)).where(of_pass, passes.c.pass_name == pass_name)
        folded = folded.where(days.c.target == "")
    if pass_name is not None:
        folded = folded.where(days.c.pass_name == pass_name)
    found: list[datetime] = [at for each in (recent, folded) if (at := connection.execute(each).scalar()) is not None]
    return max(found, default=None)
