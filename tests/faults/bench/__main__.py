"""`python -m tests.faults.bench STORE`: CLEANUP_ROUNDS rounds from CLEANUP_SEED on; `make faults` does all three.

A round is repeated by its own seed and one round: CLEANUP_SEED=... CLEANUP_ROUNDS=1. CLEANUP_FAULT names one fault.
"""

import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.faults.bench.hosts import scratch
from tests.faults.bench.judge import WrongError
from tests.faults.bench.rounds import LeftOutError, Round, bench_at

FIRST_SEED = 20261126


def main(store: str) -> int:
    rounds = int(os.environ.get("CLEANUP_ROUNDS", "500"))
    seed = int(os.environ.get("CLEANUP_SEED", str(FIRST_SEED)))
    only = os.environ.get("CLEANUP_FAULT")
    done: list[Round] = []
    wrong: list[str] = []
    left_out: list[int] = []
    began = time.monotonic()
    with scratch() as folder, bench_at(store, Path(folder), only) as bench:
        for number in range(rounds):
            try:
                one = bench.round(seed + number)
            except LeftOutError as fault:
                left_out.append(seed + number)
                print(f"left out: seed {seed + number} ({bench.trying}): {fault}", flush=True)
                continue
            except WrongError as fault:
                at = bench.trying
                wrong.append(f"seed {seed + number} ({at}): {fault}")
                print(f"WRONG {wrong[-1]}", flush=True)
                bench.close()
                bench.__post_init__()
                continue
            done.append(one)
            if number % 50 == 49:
                bench.passes.forget()
            if os.environ.get("CLEANUP_VERBOSE") or number % 50 == 49:
                print(
                    f"{number + 1:4} seed {one.seed} {one.shape}/{one.fault} x{one.struck}: {one.status},"
                    f" lost {one.lost}, deleted {one.deleted}, unsure of {one.unsure}, {one.seconds:.1f} s",
                    flush=True,
                )
    table(store, done)
    print(
        f"{store}: {len(done) + len(wrong)} rounds, {len(left_out)} left out, seeds {seed} to {seed + rounds - 1},"
        f" {time.monotonic() - began:.0f} s:"
        f" {len(wrong)} wrong; {sum(r.lost for r in done)} records lost to passes,"
        f" {sum(r.deleted for r in done)} in the ledger, unsure of {sum(r.unsure for r in done)},"
        f" done twice {sum(r.back for r in done)};"
        f" {sum(r.writes for r in done)} writes beside, {dict(Counter(r.status for r in done))}"
    )
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def table(store: str, done: list[Round]) -> None:
    print(f"{'fault':26} {'rounds':>6} {'struck':>6} {'green':>6} {'red':>6} {'lost':>8} {'unsure':>6}")
    for fault in sorted({r.fault for r in done}):
        mine = [r for r in done if r.fault == fault]
        green = sum(r.status == "succeeded" for r in mine)
        print(
            f"{fault:26} {len(mine):6} {sum(r.struck for r in mine):6} {green:6} {len(mine) - green:6}"
            f" {sum(r.lost for r in mine):8} {sum(r.unsure for r in mine):6}"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
