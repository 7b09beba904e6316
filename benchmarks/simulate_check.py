"""What the simulator says of a pass, beside what the pass takes.

    python -m benchmarks.simulate_check [--postgres 1000000 10000000] [--redis 1000000] [--small 100000]
                                        [--pause 30ms 0] [--order random] [--repeat 3] [--within 20]

Small passes and large ones take turns, each a whole process of `cleanup-pipeline run sessions` on data of its own:
PostgreSQL rows of 250 bytes, 70 % expired; Redis hashes, half of them expired. The simulator knows the ledger of the
small ones, how many records the large ones find, what PostgreSQL keeps in memory, and nothing else. Compared are the
medians of the whole process, from its start to its end, and of deleting alone. Exits with 1 where either is off by more
than `--within` per cent.

Both have 30 s in which a pass may count, and 5 minutes a shard, as the settings have it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import psutil
from pydantic import ByteSize, TypeAdapter
from redis import Redis

from benchmarks import redis_ways
from benchmarks.postgres_data import SERVER, Bench, Case, bench
from cleanup_pipeline.embedded.servers import start_redis
from cleanup_pipeline.ledger import open_ledger
from cleanup_pipeline.ledger.seen import SeenPass, seen_passes
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.simulation.from_settings import Said, scenario_of
from cleanup_pipeline.simulation.simulate import simulate_once

PROGRAM = str(Path(sys.executable).parent / "cleanup-pipeline")
SETTINGS = """
cleanup: {{pause: {pause}, census_timeout: 30s, brakes: {{unusual_share: off, unusual_count: off}}}}
stores:
  store: {{type: {type}, url: "{url}"}}
targets:
  records: {{store: store, mode: delete, {rule}}}
