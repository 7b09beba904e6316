"""`python -m tests.faults.bench.soak`: passes over all three stores every few seconds, with faults, for an hour.

The passes run in a process of their own that does nothing else, so that its memory, file handles, threads and
connections are the product's. It prunes its ledger and its Dagster once a minute, as the product does once a day, with
a retention of two minutes. CLEANUP_SOAK_SECONDS, CLEANUP_SOAK_EVERY and CLEANUP_SOAK_FILE (the CSV) change it.

The verdict compares medians: of the last tenth of the passes and of the tenth that follows the first ten minutes (or
the first third, where that is shorter). CLEANUP_SOAK_LEAK=bytes makes each pass keep so many, to see that it can fail.
"""

import contextlib
import csv
import gc
import multiprocessing
import os
import random
import signal
import statistics
import sys
import threading
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from tests.faults.bench.disk import why_not
from tests.faults.bench.faults import FAULTS, Fault, Scene
from tests.faults.bench.hosts import Host, scratch
from tests.faults.bench.side import Side
from tests.faults.bench.stores import SIDES, wait_until

MEGABYTE = 1 << 20
WARM_UP = 600.0
GROWTH = {"rss": 5 * MEGABYTE, "handles": 3, "threads": 3, "connections": 0, "ledger": 5 * MEGABYTE}
"""How much each may have grown."""
NEW, LIVE = {"postgres": 300, "redis": 300, "mongo": 30}, 50
SHAPES = {"postgres": "sweep", "redis": "hash", "mongo": "walk"}

SETTINGS = """
cleanup: {batch_size: 50, pause: 2ms, max_shards: 2,
  brakes: {unusual_count: off, unusual_share: off, restored: off, changed: false, unreadable: false}}
stores:
  postgres: {type: postgres, url: "${POSTGRES}", lease: 1s, statement_timeout: 2s, connect_timeout: 2s}
  redis: {type: redis, url: "${REDIS}", lease: 1s, statement_timeout: 2s, connect_timeout: 2s}
  mongo: {type: mongo, url: "${MONGO}", lease: 1s, statement_timeout: 2s, connect_timeout: 2s}
targets:
  postgres: {store: postgres, pass: sessions, table: web, expires: {column: e}, mode: delete}
  redis: {store: redis, pass: sessions, keys: 's:*', key_type: hash, expires: {hash_field: e, unit: ms}, mode: delete}
  mongo: {store: mongo, pass: sessions, collection: docs, expires: {field: e}, mode: delete}
"""


@dataclass(frozen=True)
class Sample:
    """After one pass. Sizes in bytes."""

    seconds: float
    """Since the soak began."""
    fault: str
    status: str
    deleted: int
    rss: int
    handles: int
    threads: int
    connections: int
    """To the stores, that the pass left open."""
    ledger: int


