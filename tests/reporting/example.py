"""A made-up ledger of a few weeks, for the pictures in the docs: `python -m tests.reporting.example FILE`."""

import math
import random
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.tables import passes, shards, targets, witnesses

DAYS = 30
# Target, store, store type, kind, records a pass, seconds an operation.
TARGETS: dict[str, list[tuple[str, str, str, str, int, float]]] = {
    "sessions": [
        ("django_sessions", "main", "postgres", "session", 5200, 3.1),
        ("refresh_tokens", "main", "postgres", "refresh_token", 3900, 2.4),
        ("sso_sessions", "cache", "redis", "session", 2100, 1.2),
        ("sso_refresh_index", "cache", "redis", "refresh_token", 900, 0.6),
    ],
    "verification_tokens": [
        ("verify_email", "main", "postgres", "verification_token", 420, 0.8),
        ("reset_links", "docs", "mongo", "password_reset_token", 160, 1.6),
    ],
}


def fill(ledger: Ledger, now: datetime, days: int = DAYS) -> None:
    """Passes every two hours: an old backlog that is burnt down, two bad days, a killed process, a target behind."""
    dice = random.Random(7)
    rows: dict[Any, list[dict[str, Any]]] = {passes: [], targets: [], shards: [], witnesses: []}
    began = (now - timedelta(days=days - 1)).replace(hour=0, minute=5, second=0, microsecond=0)
    first, number = began, 0
    while began < now - timedelta(minutes=10):
        age = (began - first) / timedelta(days=1)
        daily = 1 + 0.45 * math.sin((began.hour - 9) / 24 * 2 * math.pi) - 0.3 * (began.weekday() >= 5)
        for name, of_pass in TARGETS.items():
            number += 1
            run_id = f"{dice.randrange(16**8):08x}-{number:04x}-4000-8000-000000000000"
            killed = name == "sessions" and number == 421
            bad = name == "sessions" and int(age) in {19, 20}
            red = killed
            took = 1.0
            for target, store, store_type, kind, usual, seconds in of_pass:
                left = _left(target, age, days) + (dice.randrange(12_000, 15_000) if bad and usual > 5000 else 0)
                failed = killed or left > 0
                red = red or failed
                deleted = int(usual * daily * dice.uniform(0.8, 1.25)) + (700 if left else 0)
                spent = seconds * dice.uniform(0.7, 1.6) * (2.5 if bad else 1)
                took += spent
                ended = began + timedelta(seconds=took)
                reason = "lost" if killed else "deadline" if failed else "exhausted"
                why = f"targets.{target}: {left:,} expired records are left (stopped: deadline); the next pass goes on"
                common = {"run_id": run_id, "target": target, "store": store, "kind": kind}
                rows[targets].append(
                    {
                        **common,
                        "store_type": store_type,
                        "strategy": "index_walk",
                        "dry_run": False,
                        "expired_found": deleted + left,
                        "survivors": None if killed else left,
                        "survivors_known": not killed,
                        "stop_reason": None if killed else reason,
                        "error": why if failed and not killed else None,
                        "seconds": spent,
                        "reported_at": None if killed else ended,
                    }
                )
                rows[shards] += [
                    {
                        **common,
                        "shard": shard,
                        "started_at": began,
                        "ended_at": ended,
                        "stop_reason": reason,
                        "deleted": deleted // 2,
                        "at_most": deleted // 2 + (8000 if killed and usual > 5000 else 0),
                        "scanned": deleted,
                        "batches": 1 + deleted // 2000,
                        "largest_batch": min(1000, deleted // 2),
                        "bytes_freed": None,
                        "seconds": spent / 2,
                        "latency_ms": [0, 0, 1 + deleted // 2000, *[0] * 9],
                    }
                    for shard in range(2)
                ]
                if not killed and began > now - timedelta(days=1):
                    rows[witnesses].append(
                        {
                            "target": target,
                            "checked_at": ended,
                            "pass_name": name,
                            "store": store,
                            "kind": kind,
                            "run_id": run_id,
                            "survivors": left,
                            "oldest_survivor": ended - timedelta(hours=5, minutes=12) if left else None,
                            "known": True,
                            "objective_seconds": 14_400.0,
                        }
                    )
            status = "lost" if killed else "partial" if red else "succeeded"
            rows[passes].append(
                {
                    "run_id": run_id,
                    "pass_name": name,
                    "dry_run": False,
                    "started_at": began,
                    "ended_at": began + timedelta(seconds=took),
                    "heartbeat_at": began,
                    "status": status,
                    "reason": "lost: the process of this run is gone" if killed else None,
                }
            )
        began += timedelta(hours=2)
    with ledger.place.writing() as connection:
        for table, several in rows.items():
            if several:
                connection.execute(insert(table), several)


def _left(target: str, age: float, days: int) -> int:
    if target != "refresh_tokens":
        return 0
    # Behind again since a few hours.
    return max(0, int(26_000 - 5_200 * age)) or int(2140 * (age > days - 1.4))


if __name__ == "__main__":
    opened = open_ledger(f"sqlite:///{sys.argv[1]}")
    fill(opened, datetime.now(UTC))
    opened.close()
