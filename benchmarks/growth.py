"""Whether a longer backlog makes batches slower or the cleaner larger: a whole drain at each size, in a new process.

    python -m benchmarks.growth [--rows 100000 1000000 10000000] [--order expiry random]

70 % of the rows have expired. Memory is the most that the process ever held (getrusage); batches are compared by the
mean of the last tenth of them beside that of the first tenth.
"""

import argparse
import json
import resource
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.postgres_data import Case, bench
from benchmarks.postgres_sweep import drift
from benchmarks.postgres_ways import ours


def drain(url: str, answer: Any) -> None:
    """Remove everything, and send what it took with the process's largest size in bytes."""
    done = ours(url)
    answer.send((done, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    arguments.add_argument("--order", nargs="+", choices=("expiry", "random"), default=["expiry", "random"])
    given = arguments.parse_args()
    context = get_context("spawn")
    print(f"{'rows':>12}{'order':>9}{'deleted':>12}{'batches':>9}{'peak MiB':>10}{'last/first':>12}{'longest ms':>12}")
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder) / "postgres") as at:
        for order in given.order:
            for rows in given.rows:
                at.fill(Case(rows, 70, order == "expiry"))
                receive, send = context.Pipe(duplex=False)
                child = context.Process(target=drain, args=(at.fresh(), send))
                child.start()
                done, peak = receive.recv()
                child.join()
                last = drift(done.batches)
                print(
                    f"{rows:>12,}{order:>9}{done.deleted:>12,}{len(done.batches):>9,}{peak / 2**20:>10.1f}"
                    f"{last:>11.2f}x{done.longest * 1000:>12.1f}"
                )
                line = {"bench": "growth", "rows": rows, "order": order, "deleted": done.deleted, "peak_bytes": peak}
                line |= {"last_to_first": round(last, 3), "longest_ms": round(done.longest * 1000, 1)}
                print(json.dumps(line), file=sys.stderr)


if __name__ == "__main__":
    main()
