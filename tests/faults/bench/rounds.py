"""One round: records, writers, a pass, a fault in the middle of it, the oracle's verdict; then a clean pass."""

import contextlib
import random
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.bench.disk import why_not
from tests.faults.bench.faults import FAULTS, Fault, Scene
from tests.faults.bench.hosts import Host
from tests.faults.bench.judge import Judge, WrongError
from tests.faults.bench.oracle import Oracle
from tests.faults.bench.passes import Ended, Pace, Passes
from tests.faults.bench.proxy import DOWN, UP
from tests.faults.bench.redis_hosts import ClusterHost, SentinelHost
from tests.faults.bench.stores import SHAPES, SIDES
from tests.faults.bench.writers import DAY, HOUR, Writer, whole

RECORDS = {
    "postgres": (200, 900),
    "redis": (200, 900),
    "mongo": (60, 160),
    "sentinel": (200, 600),
    "cluster": (200, 900),
}
BATCH = {"postgres": (20, 50), "redis": (20, 50), "mongo": (10, 20), "sentinel": (10, 30), "cluster": (20, 50)}

CLEAN_PASSES = 4
"""How many may be needed where the machine is so busy that a pass sleeps through its lease of a second."""


class LeftOutError(Exception):
    """Why this round cannot be run here."""


@dataclass
class Round:
    """What one round did, for the summary."""

    seed: int
    store: str
    shape: str
    fault: str
    struck: int
    status: str
    deleted: int = 0
    lost: int = 0
    unsure: int = 0
    by_dagster: bool = False
    writes: int = 0
    refreshed: int = 0
    retries: int = 0
    back: int = 0
    """Deletions that the store forgot and that were done twice."""
    seconds: float = 0.0


@dataclass
class Bench:
    """A server, its proxy, and a place for passes. `usual` is how much traffic a pass of a shape makes."""

    store: str
    folder: Path
    only: str | None = None
    usual: dict[str, dict[str, int]] = field(default_factory=dict)

    trying: str = ""
    started: int = 0
    dagster: bool | None = None
    """Whether passes are runs of Dagster's; None: one in five."""

    def __post_init__(self) -> None:
        # What a round that went wrong left behind is not there for the next one.
        self.started += 1
        self.host = _host(self.store, self.folder / f"server{self.started}")
        self.passes = Passes(self.folder / f"passes{self.started}")
        self.passes.another_ledger()

    def close(self) -> None:
        self.host.close()
        self.passes.close()

    def round(self, seed: int, shape: str | None = None) -> Round:
        """Raises WrongError."""
        began = time.monotonic()
        chance = random.Random(seed)
        chosen = chance.choice(SHAPES[self.store])
        fault = self._fault(chance)
        shape = shape or chosen
        self.trying = f"{self.store} {shape}/{fault.name}"
        if fault.disk and (why := why_not()) is not None:
            raise LeftOutError(why)
        try:
            done = _Round(self, chance, shape, fault).run(seed)
        except WrongError:
            raise
        except Exception as fault_:
            last = traceback.extract_tb(fault_.__traceback__)[-1]
            raise WrongError(f"{fault_!r} at {Path(last.filename).name}:{last.lineno}") from fault_
        done.seconds = time.monotonic() - began
        return done

    def _fault(self, chance: random.Random) -> Fault:
        known = FAULTS[self.store]
        chosen = chance.choices(known, [fault.weight for fault in known])[0]
        if self.only is not None:
            chosen = next(fault for fault in known if fault.name == self.only)
        return chosen


