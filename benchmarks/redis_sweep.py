"""How fast expired sessions leave Redis: ours beside bare SCAN (the limit), a key at a time, and SCAN + pipeline.

    python -m benchmarks.redis_sweep [--url redis://... --flush] [--keys 1000000] [--expired 50] [--repeat 3]

Without --url against an embedded Valkey. With it the database of that URL is flushed, hence --flush. Rates are keys
looked at per second. A key at a time is tried on a sample of the keys. The longest script is what the server's own
SLOWLOG says, without the way there and back.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.quantiles import quantile
from benchmarks.redis_ways import COUNT, a_key_at_a_time, bare_scan, execute, fill, ours, pipelined
from cleanup_pipeline.embedded.servers import start_redis

SAMPLE = 5000
SLOW_MICROSECONDS = 200


def scripts(client: Redis) -> list[float]:
    """Milliseconds of the slowest scripts since the log was emptied, the longest last."""
    get: Callable[..., Any] = client.slowlog_get
    entries = get(100_000)
    return sorted(e["duration"] / 1000 for e in entries if bytes(e["command"]).upper().startswith(b"EVAL"))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url")
    arguments.add_argument("--flush", action="store_true", help="yes, empty the database of --url")
    arguments.add_argument("--keys", type=int, default=1_000_000)
    arguments.add_argument("--expired", type=int, default=50, help="per cent")
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    if given.url and not given.flush:
        sys.exit("--url: the database is emptied; add --flush if that is what you want")
    with ExitStack() as stack:
        url = given.url
        if url is None:
            server = start_redis(Path(stack.enter_context(tempfile.TemporaryDirectory())), options=("--save", ""))
            stack.callback(server.stop)
            url = server.url
        client = stack.enter_context(Redis.from_url(url))
        client.config_set("slowlog-log-slower-than", SLOW_MICROSECONDS)
        client.config_set("slowlog-max-len", 100_000)
        measure(client, url, given)


def measure(client: Redis, url: str, given: argparse.Namespace) -> None:
    ways: dict[str, Callable[[], int]] = {
        "bare SCAN": lambda: bare_scan(client),
        "ours": lambda: ours(url) and given.keys,
        "ours, with pauses": lambda: ours(url, defaults=True) and given.keys,
        "SCAN + pipeline": lambda: pipelined(client) and given.keys,
        "a key at a time": lambda: a_key_at_a_time(client, SAMPLE),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    took: dict[str, list[list[float]]] = {name: [] for name in ways if name.startswith("ours")}
    for _ in range(given.repeat):
        for name, way in ways.items():
            # Bare SCAN leaves everything as it was.
            if name != "ours":  # which comes right after bare SCAN
                fill(client, given.keys, given.expired)
            execute(client, "SLOWLOG", "RESET")
            began = time.perf_counter()
            looked = way()
            rates[name].append(looked / (time.perf_counter() - began))
            if name in took:
                took[name].append(scripts(client) or [0.0])
                left = sum(1 for _ in client.scan_iter(count=1000))
                if left != given.keys - given.keys * given.expired // 100:
                    sys.exit(f"ours left {left} keys")
    limit, single = statistics.median(rates["bare SCAN"]), statistics.median(rates["a key at a time"])
    print(f"{'way':<18}{'keys/s':>12}{'of bare SCAN':>14}{'of a key at a time':>20}{'longest script ms':>19}{'p99':>7}")
    for name, values in rates.items():
        rate = statistics.median(values)
        script = statistics.median(times[-1] for times in took.get(name, [[0.0]]))
        tail = statistics.median(quantile(times, 0.99) for times in took.get(name, [[0.0]]))
        cells = f"{script:>19.2f}{tail:>7.2f}" if name in took else ""
        print(f"{name:<18}{rate:>12,.0f}{rate / limit:>13.2f}x{rate / single:>19.1f}x{cells}")
        line = {"bench": "redis_sweep", "way": name, "keys": given.keys, "expired": given.expired, "count": COUNT}
        figures = {"per_s": rate, "of_bare_scan": rate / limit, "of_single": rate / single}
        if name in took:
            figures |= {"longest_script_ms": script, "p99_script_ms": tail}
        rounded = {key: round(value, 3) for key, value in figures.items()}
        print(json.dumps(line | {"repeat": given.repeat} | rounded), file=sys.stderr)


if __name__ == "__main__":
    main()
