"""How fast expired rows leave PostgreSQL: ours beside one unbounded DELETE (the limit) and what others do.

    python -m benchmarks.postgres_sweep [--rows 1000000] [--expired 5 30 70] [--order expiry random] [--no-index]
                                        [--ways one ours] [--repeat 3]

Every way works on a fresh copy of the same data, on the same server, in turn. A way is named by how it begins.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.postgres_data import Bench, Case, bench
from benchmarks.postgres_ways import WAYS, Done


def compare(at: Bench, case: Case, ways: dict[str, Callable[[str], Done]], repeat: int) -> None:
    """Print a table and a machine-readable line for each way."""
    at.fill(case)
    print(f"\n{case.title}")
    print(f"{'way':<32}{'rows/s':>12}{'of limit':>10}{'longest ms':>12}{'last/first':>12}  strategy")
    runs: dict[str, list[Done]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, way in ways.items():
            try:
                runs[name].append(way(at.fresh()))
            except ImportError as missing:
                print(f"{name}: left out, {missing}", file=sys.stderr)
    limit: float | None = None
    for name, done in runs.items():
        if done:
            limit = show(case, name, done, limit)


def show(case: Case, name: str, runs: list[Done], limit: float | None) -> float:
    rate = statistics.median(done.deleted / done.seconds for done in runs)
    longest = statistics.median(done.longest for done in runs) * 1000
    growth = statistics.median(drift(done.batches) for done in runs)
    limit = limit or rate
    print(
        f"{name:<32}{rate:>12,.0f}{rate / limit:>9.2f}x{longest:>12.1f}{growth:>11.2f}x  {runs[0].strategy}".replace(
            "nanx", "    "
        )
    )
    line = {
        "bench": "postgres_sweep", "rows": case.rows, "expired": case.expired, "correlated": case.correlated,
        "index": case.index, "way": name, "repeat": len(runs), "deleted": runs[0].deleted, "per_s": round(rate),
        "of_limit": round(rate / limit, 3), "longest_ms": round(longest, 1), "strategy": runs[0].strategy,
    }  # fmt: skip
    print(json.dumps(line), file=sys.stderr)
    return limit


def drift(batches: tuple[float, ...]) -> float:
    """How long a batch of the last tenth took beside one of the first tenth, both as means."""
    tenth = len(batches) // 10
    if tenth < 2:
        return float("nan")
    return statistics.mean(batches[-tenth:]) / statistics.mean(batches[:tenth])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--expired", type=int, nargs="+", default=[5, 30, 70], help="per cent")
    arguments.add_argument("--order", nargs="+", choices=("expiry", "random"), default=["expiry", "random"])
    arguments.add_argument("--no-index", action="store_true", help="without an index on the expiry")
    arguments.add_argument("--ways", nargs="+", help="only the ways that begin like one of these")
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    ways = {n: w for n, w in WAYS.items() if not given.ways or n.startswith(tuple(given.ways))}
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder) / "postgres") as at:
        for order in given.order:
            for expired in given.expired:
                compare(at, Case(given.rows, expired, order == "expiry", not given.no_index), ways, given.repeat)


if __name__ == "__main__":
    main()
