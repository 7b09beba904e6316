"""What may be gone, must be gone, must stay: an account of every record, kept by those who write them.

It knows nothing of the product, its predicates or its statements. Each record belongs to one writer, so that what is
written here is in the order in which the store did it. All instants are epoch seconds by the clock of this machine,
which is the stores' too.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

NEVER = None
"""The expiry of what never dies."""


@dataclass
class Record:
    """One identifier. It may be created again after it was deleted: `made` and `removed` count that."""

    expiry: float | None
    touched: float
    """When a writer last changed it, or tried to."""
    there: bool = True
    made: int = 1
    removed: int = 0
    """By its own writer."""
    loose: int = 0
    """Times that nobody can say who removed it: a writer's answer was lost, or the store's own TTL was due."""


@dataclass
class Verdict:
    """What a look at the store came to."""

    live_lost: list[str] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    lost: int = 0
    """Records that the cleaner removed, for all that is known."""
    loose: int = 0
    """How many of those somebody else may have removed."""


class Oracle:
    """The account. `grace` is in seconds."""

    def __init__(self, grace: float = 0.0) -> None:
        self.grace = grace
        self.records: dict[str, Record] = {}
        self.wrong: list[str] = []
        """What may not happen and did, in words."""
        self._last_start = 0.0
        self._running = False
        self._lock = threading.Lock()
        self.refreshed = self.written = 0

    # What the pass may do.

    def pass_begins(self) -> None:
        """From now on a pass runs; its cutoff lies between now and its end."""
        with self._lock:
            self._running = True

    def pass_ends(self) -> None:
        with self._lock:
            self._running, self._last_start = False, time.time()

    def _latest_cutoff(self) -> float:
        # No cutoff lies later than the end of the pass, nor later than now.
        with self._lock:
            return (time.time() if self._running else self._last_start) - self.grace

    def may_be_gone(self, record: Record) -> bool:
        """Whether a pass may have removed it by now."""
        return record.expiry is not None and record.expiry < self._latest_cutoff()

    # What writers did.

    def created(self, name: str, expiry: float | None) -> None:
        old = self.records.get(name)
        self.written += 1
        if old is None:
            self.records[name] = Record(expiry, time.time())
            return
        if old.there:
            self._gone(name, old, "was there and could be created again")
        old.expiry, old.touched, old.there = expiry, time.time(), True
        old.made += 1

    def exists(self, name: str) -> None:
        """It could not be created because it is there."""
        record = self.records[name]
        if not record.there:
            self.wrong.append(f"{name} came back")
            record.there = True

    def changed(self, name: str, expiry: float | None) -> None:
        record = self.records[name]
        self.written += 1
        self.refreshed += 1
        if not record.there:
            self.wrong.append(f"{name} came back and was changed")
        record.expiry, record.touched, record.there = expiry, time.time(), True

    def missing(self, name: str) -> None:
        """A writer looked for it and it was not there."""
        record = self.records[name]
        if record.there:
            self._gone(name, record, "was missed by its writer")
        record.touched = time.time()

    def deleted(self, name: str, *, loose: bool = False) -> None:
        """By its writer; `loose`: or by the pass."""
        record = self.records[name]
        self.written += 1
        record.there, record.touched = False, time.time()
        record.removed += 1
        record.loose += loose

    def _gone(self, name: str, record: Record, how: str) -> None:
        record.there = False
        if not self.may_be_gone(record):
            left = "never" if record.expiry is None else f"{record.expiry - self._latest_cutoff():+.3f} s"
            self.wrong.append(f"{name} {how}: it was to live ({left})")

    # What is there.

    def judge(self, found: Mapping[str, float | None], *, clean_since: float | None = None) -> Verdict:
        """Compare with the whole store, while no writer writes.

        `clean_since` is when a pass began that ended well: what was dead and left alone since then must be gone.
        """
        verdict = Verdict()
        for name, record in self.records.items():
            there = name in found
            if there and not record.there:
                self.wrong.append(f"{name} came back")
            elif there and found[name] != record.expiry:
                self.wrong.append(f"{name} has another expiry than was written")
            elif record.there and not there:
                if not self.may_be_gone(record):
                    verdict.live_lost.append(name)
                record.there = False
            if there and clean_since is not None and self.was_dead(record, clean_since):
                verdict.survivors.append(name)
            verdict.lost += record.made - record.removed - there
            verdict.loose += record.loose
        self.wrong += [f"{name} is nobody's" for name in found if name not in self.records]
        self.wrong += [f"{name} was live and is gone" for name in verdict.live_lost]
        return verdict

    def was_dead(self, record: Record, at: float) -> bool:
        """Whether it was past its grace at that instant and nobody has touched it since."""
        return record.expiry is not None and record.expiry < at - self.grace and record.touched < at
