"""What a lease and the ledger cost a PostgreSQL sweep without pauses: `python -m benchmarks.lease_cost`."""

import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import psycopg

from cleanup_pipeline.embedded.servers import start_postgres
from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.ledger import Recorder
from cleanup_pipeline.ledger.recorder import AHEAD
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.stores.postgres import open_postgres

ROWS, RUNS = 400_000, 3
TARGET = Target(
    "s",
    "main",
    StoreType.POSTGRES,
    "sessions",
    "session",
    TableSource("s"),
    ColumnExpiry("expires_at"),
    mode=Mode.DELETE,
    pause=timedelta(0),
    max_shards=1,
)


def fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS s")
        db.execute("CREATE TABLE s (id int, pad text, expires_at timestamptz)")
        db.execute(
            "INSERT INTO s SELECT n, repeat('x', 200), now() - interval '1 day' FROM generate_series(1, %s::int) n",
            (ROWS,),
        )
        db.execute("VACUUM ANALYZE s")
        db.execute("CHECKPOINT")


def rate(url: str, folder: Path, *, lease: bool, ledger: bool) -> float:
    fill(url)
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    plan = scan(store, TARGET, dry_run=False)
    recorder = Recorder(f"sqlite:///{folder / 'ledger.db'}")
    run = f"run-{time.monotonic()}"
    watch = Watch(lambda _: None)
    if ledger:
        recorder.begin_pass(run, "sessions", dry_run=False, window=None, parent_run_id=None, host="here")
        recorder.begin_shard(run, plan, 0, bounded=True)
        watch = Watch(
            lambda _: None,
            before=lambda tally, size: recorder.before_batch(run, "s", 0, tally, size, ahead=AHEAD),
        )
    began = time.monotonic()
    outcome = clean_shard(
        store,
        TARGET,
        plan.work,
        plan.work.shards[0],
        plan.cutoff,
        limits_of(TARGET),
        watch,
        lease=Lease(run, 0, "here") if lease else None,
    )
    seconds = time.monotonic() - began
    recorder.close()
    store.close()
    assert outcome.tally.deleted == ROWS
    return ROWS / seconds


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cleanup-bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        server = start_postgres(folder)
        try:
            ways = [(False, False), (True, False), (False, True), (True, True)]
            rates: dict[tuple[bool, bool], list[float]] = {way: [] for way in ways}
            for _ in range(RUNS):
                for lease, ledger in ways:
                    rates[lease, ledger].append(rate(server.url, folder, lease=lease, ledger=ledger))
        finally:
            server.stop()
    plain = median(rates[False, False])
    for (lease, ledger), found in rates.items():
        name = " and ".join([word for word, on in (("lease", lease), ("ledger", ledger)) if on]) or "neither"
        print(f"{name:18} {median(found):9,.0f} rows/s  {median(found) / plain:.2f}x  {[round(r) for r in found]}")


if __name__ == "__main__":
    main()
