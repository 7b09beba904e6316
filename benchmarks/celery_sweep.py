"""One worker of Celery and several, on a block sweep of one PostgreSQL table: what do more workers bring?

    python -m benchmarks.celery_sweep --rows 10000000 --workers 1 2
    python -m benchmarks.celery_sweep --rows 10000000 --workers 1 2 --pause 0s

Everything is on this machine: PostgreSQL, the broker, Dagster's history, the workers. So the server's own work and the
workers' share the processors. Each round makes the table anew, without an index on the expiry, 70 % of it expired.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg

from cleanup_pipeline.embedded.servers import start_postgres, start_redis

SHARE = 0.7
PROGRAM = str(Path(sys.executable).parent / "cleanup-pipeline")
SETTINGS = """
cleanup: {{max_shards: {shards}, operation_timeout: 5m{pause}}}
stores: {{main: {{type: postgres, url: "${{CLEANUP_POSTGRES_URL}}"}}}}
execution: {{executor: celery}}
targets: {{sessions_table: {{store: main, table: sessions, expires: {{column: expires_at}}, mode: delete}}}}
"""


def fill(url: str, rows: int, size: int) -> None:
    """A table of rows of about `size` bytes, the expired ones all over it."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS sessions")
        db.execute("CREATE TABLE sessions (id bigint PRIMARY KEY, data text, expires_at timestamptz NOT NULL)")
        db.execute(
            "INSERT INTO sessions SELECT n, repeat(md5(n::text), %s), now() + CASE WHEN (n::bigint * 7919) %% 100 < %s"
            " THEN -1 ELSE 1 END * (1 + n %% 1000) * interval '1 minute' FROM generate_series(1, %s) n",
            (max(1, (size - 60) // 32), round(SHARE * 100), rows),
        )
        db.execute("VACUUM (ANALYZE) sessions")
        db.execute("CHECKPOINT")


@contextmanager
def workers(count: int, folder: Path) -> Iterator[None]:
    """So many, each a process of its own with one step at a time, ready."""
    with ExitStack() as opened:
        for number in range(count):
            log = opened.enter_context((folder / f"worker-{number}.log").open("wb"))
            command = [PROGRAM, "worker", "--name", f"bench-{number}"]
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            opened.callback(process.wait, 60)
            opened.callback(process.send_signal, signal.SIGTERM)
        deadline = time.monotonic() + 120
        while len(_answering()) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the workers did not come up; see {folder}")
            time.sleep(0.5)
        yield


def _answering() -> list[Any]:
    from celery import Celery

    url = os.environ["CLEANUP_CELERY_BROKER_URL"]
    return list(Celery(broker=url, backend=url).control.ping(timeout=1.0))


def shares(folder: Path, run_id: str) -> dict[str, Any]:
    """What the delete steps of a run took: from the first to the last, and each worker's own share of it."""
    from cleanup_pipeline.dagster_defs.launch import instance_at

    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    busy: dict[str, float] = {}
    with instance_at(folder / ".cleanup") as instance:
        for entry in instance.all_logs(run_id):
            event = entry.dagster_event
            key = event.step_key if event and event.step_key and ".delete[" in event.step_key else None
            if event is None or key is None:
                continue
            if event.is_step_start:
                begun[key] = entry.timestamp
            elif event.event_type is dg.DagsterEventType.ASSET_OBSERVATION:
                ended[key] = entry.timestamp
                observed: Any = event.event_specific_data
                process = str(observed.asset_observation.metadata["process"].value)
                busy[process] = busy.get(process, 0.0) + entry.timestamp - begun[key]
    return {"deleting": max(ended.values()) - min(begun.values()), "busy": busy}


def measure(count: int, rows: int, size: int, folder: Path) -> dict[str, Any]:
    """One pass by so many workers. Raises RuntimeError when it is not clean."""
    fill(os.environ["CLEANUP_POSTGRES_URL"], rows, size)
    with workers(count, folder):
        # Each worker's process loads the passes with its first step; that is not what is compared.
        subprocess.run([PROGRAM, "run", "sessions", "--dry-run"], cwd=folder, check=True, capture_output=True)
        began = time.monotonic()
        ran = subprocess.run(
            [PROGRAM, "run", "sessions", "--json"], cwd=folder, check=False, capture_output=True, text=True
        )
        seconds = time.monotonic() - began
    if ran.returncode:
        raise RuntimeError(ran.stdout + ran.stderr)
    report = json.loads(ran.stdout)
    [target] = report["targets"]
    took = shares(folder, report["run_id"])
    return {
        "workers": count,
        "deleted": target["deleted"],
        "strategy": target["strategy"],
        "whole_run_s": round(seconds, 1),
        "deleting_s": round(took["deleting"], 1),
        "records_per_s": round(target["deleted"] / took["deleting"]),
        "busy_s": sorted(round(each, 1) for each in took["busy"].values()),
        "paused_s": round(target["paused_seconds"] or 0, 1),
    }


def main() -> None:
    """Measure, and print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--bytes", type=int, default=250, help="of a row; a shard has 64 MiB of table or more")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--pause", help="cleanup.pause; without it that of the product")
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="celery-sweep-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        for name in ("postgres", "redis"):
            (folder / name).mkdir(mode=0o755)
        postgres, broker = start_postgres(folder / "postgres"), start_redis(folder / "redis")
        try:
            base = postgres.url.rsplit("/", 1)[0]
            with psycopg.connect(postgres.url, autocommit=True) as db:
                db.execute("CREATE DATABASE bench_app")
                db.execute("CREATE DATABASE bench_history")
            for name in [name for name in os.environ if name.startswith(("CLEANUP_", "DAGSTER_"))]:
                del os.environ[name]
            os.environ |= {
                "CLEANUP_POSTGRES_URL": f"{base}/bench_app",
                "CLEANUP_DAGSTER_POSTGRES_URL": f"{base}/bench_history",
                "CLEANUP_CELERY_BROKER_URL": broker.url,
                "DAGSTER_DISABLE_TELEMETRY": "1",
            }
            pause = f", pause: {chosen.pause}" if chosen.pause else ""
            text = SETTINGS.format(shards=chosen.shards, pause=pause)
            (folder / "cleanup.yaml").write_text(text, encoding="utf-8")
            os.chdir(folder)
            best: dict[int, int] = {}
            for _ in range(chosen.rounds):
                for count in chosen.workers:
                    found = measure(count, chosen.rows, chosen.bytes, folder)
                    best[count] = max(best.get(count, 0), found["records_per_s"])
                    print(json.dumps(found), flush=True)
            first = chosen.workers[0]
            for count in chosen.workers[1:]:
                print(f"{count} workers: {best[count] / best[first]:.2f} x {first}")
        finally:
            os.chdir("/")
            postgres.stop()
            broker.stop()


if __name__ == "__main__":
    main()
