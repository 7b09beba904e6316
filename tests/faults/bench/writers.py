"""Logins, refreshes, revocations and logouts beside the pass: each writer owns its records and tells the oracle."""

import random
import threading
import time
from dataclasses import dataclass, field

from tests.faults.bench.oracle import Oracle
from tests.faults.bench.side import RefusedError, Side, UnknownError
from tests.faults.bench.stores import wait_until

HOUR, DAY = 3600.0, 86400.0


def whole(seconds: float) -> float:
    """An expiry as every store can hold it: to the millisecond."""
    return round(seconds, 3)


@dataclass
class Writer:
    """A thread with a connection of its own and a share of the records."""

    side: Side
    oracle: Oracle
    names: list[str]
    chance: random.Random
    gap: float = 0.001
    """Seconds between two writes."""
    own_ttl: bool = False
    """The store removes what has a TTL by itself: nothing is written that dies within the round."""
    backdated: bool = False
    """Revoked records died yesterday: some behind the pass's back, which then says that they are left."""
    stopped: threading.Event = field(default_factory=threading.Event)
    quiet: threading.Event = field(default_factory=threading.Event)
    resting: threading.Event = field(default_factory=threading.Event)
    fault: BaseException | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True, name="writer")
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self.quiet.clear()
        self._thread.join(60)
        self.side.close()
        if self.fault is not None:
            raise self.fault
        if self._thread.is_alive():
            raise AssertionError("a writer did not end")

    def _run(self) -> None:
        try:
            while not self.stopped.is_set():
                if self.quiet.is_set():
                    self.resting.set()
                    time.sleep(0.002)
                    continue
                self.resting.clear()
                self._write()
                time.sleep(self.gap)
        except BaseException as fault:  # noqa: BLE001 - raised where the writer is stopped
            self.fault = fault

    def _write(self) -> None:
        chance, name = self.chance, self.chance.choice(self.names)
        soon = 1.0 if self.own_ttl else chance.choice([0.05, 0.3, 1.0])
        what = chance.choices(["refresh", "soon", "revoke", "delete", "create", "forever"], [50, 10, 15, 8, 15, 2])[0]
        now = time.time()
        match what:
            case "refresh":
                self._change(name, whole(now + HOUR))
            case "soon":
                self._change(name, whole(now + (HOUR if self.own_ttl else soon)))
            case "revoke":
                self._change(name, self._dead(now))
            case "forever":
                self._change(name, None)
            case "delete":
                self._delete(name)
            case _:
                self._create(name, whole(now + HOUR) if chance.random() < 0.5 else self._dead(now))

    def _dead(self, now: float) -> float:
        return whole(now - (DAY if self.backdated else 0.002))

    def _change(self, name: str, expiry: float | None) -> None:
        if name not in self.oracle.records:
            return
        try:
            done = self.side.change(name, expiry)
        except RefusedError:
            return
        except UnknownError:
            there, has = self._look(name)
            if not there:
                self.oracle.missing(name)
            elif has == expiry:
                self.oracle.changed(name, expiry)
            return
        if done:
            self.oracle.changed(name, expiry)
        else:
            self.oracle.missing(name)

    def _delete(self, name: str) -> None:
        if name not in self.oracle.records:
            return
        record = self.oracle.records[name]
        try:
            done = self.side.delete(name)
        except RefusedError:
            return
        except UnknownError:
            there, _ = self._look(name)
            if not there and record.there:
                self.oracle.deleted(name, loose=self.oracle.may_be_gone(record))
            return
        if done:
            self.oracle.deleted(name)
        else:
            self.oracle.missing(name)

    def _create(self, name: str, expiry: float | None) -> None:
        known = self.oracle.records.get(name)
        try:
            done = self.side.create(name, expiry)
        except RefusedError:
            return
        except UnknownError:
            there, has = self._look(name)
            if there and has == expiry and (known is None or known.expiry != expiry):
                self.oracle.created(name, expiry)
            elif not there and known is not None and known.there:
                self.oracle.missing(name)
            elif not there and expiry is not None and expiry < time.time():
                # Made and removed since, or never made: nobody knows.
                self.oracle.created(name, expiry)
                self.oracle.records[name].loose += 1
                self.oracle.records[name].there = False
            return
        if done:
            self.oracle.created(name, expiry)
        elif known is not None:
            self.oracle.exists(name)

    def _look(self, name: str) -> tuple[bool, float | None]:
        found: list[tuple[bool, float | None]] = []

        def read() -> bool:
            found.append(self.side.read(name))
            return True

        if not wait_until(read, 40):
            raise AssertionError("the store did not come back")
        return found[-1]


def quiet(writers: list[Writer]) -> None:
    """Let all of them rest, after what they are writing."""
    for writer in writers:
        writer.resting.clear()
        writer.quiet.set()
    for writer in writers:
        writer.resting.wait(30)


def go_on(writers: list[Writer]) -> None:
    for writer in writers:
        writer.quiet.clear()
