"""What people who log in feel while a backlog is removed from their PostgreSQL.

    python -m benchmarks.felt_postgres [--rows 1000000] [--rate 200] [--seconds 6] [--repeat 3]

A load of logins at a fixed rate (a third each: read a session, refresh it, insert one) runs against the table, from a
process of its own, before and during three ways of removing the 70 % that are expired: ours with its default settings,
one DELETE, and batches of 10,000 without a pause. Latency is counted from when the operation was due, so that a stall
is felt by everything that had to wait for it (coordinated omission, Tene 2013). Each way gets a fresh copy of the data.
"""

import argparse
import json
import multiprocessing as mp
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.quantiles import quantile
from cleanup_pipeline.embedded.servers import start_postgres
from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.stores.postgres import open_postgres

FILL = """
CREATE TABLE sessions (id bigint PRIMARY KEY, data text, expires_at timestamptz);
INSERT INTO sessions SELECT n, repeat('x', 200),
    now() + CASE WHEN n % 10 < 7 THEN -1 ELSE 1 END * (1 + n % 1000) * interval '1 minute'
FROM generate_series(1, {rows}) n;
CREATE INDEX ON sessions (expires_at);
VACUUM ANALYZE sessions;
CHECKPOINT
"""


def logins(url: str, rows: int, rate: int, stop: Any, out: Any) -> None:
    """Operations at a fixed rate until `stop` is set; sends the latencies in ms, with the time each was due."""
    chance = random.Random(1)
    kept = [n for n in range(1, min(rows, 100_000)) if n % 10 >= 7]
    felt: list[tuple[float, float]] = []
    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as connection:
        began = time.perf_counter()
        number = 0
        while not stop.is_set():
            due = began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            match number % 3:
                case 0:
                    connection.execute("SELECT data FROM sessions WHERE id = %s", (chance.choice(kept),)).fetchone()
                case 1:
                    connection.execute(
                        "UPDATE sessions SET expires_at = now() + interval '1 day' WHERE id = %s",
                        (chance.choice(kept),),
                    )
                case _:
                    connection.execute(
                        "INSERT INTO sessions VALUES (%s, repeat('y', 200), now() + interval '1 day')",
                        (10_000_000_000 + number,),
                    )
            felt.append((due - began, (time.perf_counter() - due) * 1000))
            number += 1
    out.send(felt)


def ours(url: str) -> int:
    target = Target(
        "sessions", "main", StoreType.POSTGRES, "sessions", "session", TableSource("sessions"),
        ColumnExpiry("expires_at"), mode=Mode.DELETE, operation_timeout=timedelta(minutes=5),
    )  # fmt: skip
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        plan = scan(store, target, dry_run=False)
        done = [
            clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(lambda _: None))
            for shard in plan.work.shards
        ]
        return sum(outcome.tally.deleted for outcome in done)
    finally:
        store.close()


def one_delete(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute("DELETE FROM sessions WHERE expires_at < now()").rowcount


def naive_batches(url: str) -> int:
    batch = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < now() LIMIT 10000)"
    total = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while gone := connection.execute(batch).rowcount:
            total += gone
    return total


WAYS: dict[str, Callable[[str], int]] = {"ours": ours, "one DELETE": one_delete, "batches of 10,000": naive_batches}


def one_round(admin: str, url: str, name: str, rate: int, rows: int, before: float) -> dict[str, Any]:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS felt WITH (FORCE)")
        connection.execute("CREATE DATABASE felt TEMPLATE filled STRATEGY FILE_COPY")
        connection.execute("CHECKPOINT")
    stop, (receive, send) = mp.Event(), mp.Pipe(duplex=False)
    load = mp.Process(target=logins, args=(url, rows, rate, stop, send))
    load.start()
    began = time.perf_counter()
    time.sleep(before)
    started = time.perf_counter()
    deleted = WAYS[name](url)
    took = time.perf_counter() - started
    # What the load felt is only in order once it has caught up with its own schedule.
    threading.Timer(0.5, stop.set).start()
    felt = receive.recv()
    load.join()
    edge = started - began
    calm = [ms for due, ms in felt if 0.5 < due < edge - 0.2]
    busy = [ms for due, ms in felt if edge <= due <= edge + took]
    return {"calm": calm, "busy": busy, "rows_per_s": deleted / took, "seconds": took, "deleted": deleted}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--rate", type=int, default=200, help="logins a second")
    arguments.add_argument("--seconds", type=float, default=6.0, help="of load before each way starts")
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = start_postgres(Path(folder) / "postgres")
        try:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE filled")
            filled = server.url.rsplit("/", 1)[0] + "/filled"
            with psycopg.connect(filled, autocommit=True) as connection:
                for statement in FILL.format(rows=given.rows).split(";"):
                    connection.execute(statement)  # type: ignore[call-overload]
            felt = server.url.rsplit("/", 1)[0] + "/felt"
            heads = ("rows/s", "s", "p50 ms", "p99 ms", "max ms", "p99 before", "ratio")
            print(f"{'way':<20}{heads[0]:>10}{heads[1]:>7}" + "".join(f"{head:>12}" for head in heads[2:]))
            for name in WAYS:
                rounds = [
                    one_round(server.url, felt, name, given.rate, given.rows, given.seconds)
                    for _ in range(given.repeat)
                ]
                show(name, rounds)
        finally:
            server.stop()


def show(name: str, rounds: list[dict[str, Any]]) -> None:
    def median(pick: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(pick(one) for one in rounds)

    p50, p99 = median(lambda r: quantile(r["busy"], 0.5)), median(lambda r: quantile(r["busy"], 0.99))
    worst, calm = median(lambda r: max(r["busy"])), median(lambda r: quantile(r["calm"], 0.99))
    rate, took = median(lambda r: r["rows_per_s"]), median(lambda r: r["seconds"])
    cells = "".join(f"{value:>12.2f}" for value in (p50, p99, worst, calm, p99 / calm))
    print(f"{name:<20}{rate:>10,.0f}{took:>7.1f}{cells}")
    figures = {
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": worst,
        "p99_before_ms": calm,
        "rows_per_s": rate,
        "seconds": took,
    }
    line = {"bench": "felt_postgres", "way": name, "repeat": len(rounds)}
    print(json.dumps(line | {key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
