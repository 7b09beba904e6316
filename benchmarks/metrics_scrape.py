"""What a scrape of `cleanup-pipeline metrics` costs: the first one, later ones, and with a pass between two of them."""

import argparse
import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import insert

from cleanup_pipeline.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.tables import passes, shards, targets
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.observability.prometheus import LedgerCollector
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.settings import load_settings

TARGETS = 5
SHARDS = 4
ONE = "{{store: main, table: t{n}, expires: {{column: expires_at}}, mode: delete}}"


def fill(ledger: Ledger, days: int, a_day: int) -> None:
    """So many days of so many shards, up to now."""
    count = days * a_day // (TARGETS * SHARDS)
    now, step = datetime.now(UTC), timedelta(days=days) / count
    latency = list(Tally().latency_ms)
    for first in range(0, count, 500):
        of_passes, of_targets, of_shards = [], [], []
        for number in range(first, min(first + 500, count)):
            at, run_id = now - number * step, f"r{number}"
            end = {"ended_at": at, "status": "succeeded", "heartbeat_at": at}
            of_passes.append({"run_id": run_id, "pass_name": "sessions", "dry_run": False, "started_at": at, **end})
            for n in range(TARGETS):
                of = {"run_id": run_id, "target": f"t{n}", "store": "main", "kind": "session"}
                said = {"stop_reason": "exhausted", "seconds": 1.5, "reported_at": at, "survivors": 0}
                of_targets.append({**of, **said, "dry_run": False, "survivors_known": True})
                of_shards += [
                    {**of, "shard": s, "started_at": at, "ended_at": at, "stop_reason": "exhausted", "deleted": 100}
                    | {"at_most": 100, "seconds": 0.5, "slowed": {"latency": 1}, "latency_ms": latency}
                    for s in range(SHARDS)
                ]
        with ledger.place.writing() as connection:
            for table, rows in ((passes, of_passes), (targets, of_targets), (shards, of_shards)):
                connection.execute(insert(table), rows)


def main() -> None:
    """Print milliseconds."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--days", type=int, default=10)
    arguments.add_argument("--shards", type=int, default=8000, help="a day")
    arguments.add_argument("--scrapes", type=int, default=20)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cleanup.yaml"
        lines = "".join(f"  t{n}: {ONE.format(n=n)}\n" for n in range(TARGETS))
        file.write_text(f"stores: {{main: {{type: postgres, url: 'postgresql://x@127.0.0.1/x'}}}}\ntargets:\n{lines}")
        url = f"sqlite:///{folder}/ledger.db"
        ledger = open_ledger(url)
        fill(ledger, given.days, given.shards)
        reader = Reader(url, load_settings(file))
        registry = CollectorRegistry()
        registry.register(LedgerCollector(reader.read))

        def scrape() -> float:
            begin = perf_counter()
            generate_latest(registry)
            return (perf_counter() - begin) * 1000

        print(f"{given.days} days of {given.shards} shards: first scrape {scrape():.0f} ms")
        print(f"  later ones {statistics.median(scrape() for _ in range(given.scrapes)):.0f} ms (median)")
        taken = []
        for number in range(given.scrapes):
            ledger.begin_pass(f"new{number}", "sessions")
            ledger.close_pass(f"new{number}", "succeeded")
            taken.append(scrape())
        print(f"  after a pass each {statistics.median(taken):.0f} ms, at most {max(taken):.0f} ms")
        begin = perf_counter()
        sealed = ledger.seal()
        print(f"  sealing {sealed} days took {perf_counter() - begin:.2f} s; then {scrape():.0f} ms, {scrape():.0f} ms")
        again = Reader(url, load_settings(file))
        begin = perf_counter()
        again.read()
        print(f"  first reading of another process {(perf_counter() - begin) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
