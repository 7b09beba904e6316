"""What people who log in feel while something else works on their store.

A load of logins at a fixed rate runs from a process of its own, before and during each way of removing what is dead.
Latency is counted from when an operation was due, so that a stall is felt by everything that had to wait for it
(coordinated omission, Tene 2013). Each way gets fresh data.
"""

import argparse
import gc
import json
import multiprocessing as mp
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks.quantiles import quantile

Operation = Callable[[int], object]
"""One operation of a login; the argument counts them."""
Login = Callable[[str, int], AbstractContextManager[Operation]]
"""Connects to a URL whose store holds so many records."""
Way = Callable[[str], int]
"""Removes what has expired; returns how many records it went through (where it reads all) or removed."""


@dataclass(frozen=True, slots=True)
class Round:
    """Milliseconds that operations took before and during one way, and how fast that was."""

    calm: list[float]
    busy: list[float]
    per_second: float
    seconds: float


def arguments(description: str | None, records: int, rate: int = 200) -> argparse.ArgumentParser:
    """Those that every one of these benchmarks has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=records)
    parser.add_argument("--rate", type=int, default=rate, help="operations a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load before each way starts")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ways", nargs="+", help="only the ways that begin like one of these")
    return parser


def _load(login: Login, url: str, records: int, rate: int, stop: Any, out: Any) -> None:
    felt: list[tuple[float, float]] = []
    with login(url, records) as operation:
        for number in range(50):
            operation(number)
        # A collection in the middle of an operation would be counted as the store's.
        gc.disable()
        began = time.perf_counter()
        number = 0
        while not stop.is_set():
            due = began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            operation(number)
            felt.append((due, (time.perf_counter() - due) * 1000))
            number += 1
    out.send(felt)


def one_round(login: Login, url: str, way: Way, given: argparse.Namespace) -> Round:
    """The load alone for `given.seconds`, then with the way beside it."""
    context = mp.get_context("spawn")
    stop, (receive, send) = context.Event(), context.Pipe(duplex=False)
    load = context.Process(target=_load, args=(login, url, given.records, given.rate, stop, send))
    load.start()
    time.sleep(given.seconds + 2)
    started = time.perf_counter()
    done = way(url)
    took = time.perf_counter() - started
    # What the load felt is only in order once it has caught up with its own schedule.
    threading.Timer(0.5, stop.set).start()
    felt = receive.recv()
    load.join()
    # perf_counter is the machine's own clock, the same in both processes.
    calm = [ms for due, ms in felt if started - given.seconds < due < started - 0.2]
    busy = [ms for due, ms in felt if started <= due <= started + took]
    return Round(calm, busy or [0.0], done / took, took)


def only_cpu(_: str) -> int:
    """Nothing done to the store: a process that computes for 0.5 ms in every 2.5 ms, as a cleaner does.

    What it adds to the latency is this machine's scheduling, which no cleaner on it can be without.
    """
    ends = time.perf_counter() + 8
    while (now := time.perf_counter()) < ends:
        while time.perf_counter() < now + 0.0005:
            pass
        time.sleep(0.002)
    return 0


def compare(
    bench: str, login: Login, ways: dict[str, Way], fresh: Callable[[], str], given: argparse.Namespace
) -> None:
    """Print a table and a machine-readable line for each way."""
    heads = ("p50", "p99", "max", "p50 before", "p99 before", "p99 ratio")
    print(f"{'way':<30}{'records/s':>12}{'s':>7}" + "".join(f"{head:>12}" for head in heads))
    for name, way in ways.items():
        if given.ways and not name.startswith(tuple(given.ways)):
            continue
        rounds = [one_round(login, fresh(), way, given) for _ in range(given.repeat)]
        figures = {
            "per_s": statistics.median(r.per_second for r in rounds),
            "seconds": statistics.median(r.seconds for r in rounds),
            "p50_ms": statistics.median(quantile(r.busy, 0.5) for r in rounds),
            "p99_ms": statistics.median(quantile(r.busy, 0.99) for r in rounds),
            "max_ms": statistics.median(max(r.busy) for r in rounds),
            "p50_before_ms": statistics.median(quantile(r.calm, 0.5) for r in rounds),
            "p99_before_ms": statistics.median(quantile(r.calm, 0.99) for r in rounds),
            "p99_ratio": statistics.median(quantile(r.busy, 0.99) / quantile(r.calm, 0.99) for r in rounds),
        }
        rate, seconds, *cells = figures.values()
        print(f"{name:<30}{rate:>12,.0f}{seconds:>7.1f}" + "".join(f"{value:>12.2f}" for value in cells), flush=True)
        line = {"bench": bench, "way": name, "repeat": len(rounds), "rate": given.rate, "records": given.records}
        print(json.dumps(line | {key: round(value, 3) for key, value in figures.items()}), file=sys.stderr)
