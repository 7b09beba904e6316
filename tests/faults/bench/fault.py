"""What a fault is, and what it may touch."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.bench.disk import Disk
from tests.faults.bench.hosts import Host
from tests.faults.bench.writers import Writer

Undo = Callable[[], None]


@dataclass
class Scene:
    """What a fault may touch."""

    host: Host
    shape: str
    chance: random.Random
    writers: list[Writer]
    dead: list[str]
    ledger_disk: Disk | None = None
    worker: Any = None
    """Set where the pass runs in a process of its own."""


@dataclass(frozen=True)
class Fault:
    name: str
    do: Callable[[Scene], Undo | None]
    weight: int = 2
    strikes: int = 1
    """How often it may come in one pass."""
    longest: float = 0.6
    """Seconds until it is undone, at most."""
    worker: bool = False
    """The pass runs in a process of its own."""
    rewinds: bool = False
    """The store may lose the last of what it said was deleted: those records come back, and are deleted twice."""
    disk: bool = False
    """It needs disks of its own, which cannot be made everywhere."""
    ledger: bool = False
    """It strikes the ledger: the pass is Dagster's, and what it did may be written down later."""
    forgets: bool = False
    """What a primary deleted after its replica took over is there again, and it could not know that when it said so."""
    prepare: Callable[[Scene], None] | None = None
    shapes: tuple[str, ...] = ()
