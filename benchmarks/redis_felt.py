"""What people who log in feel while a backlog is removed from their Redis.

    python -m benchmarks.redis_felt [--keys 300000] [--rate 200] [--seconds 4] [--repeat 3]

A load of logins at a fixed rate (read a session, refresh it with HSET and EXPIREAT, write one) runs from a process of
its own, before and during three ways of removing the half that has expired: ours with its default settings, SCAN with
1000 keys a page, pipelined reads and UNLINK without a pause, and one script over everything. Latency is counted from
when the operation was due, so that a stall is felt by everything that had to wait for it.
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
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.quantiles import quantile
from benchmarks.redis_ways import PATTERN, execute, fill, ours, pipelined
from cleanup_pipeline.embedded.servers import start_redis

EVERYTHING = """
local now, at, removed = tonumber(redis.call('TIME')[1]), '0', 0
repeat
  local page = redis.call('SCAN', at, 'MATCH', ARGV[1], 'COUNT', 1000, 'TYPE', 'hash')
  at = page[1]
  for _, key in ipairs(page[2]) do
    if tonumber(redis.call('HGET', key, 'expires_at')) < now then removed = removed + redis.call('UNLINK', key) end
  end
until at == '0'
return removed
"""
WAYS: dict[str, Callable[[str, Redis], int]] = {
    "ours": lambda url, _: ours(url, defaults=True),
    "naive batches": lambda _, client: pipelined(client, 1000),
    "one script": lambda _, client: int(execute(client, "EVAL", EVERYTHING, 0, PATTERN)),
}


def logins(url: str, keys: int, rate: int, stop: Any, out: Any) -> None:
    """Operations at a fixed rate until `stop` is set; sends the latencies in ms, with the time each was due."""
    chance = random.Random(1)
    kept = [n for n in range(min(keys, 100_000)) if n % 100 >= 50]
    felt: list[tuple[float, float]] = []
    with Redis.from_url(url) as client:
        execute(client, "PING")
        began = time.perf_counter()
        number = 0
        while not stop.is_set():
            due = began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            n = chance.choice(kept)
            key = f"session:user{n % 50_000:08d}:device{n:010d}"
            match number % 3:
                case 0:
                    execute(client, "HGETALL", key)
                case 1:
                    dies = int(time.time()) + 86_400
                    execute(client, "HSET", key, "expires_at", dies)
                    execute(client, "EXPIREAT", key, dies)
                case _:
                    execute(client, "SET", f"refresh_index:{number}", key, "EX", 86_400)
            felt.append((due, (time.perf_counter() - due) * 1000))
            number += 1
    out.send((time.perf_counter(), felt))


def one_round(url: str, client: Redis, name: str, given: argparse.Namespace) -> dict[str, Any]:
    fill(client, given.keys, 50)
    stop, (receive, send) = mp.Event(), mp.Pipe(duplex=False)
    load = mp.Process(target=logins, args=(url, given.keys, given.rate, stop, send))
    load.start()
    began = time.perf_counter()
    time.sleep(given.seconds)
    started = time.perf_counter()
    removed = WAYS[name](url, client)
    took = time.perf_counter() - started
    # What the load felt is only in order once it has caught up with its own schedule.
    threading.Timer(0.5, stop.set).start()
    # perf_counter is the machine's own clock, the same in both processes.
    _, felt = receive.recv()
    load.join()
    calm = [ms for due, ms in felt if began + 1.0 < due < started - 0.2]
    busy = [ms for due, ms in felt if started <= due <= started + took]
    return {"calm": calm, "busy": busy or [0.0], "per_s": given.keys / took, "seconds": took, "removed": removed}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--keys", type=int, default=300_000)
    arguments.add_argument("--rate", type=int, default=200, help="operations a second")
    arguments.add_argument("--seconds", type=float, default=4.0, help="of load before each way starts")
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = start_redis(Path(folder), options=("--save", ""))
        try:
            with Redis.from_url(server.url) as client:
                heads = ("keys/s", "removed/s", "p50 ms", "p99 ms", "max ms", "p50 before", "p99 before", "p99 ratio")
                print(f"{'way':<16}" + "".join(f"{head:>12}" for head in heads))
                for name in WAYS:
                    show(name, [one_round(server.url, client, name, given) for _ in range(given.repeat)])
        finally:
            server.stop()


def show(name: str, rounds: list[dict[str, Any]]) -> None:
    def median(pick: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(pick(one) for one in rounds)

    figures = {
        "keys_per_s": median(lambda r: r["per_s"]),
        "removed_per_s": median(lambda r: r["removed"] / r["seconds"]),
        "p50_ms": median(lambda r: quantile(r["busy"], 0.5)),
        "p99_ms": median(lambda r: quantile(r["busy"], 0.99)),
        "max_ms": median(lambda r: max(r["busy"])),
        "p50_before_ms": median(lambda r: quantile(r["calm"], 0.5)),
        "p99_before_ms": median(lambda r: quantile(r["calm"], 0.99)),
    }
    figures["p99_ratio"] = figures["p99_ms"] / figures["p99_before_ms"]
    print(f"{name:<16}" + "".join(f"{value:>12,.2f}" for value in figures.values()))
    line = {"bench": "redis_felt", "way": name, "repeat": len(rounds)}
    print(json.dumps(line | {key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
