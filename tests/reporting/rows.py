"""Rows of a ledger, a line an operation."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.tables import passes, shards, targets, witnesses

KINDS = {"web": ("main", "session"), "api": ("main", "token"), "app": ("cache", "session")}
MONDAY = date(2026, 11, 2)


def noon(day: date, minutes: float = 0) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(minutes=minutes)


def operation(ledger: Ledger, day: date, target: str, deleted: int, **more: Any) -> str:
    """One target cleaned in a pass of its own at noon; `more`: at_most, survivors, error, seconds, bytes, ..."""
    minutes = more.pop("minutes", 0)
    run_id = more.pop("run_id", f"{target}-{day}-{minutes}")
    at = noon(day, minutes)
    store, kind = KINDS.get(target, ("main", "session"))
    error, dry_run = more.get("error"), more.get("dry_run", False)
    reason = more.get("reason", "exhausted")
    reported = more.get("reported", True)
    of_pass = {
        "run_id": run_id,
        "pass_name": more.get("pass_name", "sessions"),
        "dry_run": dry_run,
        "started_at": at,
        "ended_at": at + timedelta(seconds=10),
        "heartbeat_at": at,
        "status": more.get(
            "status", reason if reason in {"skipped", "dry_run"} else "partial" if error else "succeeded"
        ),
        "reason": more.get("why"),
        "backfill": more.get("backfill"),
    }
    belongs = {"run_id": run_id, "target": target, "store": store, "kind": kind}
    of_target = {
        **belongs,
        "dry_run": dry_run,
        "survivors": more.get("survivors", 0),
        "survivors_known": more.get("survivors", 0) is not None,
        "stop_reason": reason if reported else None,
        "error": error,
        "seconds": more.get("seconds", 1.0),
        "reported_at": at + timedelta(seconds=5) if reported else None,
    }
    of_shard = {
        **belongs,
        "shard": 0,
        "started_at": at,
        "ended_at": at + timedelta(seconds=4),
        "stop_reason": reason,
        "deleted": deleted,
        "at_most": more.get("at_most", deleted),
        "bytes_freed": more.get("bytes"),
        "seconds": more.get("deleting", 2.0),
    }
    with ledger.place.writing() as connection:
        connection.execute(insert(passes), of_pass)
        connection.execute(insert(targets), of_target)
        if not dry_run and reason != "skipped":
            connection.execute(insert(shards), of_shard)
    return str(run_id)


def seen(ledger: Ledger, at: datetime, target: str, oldest: datetime | None, *, known: bool = True) -> None:
    """What a witness found."""
    row = {"target": target, "checked_at": at, "oldest_survivor": oldest, "known": known, "objective_seconds": 60.0}
    with ledger.place.writing() as connection:
        connection.execute(insert(witnesses), {**row, "survivors": None if not known else int(oldest is not None)})