class _Round:
    def __init__(self, bench: Bench, chance: random.Random, shape: str, fault: Fault) -> None:
        self.bench, self.chance, self.shape, self.fault = bench, chance, shape, fault
        self.host, self.store = bench.host, bench.store
        self.side = SIDES[bench.store](lambda: bench.host.url, shape)
        by_dagster = chance.random() < 0.2
        self.by_dagster = by_dagster if bench.dagster is None else bench.dagster
        if fault.ledger:
            self.by_dagster = True
        self.oracle = Oracle()
        self.judge = Judge(bench.host, self.side, bench.passes, self.oracle, fault, shape)
        self.undo: list[Any] = []
        self.timers: list[threading.Thread] = []
        self.struck = 0
        self.lock = threading.Lock()
        self.over = threading.Event()

    def run(self, seed: int) -> Round:
        chance = self.chance
        least, most = RECORDS[self.store]
        records = _records(chance, chance.randint(least, most))
        pace = Pace(batch=chance.randint(*BATCH[self.store]), pause=chance.choice(["0s", "0s", "2ms"]), lease="1s")
        self.side.make()
        self.side.fill(records)
        for name, expiry in records.items():
            self.oracle.created(name, expiry)
        self.oracle.written = 0
        with self.bench.passes.ledger() as ledger:
            before = ledger.totals("it")
        writers = self._writers(list(records))
        self.scene = Scene(
            self.host,
            self.shape,
            chance,
            writers,
            [n for n, e in records.items() if e and e < time.time()],
            ledger_disk=self.bench.passes.disk,
        )
        if self.fault.prepare is not None:
            self.fault.prepare(self.scene)
        for writer in writers:
            writer.start()
        ended, start = self._pass_with_fault(pace)
        for writer in writers:
            writer.stop()
        self.judge.nothing_left_open(pace)
        green = ended is not None and ended.report["status"] == "succeeded"
        found = self.side.all()
        verdict = self.oracle.judge(found, clean_since=start if green and not self.fault.forgets else None)
        self.judge.nothing_wrong(verdict, "the pass with the fault")
        if ended is not None:
            self.judge.told_the_truth(ended, found, start, first=True)
        first = self.judge.ledger(before, verdict)
        again = time.time()
        self.oracle.pass_begins()
        self.host.proxy.count()
        clean = self._clean_pass(pace)
        key = f"{self.shape}/{self.by_dagster}"
        self.bench.usual[key] = self.host.proxy.count()
        for _ in range(CLEAN_PASSES - 1):
            # A machine that stood still for longer than the lease lasts: red, as it should be, and tried again.
            if not _lost_its_lease(clean):
                break
            clean = self._clean_pass(pace)
        self.oracle.pass_ends()
        if clean.report["status"] != "succeeded":
            raise WrongError(f"the clean pass ended {clean.report['status']}: {_errors(clean)}")
        self.judge.nothing_left_open(pace)
        found = self.side.all()
        verdict = self.oracle.judge(found, clean_since=again)
        self.judge.nothing_wrong(verdict, "the clean pass")
        self.judge.told_the_truth(clean, found, again)
        back = self.judge.ledger(before, verdict)
        del first
        with self.bench.passes.ledger() as ledger:
            totals = ledger.totals("it")
        self.side.close()
        if totals.at_most is None:
            # From here on the sum would be unknown.
            self.bench.passes.another_ledger()
        return Round(
            by_dagster=self.by_dagster or self.fault.worker,
            seed=seed,
            store=self.store,
            shape=self.shape,
            fault=self.fault.name,
            struck=self.struck,
            status="killed" if ended is None else ended.report["status"],
            deleted=totals.deleted - before.deleted,
            lost=verdict.lost,
            unsure=0 if totals.at_most is None else totals.at_most - before.at_most - totals.deleted + before.deleted,
            writes=self.oracle.written,
            refreshed=self.oracle.refreshed,
            retries=ended.report["targets"][0]["retries"] if ended and ended.report["targets"] else 0,
            back=back,
        )

    # The pass.

    def _pass_with_fault(self, pace: Pace) -> tuple[Ended | None, float]:
        start = time.time()
        self.oracle.pass_begins()
        passes, url = self.bench.passes, self.host.cleaner_url
        self._arm()
        try:
            if self.fault.worker:
                self.scene.worker = passes.worker(self.store, self.shape, url, pace)
                ended = self.scene.worker.end()
            else:
                ended = self._pass(pace)
        finally:
            self.over.set()
            self.host.proxy.disarm()
            for timer in self.timers:
                timer.join(60)
            self._undo_all()
            self.host.drop_copy()
            self.host.proxy.heal()
        self.oracle.pass_ends()
        if self.fault.ledger:
            self.bench.passes.late()
        if self.fault.worker:
            # Nobody listens at the other end, but an answer may be on its way.
            self.host.proxy.cut(reset=True)
        return ended, start

    def _clean_pass(self, pace: Pace) -> Ended:
        if not self.fault.worker:
            return self._pass(pace)
        # It has to find the run that was lost, which is on that folder's Dagster.
        ended = self.bench.passes.worker(self.store, self.shape, self.host.cleaner_url, pace).end()
        assert ended is not None
        return ended

    def _pass(self, pace: Pace) -> Ended:
        run = self.bench.passes.run if self.by_dagster else self.bench.passes.quick
        return run(self.store, self.shape, self.host.cleaner_url, pace)

    def _arm(self) -> None:
        usual = self.bench.usual.get(f"{self.shape}/{self.by_dagster}", {UP: 40, DOWN: 40})
        way = self.chance.choice([UP, DOWN])
        chunk = self.chance.randint(1, max(2, usual[way]))
        seconds = self.chance.uniform(0.02, self.fault.longest)

        def strike() -> None:
            if self.over.is_set():
                return
            self.struck += 1
            undo = self.fault.do(self.scene)
            if undo is not None:
                with self.lock:
                    self.undo.append(undo)
                timer = threading.Thread(target=self._undo_later, args=(seconds,), daemon=True)
                self.timers.append(timer)
                timer.start()
            if self.struck < self.fault.strikes:
                self.host.proxy.at(way, max(1, chunk // 3), strike)

        def safely() -> None:
            try:
                strike()
            except Exception as fault:  # noqa: BLE001 - in the proxy's thread; raised when the round is judged
                self.oracle.wrong.append(f"the fault could not be done: {fault!r}")

        self.host.proxy.at(way, chunk, safely)

    def _undo_later(self, seconds: float) -> None:
        # A fault is over after its time, also when the pass is over: it may wait for just that.
        self.over.wait(seconds) if seconds < 2 else time.sleep(min(seconds, 10))
        self._undo_all()

    def _undo_all(self) -> None:
        with self.lock:
            mine, self.undo = self.undo, []
            for undo in mine:
                try:
                    undo()
                except Exception as fault:  # noqa: BLE001 - in a thread; raised when the round is judged
                    self.oracle.wrong.append(f"the fault could not be undone: {fault!r}")

    def _writers(self, names: list[str]) -> list[Writer]:
        mine: list[list[str]] = [[], []]
        for number, name in enumerate([*names, *(f"n{n}" for n in range(len(names) // 5))]):
            mine[number % 2].append(name)
        backdated = self.chance.random() < 0.25
        gap = 0.006 if self.store == "mongo" else 0.003
        return [
            Writer(
                self.side.another(), self.oracle, share, random.Random(self.chance.random()), gap=gap,
                own_ttl=self.store in {"redis", "sentinel", "cluster"}, backdated=backdated,
            )
            for share in mine
        ]  # fmt: skip


def _host(store: str, folder: Path) -> Host:
    match store:
        case "sentinel":
            return SentinelHost(folder)
        case "cluster":
            return ClusterHost(folder)
        case _:
            return Host(store, folder)


def _records(chance: random.Random, count: int) -> dict[str, float | None]:
    now = time.time()
    kinds = {
        "dead": lambda: whole(now - chance.uniform(1, DAY)),
        "live": lambda: whole(now + chance.uniform(600, HOUR)),
        "never": lambda: None,
    }
    chosen = chance.choices(list(kinds), [70, 25, 5], k=count)
    return {f"r{n}": kinds[kind]() for n, kind in enumerate(chosen)}


def _lost_its_lease(ended: Ended) -> bool:
    return any(target["stop_reason"] == "lease_lost" for target in ended.report["targets"])


def _errors(ended: Ended) -> list[str | None]:
    return [target["error"] or target["why"] for target in ended.report["targets"]]


@contextlib.contextmanager
def bench_at(store: str, folder: Path, only: str | None = None) -> Any:
    made = Bench(store, folder, only)
    try:
        yield made
    finally:
        made.close()
