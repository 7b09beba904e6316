"""What may go wrong while a pass runs. Each fault is a function that does it and answers how it is undone.

A fault is run at a chunk of traffic that the seed chooses, and undone after a time that the seed chooses, or at the
end of the pass.
"""

import signal
from collections.abc import Callable
from typing import Any

from tests.faults.bench.disk_faults import LEDGER_DISK, POSTGRES_DISK, REDIS_DISK
from tests.faults.bench.fault import Fault, Scene, Undo
from tests.faults.bench.mongo_faults import MONGO
from tests.faults.bench.postgres_faults import POSTGRES
from tests.faults.bench.proxy import DOWN, UP
from tests.faults.bench.redis_faults import CLUSTER, REDIS, SENTINEL

# The network.


def _cut(*, reset: bool) -> Callable[[Scene], None]:
    return lambda scene: scene.host.proxy.cut(reset=reset)


def _way(name: str, **values: Any) -> Callable[[Scene], Undo]:
    def do(scene: Scene) -> Undo:
        for at, value in values.items():
            setattr(scene.host.proxy.ways[name], at, value)
        return scene.host.proxy.heal

    return do


def _refuse(scene: Scene) -> Undo:
    scene.host.proxy.refusing = True
    scene.host.proxy.cut(reset=True)
    return scene.host.proxy.heal


NETWORK = [
    Fault("nothing", lambda _: None),
    Fault("cut_rst", _cut(reset=True), weight=5, strikes=4),
    Fault("cut_fin", _cut(reset=False), weight=4, strikes=4),
    Fault("refused", _refuse, weight=3),
    Fault("slow_up", _way(UP, delay=0.02), weight=1),
    Fault("slow_down", _way(DOWN, delay=0.02), weight=1),
    Fault("throttled_up", _way(UP, rate=20_000.0), weight=1),
    Fault("throttled_down", _way(DOWN, rate=20_000.0), weight=1),
    Fault("held_up", _way(UP, held=True), weight=2, longest=0.8),
    Fault("held_down", _way(DOWN, held=True), weight=2, longest=0.8),
    Fault("held_up_for_long", _way(UP, held=True), weight=1, longest=9.0),
    Fault("held_down_for_long", _way(DOWN, held=True), weight=1, longest=9.0),
    Fault("blackhole_up", _way(UP, dropped=True), weight=2, longest=1.0),
    Fault("blackhole_down", _way(DOWN, dropped=True), weight=3, longest=1.0),
]


# The processes.


def _kill_worker(scene: Scene) -> None:
    scene.worker.process.kill()


def _stop_worker(scene: Scene) -> Undo:
    scene.worker.send(signal.SIGSTOP)
    return lambda: scene.worker.send(signal.SIGCONT)


def _interrupt_worker(scene: Scene) -> None:
    scene.worker.send(signal.SIGTERM)


def _freeze(scene: Scene) -> Undo:
    scene.host.freeze()
    return scene.host.thaw


def _kill_store(scene: Scene) -> Undo:
    scene.host.kill()
    return scene.host.start_again


PROCESSES = [
    Fault("worker_kill_9", _kill_worker, weight=1, worker=True),
    Fault("worker_sigstop", _stop_worker, weight=1, worker=True, longest=2.5),
    Fault("worker_sigterm", _interrupt_worker, weight=1, worker=True),
    Fault("store_sigstop", _freeze, weight=2),
    Fault("store_kill_9", _kill_store, weight=1, longest=0.1, rewinds=True),
]

FAULTS = {
    "postgres": [*NETWORK, *PROCESSES, *POSTGRES, *POSTGRES_DISK, *LEDGER_DISK],
    "redis": [*NETWORK, *PROCESSES, *REDIS, *REDIS_DISK, *LEDGER_DISK],
    # A store that is frozen is a primary that is down.
    "sentinel": [*NETWORK, *(f for f in PROCESSES if not f.name.startswith("store")), *SENTINEL],
    "cluster": [*NETWORK, *(f for f in PROCESSES if not f.rewinds), *CLUSTER],
    # SecantusDB forgets what it has not yet written to disk, the writers' as well.
    "mongo": [*NETWORK, *(fault for fault in PROCESSES if not fault.rewinds), *MONGO, *LEDGER_DISK],
}
__all__ = ["FAULTS", "Fault", "Scene"]
