"""What brakes cost a scan: the newest expiry and its type on a large table, and a history of 400 passes in the ledger.

python -m benchmarks.brake_looks
"""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg

from cleanup_pipeline.embedded.servers import start_postgres
from cleanup_pipeline.engine.brakes import Look, judge_brakes
from cleanup_pipeline.engine.looks import RANK
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.model.brake import BrakeSettings
from cleanup_pipeline.model.outcome import TargetReport
from cleanup_pipeline.model.rules import ColumnExpiry
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import TableSource, Target
from cleanup_pipeline.model.words import StopReason, StoreType
from cleanup_pipeline.stores.postgres import PostgresStore

ROWS = 1_000_000
WEB = Target("web", "main", StoreType.POSTGRES, "sessions", "session", TableSource("web"), ColumnExpiry("expires_at"))


def main() -> None:
    """Print the median of 20 of each."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        server = start_postgres(folder)
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute("CREATE TABLE web (id bigint, expires_at timestamptz, data text)")
            db.execute(
                "INSERT INTO web SELECT n, CASE WHEN n %% 10 > 0 THEN now() + random() * interval '30 days' END,"
                " repeat('x', 200) FROM generate_series(1, %s) n",
                (ROWS,),
            )
            db.execute("CREATE INDEX ON web (expires_at)")
            db.execute("VACUUM ANALYZE web")
        store = PostgresStore(StoreConfig("main", StoreType.POSTGRES, server.url))
        store.preflight(WEB)
        print(f"{ROWS:,} rows, a tenth without expiry, with an index")
        _time("newest", lambda: store.newest(WEB, RANK, timedelta(seconds=2)))
        _time("type", lambda: store.shape(WEB))
        store.close()
        for url in (f"sqlite:///{folder / 'ledger.db'}", server.url):
            _ledger(url)
        server.stop()


def _ledger(url: str) -> None:
    ledger, now = open_ledger(url), datetime.now(UTC)
    look = Look(now, 5000, 1000, 0, 0, now, "timestamp with time zone")
    report = TargetReport("web", "main", StoreType.POSTGRES, "session", "x", StopReason.EXHAUSTED, survivors=0)
    for number in range(1000):
        at = now - number * timedelta(minutes=30)
        ledger.brakes.went_ahead(f"run{number}", "web", "rule", Look(at, 10, 1000, 0, 0, at, look.shape), at)
        ledger.record_target(f"run{number}", report)
    _time(f"history of 400 passes, {url.partition(':')[0]}", lambda: ledger.brakes.history("web", "rule"))
    history = ledger.brakes.history("web", "rule")
    _time("judging", lambda: judge_brakes(look, history, BrakeSettings()))
    ledger.close()


def _time(what: str, do: Callable[[], object]) -> None:
    taken = []
    for _ in range(20):
        began = perf_counter()
        do()
        taken.append(perf_counter() - began)
    print(f"  {what}: {median(taken) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
