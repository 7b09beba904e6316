"""What the removal ledger and the quarantine cost a pass: `python -m benchmarks.undo_cost`.

A pass here is looking (preflight, census, plan), deleting and recounting; all records are expired. The four ways take
turns on fresh copies of the same data, and the ratio is that of the medians. The governor does not shrink batches here:
on a machine with other work it would, by chance, more in one way than in another. CPU seconds, of this process and of
the server, hold there as well.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median

import psutil
import psycopg
import redis

from cleanup_pipeline.embedded.servers import Server, start_postgres, start_redis
from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.keeping.handover import Keeping
from cleanup_pipeline.keeping.places import open_folder
from cleanup_pipeline.keeping.quarantine import QuarantineWriter, Room
from cleanup_pipeline.keeping.removals import RemovalWriter
from cleanup_pipeline.model.durations import parse_duration
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import ShardOutcome
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.secret_keys import read_keys
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import ColumnExpiry, HashFieldExpiry, KeySource, TableSource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.open import open_store

Fill = Callable[[str, int], None]
KEY = read_keys("0123456789abcdefghijklmnopqrstuvwxyz0123")[0]
WAYS = {"neither": (False, False), "removal ledger": (True, False), "quarantine": (False, True), "both": (True, True)}
TARGETS = {
    "postgres": Target(
        "s", "main", StoreType.POSTGRES, "sessions", "session", TableSource("s"), ColumnExpiry("expires_at")
    ),
    "redis": Target(
        "s", "main", StoreType.REDIS, "sessions", "session", KeySource("s:*", "hash"), HashFieldExpiry("exp")
    ),
}


def fill_postgres(url: str, records: int) -> None:
    """Rows of about 250 bytes with a key, an owner and an index on the expiry, as Django's sessions."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS s")
        db.execute("CREATE TABLE s (id text PRIMARY KEY, user_id int, data text, expires_at timestamptz)")
        db.execute(
            "INSERT INTO s SELECT md5(n::text), mod(n, 100000), repeat('x', 160), now() - interval '30 d' +"
            " n * interval '1 s' FROM generate_series(1, %s::int) n",
            (records,),
        )
        db.execute("CREATE INDEX ON s (expires_at)")
        db.execute("VACUUM ANALYZE s")
        db.execute("CHECKPOINT")


def fill_redis(url: str, records: int) -> None:
    """Hashes of four fields, about 200 bytes each."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        dies = str(int(time.time()) - 86400)
        for start in range(0, records, 10_000):
            with client.pipeline(transaction=False) as pipe:
                for n in range(start, min(start + 10_000, records)):
                    value = {"exp": dies, "user_id": str(n % 100_000), "token": f"{n:032x}", "data": "x" * 80}
                    pipe.hset(f"s:{n:08d}", mapping=value)
                pipe.execute()


def passed(store: Store, target: Target, folder: Path, way: str) -> float:
    """Seconds of a pass over everything that is there."""
    removals, quarantine = WAYS[way]
    target = replace(target, removals=removals, quarantine=quarantine, owner="user_id")
    run = f"run-{time.monotonic()}"
    began = time.monotonic()
    plan = scan(store, target, dry_run=False)
    deleted = 0
    for shard in plan.work.shards:
        keeping = None
        if removals or quarantine:
            kept = open_folder(str(folder / "quarantine"), "the quarantine")
            keeping = Keeping(
                target,
                RemovalWriter(open_folder(str(folder / "removals"), "it"), KEY, "s", {"run": run}, 10**11)
                if removals
                else None,
                QuarantineWriter(kept, KEY, run, "s", shard.index, Room(10**11, 0)) if quarantine else None,
            )
            keeping.begin()
        outcomes: list[ShardOutcome] = []

        def record(outcome: ShardOutcome, keeping: Keeping | None = keeping, to: list[ShardOutcome] = outcomes) -> None:
            if keeping is not None:
                assert keeping.close() is None
            to.append(outcome)

        clean_shard(
            store,
            replace(target, handover=keeping),
            plan.work,
            shard,
            plan.cutoff,
            limits_of(target),
            Watch(record),
            lease=Lease(run, shard.index, "here"),
        )
        assert outcomes[0].error is None, outcomes[0]
        deleted += outcomes[0].tally.deleted
    left = store.survivors(target, plan.cutoff, timedelta(minutes=5))
    seconds = time.monotonic() - began
    assert left == 0 and deleted == plan.census.expired, (left, deleted)
    return seconds


def worked(pid: int) -> float:
    """CPU seconds of a server with all its processes, those that have ended included."""
    server = psutil.Process(pid)
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def measure(
    server: Server, name: str, fill: Fill, records: int, runs: int, pause: timedelta, ways: Sequence[str]
) -> None:
    """Print one line for each way."""
    url = server.url
    target = replace(TARGETS[name], mode=Mode.DELETE, pause=pause, max_shards=1, census_timeout=timedelta(minutes=5))
    target = replace(target, pace=Pace(latency_target=timedelta(minutes=1), max_blocked=None, max_ping=None))
    taken: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(runs):
        for way in ways:
            fill(url, records)
            store = open_store(StoreConfig("main", target.store_type, url))
            with tempfile.TemporaryDirectory(prefix="cleanup-kept-") as folder:
                own, its = time.process_time(), worked(server.pid)
                taken[way].append(passed(store, target, Path(folder), way))
                cpu[way].append((time.process_time() - own, worked(server.pid) - its))
                size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            store.close()
            print(f"  {way}: {taken[way][-1]:.1f} s, {size / records:.0f} bytes a record", flush=True)
    plain = median(taken[ways[0]])
    print(f"{name}, {records:,} records, pause {pause.total_seconds() * 1000:g} ms")
    for way, seconds in taken.items():
        each = [round(one, 1) for one in seconds]
        own, its = (median(part) for part in zip(*cpu[way], strict=True))
        busy = f"CPU {own:.1f} s, server {its:.1f} s"
        print(f"  {way:15} {median(seconds):7.1f} s  {median(seconds) / plain:.2f}x  {busy}  {each}", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pause", nargs="+", default=["30ms", "0s"])
    parser.add_argument("--stores", nargs="+", default=["postgres", "redis"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="the first is what 1.00x is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleanup-bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        for name in given.stores:
            # Without snapshots: one would begin in the middle of some runs and not of others.
            server = start_postgres(folder) if name == "postgres" else start_redis(folder, options=("--save", ""))
            fill = fill_postgres if name == "postgres" else fill_redis
            try:
                for pause in given.pause:
                    measure(server, name, fill, given.records, given.runs, parse_duration(pause), given.ways)
            finally:
                server.stop()


if __name__ == "__main__":
    main()
