"""A year of ledger, 3,000,000 shards, and what a report of it costs: `python -m benchmarks.ledger_year`.

Two passes with four targets each, four shards a target, every five and a half minutes. `--keep FOLDER` leaves the
ledger there; otherwise it is deleted.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cleanup_pipeline.ledger import open_ledger

SHARDS_A_PASS, TARGETS_A_PASS, DAYS = 4, 4, 365
TARGETS = {
    "sessions": [
        ("django_sessions", "main", "session"),
        ("sso_sessions", "cache", "session"),
        ("refresh_tokens", "main", "refresh_token"),
        ("sso_refresh_index", "cache", "refresh_token"),
    ],
    "verification_tokens": [
        ("verify_email", "main", "verification_token"),
        ("reset_links", "main", "password_reset_token"),
        ("mongo_verify_email", "docs", "verification_token"),
        ("mongo_reset_links", "docs", "password_reset_token"),
    ],
}
Row = tuple[object, ...]


def passes(shards: int, now: datetime) -> Iterator[tuple[str, str, datetime]]:
    """Run, pass and beginning of as many passes as make so many shards, spread over a year."""
    count = shards // (SHARDS_A_PASS * TARGETS_A_PASS)
    step = timedelta(days=DAYS) / count
    first = now - timedelta(days=DAYS)
    for number in range(count):
        yield f"{number:08x}-0000-4000-8000-000000000000", list(TARGETS)[number % 2], first + number * step


def written(at: datetime) -> str:
    """An instant as SQLAlchemy writes it to SQLite."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def fill(file: Path, shards: int) -> None:
    """The ledger, by bulk inserts."""
    open_ledger(f"sqlite:///{file}").close()
    dice = random.Random(1)
    of_pass, of_target, of_shard = list[Row](), list[Row](), list[Row]()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA synchronous=OFF")

        def flush() -> None:
            for table, columns, rows in (
                ("passes", _PASSES, of_pass),
                ("targets", _DONE, of_target),
                ("shards", _SHARDS, of_shard),
            ):
                marks = ",".join("?" * len(columns.split(",")))
                db.executemany(f"INSERT INTO cleanup_{table} ({columns}) VALUES ({marks})", rows)  # noqa: S608
                rows.clear()

        for run_id, name, began in passes(shards, datetime.now(UTC)):
            red = dice.random() < 0.01
            ended = began + timedelta(seconds=dice.uniform(2, 40))
            status = "partial" if red else "succeeded"
            of_pass.append((run_id, name, 0, "web-1", 1, written(began), written(ended), status, written(ended)))
            for place, (target, store, kind) in enumerate(TARGETS[name]):
                failed = red and place == 0
                error = f"targets.{target}: 12 expired records are left (stopped: deadline)" if failed else None
                left = dice.randrange(5000) if failed else 0
                of_target.append(
                    (
                        *(run_id, target, store, "postgres", kind, "index_walk", 0, 400, left, 1),
                        *("deadline" if failed else "exhausted", error, dice.uniform(0.2, 9), written(ended)),
                    )
                )
                for shard in range(SHARDS_A_PASS):
                    deleted = dice.randrange(200)
                    latency = [0] * 12
                    latency[dice.randrange(8)] = 1
                    of_shard.append(
                        (
                            *(run_id, target, shard, store, kind, written(began), written(ended)),
                            *("deadline" if failed else "exhausted", deleted, deleted, deleted * 2, 1, deleted),
                            *(dice.uniform(0.05, 2), 0.01, '{"latency": 1}' if dice.random() < 0.05 else "{}"),
                            json.dumps(latency),
                        )
                    )
            if len(of_shard) > 50_000:
                flush()
        flush()


_PASSES = "run_id,pass_name,dry_run,host,pid,started_at,ended_at,status,heartbeat_at"
_DONE = (
    "run_id,target,store,store_type,kind,strategy,dry_run,expired_found,survivors,survivors_known,stop_reason,error,"
    "seconds,reported_at"
)
_SHARDS = (
    "run_id,target,shard,store,kind,started_at,ended_at,stop_reason,deleted,at_most,scanned,batches,largest_batch,"
    "seconds,cpu_seconds,slowed,latency_ms"
)


def report(file: Path, *arguments: str) -> str:
    """Time and peak memory of the whole process `cleanup-pipeline report`."""
    program = [str(Path(sys.executable).parent / "cleanup-pipeline"), "report", "--since", f"{DAYS}d", *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(
        program, env={**os.environ, "CLEANUP_LEDGER_URL": f"sqlite:///{file}"}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, program
    return f"{seconds:.2f} s ({used.ru_utime + used.ru_stime:.2f} s of processor), {used.ru_maxrss / 1024:.0f} MiB"


def measure(file: Path, shards: int) -> None:
    """Prints it all."""
    started = time.perf_counter()
    if not file.exists():
        fill(file, shards)
        size = file.stat().st_size / 2**30
        print(f"made {shards:,} shards in {time.perf_counter() - started:.0f} s, {size:.2f} GiB", flush=True)
    print("never sealed, html:", report(file, "--format", "html"), flush=True)
    ledger = open_ledger(f"sqlite:///{file}")
    started = time.perf_counter()
    days = ledger.seal()
    if days:
        took = time.perf_counter() - started
        print(f"sealed {days} days in {took:.1f} s, {took / days * 1000:.0f} ms a day", flush=True)
    ledger.close()
    with sqlite3.connect(file) as db:
        db.execute("DELETE FROM cleanup_seals WHERE day = (SELECT max(day) FROM cleanup_seals)")
    ledger = open_ledger(f"sqlite:///{file}")
    started = time.perf_counter()
    ledger.seal()
    print(f"a nightly seal of {shards // DAYS:,} shards: {time.perf_counter() - started:.2f} s", flush=True)
    ledger.close()
    for style in ("html", "table", "json"):
        print(f"sealed, {style}:", "; ".join(report(file, "--format", style) for _ in range(3)), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=3_000_000)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    if chosen.keep:
        chosen.keep.mkdir(exist_ok=True)
        measure(chosen.keep / "ledger.db", chosen.shards)
        return
    with tempfile.TemporaryDirectory(prefix="cleanup-ledger-") as folder:
        measure(Path(folder) / "ledger.db", chosen.shards)


if __name__ == "__main__":
    main()