"""
RULES = {
    "postgres": "table: django_session, expires: {column: expire_date}",
    "redis": '"keys": "session:*:*", expires: {hash_field: expires_at, unit: s}',
}
EXPIRED = {"postgres": 70, "redis": 50}


@dataclass(slots=True)
class Place:
    """One working folder, with a ledger of its own."""

    folder: Path
    walls: list[float] = field(default_factory=list[float])

    @property
    def ledger(self) -> str:
        return f"sqlite:///{self.folder / 'ledger.db'}"

    def run(self, settings: str) -> None:
        """One pass, as a user starts it."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "cleanup.yaml").write_text(settings)
        environ = {**os.environ, "CLEANUP_LEDGER_URL": self.ledger}
        began = time.perf_counter()
        done = subprocess.run(
            [PROGRAM, "run", "sessions", "--json"], cwd=self.folder, env=environ, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        self.walls.append(time.perf_counter() - began)
        if done.returncode:
            sys.exit(f"the pass failed: {done.stderr}{done.stdout}")

    def seen(self) -> list[SeenPass]:
        """What its ledger knows."""
        ledger = open_ledger(self.ledger)
        try:
            return list(seen_passes(ledger, datetime.now(UTC) - timedelta(days=1)))
        finally:
            ledger.close()


def before_and_after(place: Place) -> float:
    """Seconds of a process in which no step of the pass goes on, as a median."""
    inside = [((each.pass_ended or each.pass_started) - each.pass_started).total_seconds() for each in place.seen()]
    return statistics.median(wall - run for wall, run in zip(place.walls, inside, strict=True))


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be filled with so many records."""

    kind: str
    url: Callable[[], str]
    fill: Callable[[int], None]
    of: str


@contextmanager
def postgres(order: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder) / "postgres") as at:
        filled: list[int] = []

        def fill(count: int) -> None:
            if filled != [count]:
                at.fill(Case(count, EXPIRED["postgres"], order == "expiry"))
                filled[:] = [count]
            at.fresh()

        yield Server("postgres", lambda: at.url, fill, f"PostgreSQL {server_version(at)}")


def server_version(at: Bench) -> str:
    import psycopg

    with psycopg.connect(f"{at.base}/postgres") as connection:
        return str(connection.info.parameter_status("server_version")).split(" ", 1)[0]


@contextmanager
def redis() -> Iterator[Server]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = start_redis(Path(folder), options=("--save", ""))
        stack.callback(server.stop)
        client = stack.enter_context(Redis.from_url(server.url))
        info = client.info("server")
        named = info.get("valkey_version") or info["redis_version"]  # type: ignore[index,union-attr]
        fill = lambda count: redis_ways.fill(client, count, EXPIRED["redis"])  # noqa: E731
        yield Server("redis", lambda: server.url, fill, f"Valkey {named}")


def compare(server: Server, sizes: list[int], pause: str, given: argparse.Namespace) -> bool:
    """A line for each size; whether all of them are near enough."""
    good = True
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            small, large = Place(Path(folder) / "small"), Place(Path(folder) / "large")
            for _ in range(given.repeat):
                for place, count in ((small, given.small), (large, size)):
                    server.fill(count)
                    text = SETTINGS.format(pause=pause, type=server.kind, url=server.url(), rule=RULES[server.kind])
                    place.run(text)
            good = judge(server, small, large, size, pause, given) and good
    return good


def judge(server: Server, small: Place, large: Place, size: int, pause: str, given: argparse.Namespace) -> bool:
    """Prints one line."""
    expired = size * EXPIRED[server.kind] // 100
    memory = float(TypeAdapter(ByteSize).validate_python(SERVER["shared_buffers"]))
    said = Said(rate=0.0, backlog=expired, records=size - expired, oldest=86_400.0, memory=memory)
    known = small.seen()
    settings = load_settings(small.folder / "cleanup.yaml", {})
    scenario = scenario_of(settings, known, datetime.now(UTC), said={"records": said})
    around = before_and_after(small)
    scenario = replace(scenario, executor=replace(scenario.executor, start_seconds=around))
    told = simulate_once(scenario, "sessions")
    wall = statistics.median(large.walls)
    deleting = statistics.median(each.deleting for each in large.seen())
    off = [told.seconds / wall - 1, told.deleting / deleting - 1]
    good = all(abs(each) * 100 <= given.within for each in off)
    print(
        f"{server.kind:<9}{size:>11,} {pause:>5}{told.seconds:>10.2f}{wall:>9.2f}{off[0]:>+7.0%}"
        f"{told.deleting:>10.2f}{deleting:>9.2f}{off[1]:>+7.0%}  {'good' if good else 'OFF'}",
        flush=True,
    )
    line = {
        "bench": "simulate_check", "store": server.kind, "records": size, "pause": pause, "repeat": given.repeat,
        "said_s": round(told.seconds, 3), "took_s": [round(each, 3) for each in large.walls],
        "said_deleting_s": round(told.deleting, 3), "took_deleting_s": [round(e.deleting, 3) for e in large.seen()],
        "small_s": [round(each, 3) for each in small.walls], "small_deleting_s": [e.deleting for e in small.seen()],
        "strategy": [{e.strategy for e in place.seen()}.pop() for place in (small, large)],
        "batches": [told.batches, large.seen()[0].batches], "cost": str(scenario.targets[0].batching.cost),
        "own": scenario.targets[0].batching.own, "shard": scenario.targets[0].shard_seconds,
        "look": [scenario.targets[0].look_fixed, scenario.targets[0].look_per_record],
        "executor": str(scenario.executor),
    }  # fmt: skip
    print(json.dumps(line), file=sys.stderr, flush=True)
    return good


def machine() -> str:
    """What this was measured on."""
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{each:.1f}" for each in psutil.getloadavg())
    return (
        f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}; load {load} at the start;"
        f" Python {platform.python_version()}, Dagster {version('dagster')}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postgres", type=int, nargs="*", default=[1_000_000, 10_000_000], help="sizes; none: skip")
    arguments.add_argument("--redis", type=int, nargs="*", default=[1_000_000])
    arguments.add_argument("--small", type=int, default=100_000, help="what the simulator learns from")
    arguments.add_argument("--pause", nargs="+", default=["30ms", "0"])
    arguments.add_argument("--order", choices=("random", "expiry"), default="random", help="of PostgreSQL's rows")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--within", type=float, default=20.0, help="per cent")
    given = arguments.parse_args()
    good = True
    print(machine())
    for sizes, serve in ((given.postgres, lambda: postgres(given.order)), (given.redis, redis)):
        if not sizes:
            continue
        with serve() as server:
            print(f"\n{server.of}, learned from {given.small:,} records; s, medians of {given.repeat}")
            print(f"{'store':<9}{'records':>11} {'pause':>5}{'run: said':>10}{'took':>9}{'off':>7}", end="")
            print(f"{'del.: said':>10}{'took':>9}{'off':>7}")
            for pause in given.pause:
                good = compare(server, sizes, pause, given) and good
    print(f"\n{'all' if good else 'NOT all'} within {given.within:g} %")
    sys.exit(not good)


if __name__ == "__main__":
    main()