def clean(folder: Path, urls: dict[str, str], pipe: Any) -> None:
    """The process of the passes: one for each word that comes, until none comes any more."""
    import dagster as dg

    from cleanup_pipeline.dagster_defs.build import build_defs
    from cleanup_pipeline.dagster_defs.closing import close_pass
    from cleanup_pipeline.dagster_defs.prune_runs import prune_runs
    from cleanup_pipeline.ledger import open_ledger
    from cleanup_pipeline.settings import load_settings

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    file = folder / "cleanup.yaml"
    file.write_text(SETTINGS)
    settings = load_settings(file, urls)
    job = build_defs(settings).resolve_job_def("clean_sessions")
    (folder / "dagster").mkdir()
    kept: list[bytearray] = []
    leak, pruned = int(os.environ.get("CLEANUP_SOAK_LEAK", "0")), time.monotonic()
    me = psutil.Process()
    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        while pipe.recv():
            result = job.execute_in_process(
                instance=instance,
                run_config={
                    "resources": {"pass_options": {"config": {"dry_run": False}}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                tags={"cleanup/pass": "sessions"},
                raise_on_error=False,
            )
            report = close_pass(instance, result.run_id, "sessions", settings.targets_of("sessions"))
            del result
            if time.monotonic() - pruned > 60:
                pruned = time.monotonic()
                prune_runs(instance, datetime.now(UTC) - timedelta(minutes=2))
                ledger = open_ledger(os.environ["CLEANUP_LEDGER_URL"])
                ledger.prune(timedelta(minutes=2))
                ledger.close()
            kept.append(bytearray(os.urandom(leak)))
            gc.collect()
            pipe.send(
                {
                    "status": str(report.status),
                    "deleted": sum(target.deleted for target in report.targets),
                    "rss": me.memory_info().rss,
                    "handles": me.num_fds(),
                    "threads": me.num_threads(),
                }
            )


def _usable(fault: Fault) -> bool:
    """Whether it strikes a pass in a process that goes on, and a server that stays as it is."""
    if fault.worker or fault.rewinds or fault.prepare or fault.ledger or "for_long" in fault.name:
        return False
    return not fault.disk or why_not() is None


class Soak:
    """Three servers, the process of the passes, and what was seen."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.hosts = {store: Host(store, folder / store) for store in SHAPES}
        self.sides: dict[str, Side] = {
            store: SIDES[store](lambda host=self.hosts[store]: host.url, shape) for store, shape in SHAPES.items()
        }
        self.samples: list[Sample] = []
        self.wrong: list[str] = []
        self.lost = 0
        urls = {store.upper(): host.cleaner_url for store, host in self.hosts.items()}
        self.ledger = folder / "ledger.db"
        os.environ["CLEANUP_LEDGER_URL"] = f"sqlite:///{self.ledger}"
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=clean, args=(folder, urls, theirs))
        self.process.start()
        self.live = {f"live{n}": round(time.time() + 86400, 3) for n in range(LIVE)}
        for side in self.sides.values():
            side.make()
            side.fill(self.live)
        self.began = time.monotonic()

    def one(self, number: int) -> Sample:
        dies = round(time.time() - 3600, 3)
        for store, side in self.sides.items():
            side.fill({f"d{number}-{n}": dies for n in range(NEW[store])})
        store = self.chance.choice(list(self.hosts))
        usable = [fault for fault in FAULTS[store] if _usable(fault)]
        fault: Fault = self.chance.choice(usable)
        self._during(store, fault)
        for name, host in self.hosts.items():
            if not wait_until(lambda host=host: host.proxy.open == 0, 5):
                self.wrong.append(f"pass {number}: {host.proxy.open} connections to {name} are left")
        for name, side in self.sides.items():
            found = side.all()
            lost = [each for each, expiry in self.live.items() if found.get(each) != expiry]
            if lost:
                self.wrong.append(f"pass {number}: {name} lost {len(lost)} that live")
        said = self._said
        size = sum(each.stat().st_size for each in self.folder.glob("ledger.db*"))
        sample = Sample(
            seconds=round(time.monotonic() - self.began, 1),
            fault=f"{store}/{fault.name}",
            connections=sum(host.proxy.open for host in self.hosts.values()),
            ledger=size,
            **said,
        )
        self.samples.append(sample)
        return sample

    def _during(self, store: str, fault: Fault) -> None:
        host, undo, over = self.hosts[store], [], threading.Event()
        scene = Scene(host, SHAPES[store], self.chance, [], [f"d0-{n}" for n in range(10)])

        def strike() -> None:
            with contextlib.suppress(Exception):
                back = fault.do(scene)
                if back is not None:
                    undo.append(back)
                    timer.start()

        def later() -> None:
            over.wait(min(fault.longest, 1.0))
            while undo:
                undo.pop()()

        timer = threading.Thread(target=later, daemon=True)
        host.proxy.at(self.chance.choice(["up", "down"]), self.chance.randint(1, 60), strike)
        self.pipe.send(True)
        if not self.pipe.poll(300):
            raise AssertionError(f"a pass with {store}/{fault.name} did not end")
        self._said = self.pipe.recv()
        over.set()
        host.proxy.disarm()
        if timer.ident is not None:
            timer.join(30)
        host.proxy.heal()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(False)
        self.process.join(30)
        if self.process.is_alive():
            self.process.kill()
        for host in self.hosts.values():
            host.close()


def verdict(samples: list[Sample], seconds: float) -> list[str]:
    """One line for each figure; those that grew too much begin with GREW."""
    warm = min(WARM_UP, seconds / 3)
    after = [sample for sample in samples if sample.seconds >= warm]
    tenth = max(3, len(after) // 10)
    lines = []
    for name, most in GROWTH.items():
        first = statistics.median(getattr(sample, name) for sample in after[:tenth])
        last = statistics.median(getattr(sample, name) for sample in after[-tenth:])
        grew = last - first
        word = "GREW" if grew > most else "flat"
        shown = [f"{value / MEGABYTE:.1f} MB" if name in {"rss", "ledger"} else f"{value:g}" for value in (first, last)]
        lines.append(f"{word} {name}: {shown[0]} after {warm:.0f} s, {shown[1]} at the end")
    return lines


def main() -> int:
    seconds = float(os.environ.get("CLEANUP_SOAK_SECONDS", "3600"))
    every = float(os.environ.get("CLEANUP_SOAK_EVERY", "3"))
    seed = int(os.environ.get("CLEANUP_SEED", "20261126"))
    file = Path(os.environ.get("CLEANUP_SOAK_FILE", "soak.csv"))
    with scratch() as folder, file.open("w", newline="") as text:
        soak = Soak(folder, seed)
        rows = csv.DictWriter(text, [each.name for each in fields(Sample)])
        rows.writeheader()
        try:
            number = 0
            while time.monotonic() - soak.began < seconds:
                start = time.monotonic()
                sample = soak.one(number)
                rows.writerow(asdict(sample))
                text.flush()
                number += 1
                time.sleep(max(0.0, every - (time.monotonic() - start)))
        finally:
            soak.close()
    lines = verdict(soak.samples, seconds)
    statuses = {name: sum(s.status == name for s in soak.samples) for name in {s.status for s in soak.samples}}
    deleted = sum(sample.deleted for sample in soak.samples)
    print(f"{len(soak.samples)} passes in {seconds:.0f} s, seed {seed}: {statuses}, {deleted} records deleted")
    print("\n".join([*lines, *soak.wrong[:20]]))
    return 1 if soak.wrong or any(line.startswith("GREW") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
