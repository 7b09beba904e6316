"""Cleaners that keep what they remove, each in a process of its own that dies in the middle of it."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults.cleaner import CONTEXT, Stores

KEY = "0123456789abcdefghijklmnopqrstuvwxyz0123"


def environ_of(stores: Stores) -> dict[str, str]:
    return {
        "CLEANUP_POSTGRES_URL": stores.postgres,
        "CLEANUP_REDIS_URL": stores.redis,
        "CLEANUP_MONGO_URL": stores.mongo,
        "CLEANUP_QUARANTINE_KEY": KEY,
        "CLEANUP_REMOVAL_KEY": KEY,
    }


def start(folder: Path, stores: Stores, name: str, run: str, die_after: int, at: str = "hold") -> Any:
    """A cleaner of one target. It kills itself right after it kept (`hold`), or right after it deleted (`gone`), its
    `die_after`th batch; 0: it does not."""
    process = CONTEXT.Process(target=_clean, args=(folder, environ_of(stores), name, run, die_after, at))
    process.start()
    return process


def _clean(folder: Path, environ: dict[str, str], name: str, run: str, die_after: int, at: str) -> None:
    from cleanup_pipeline.engine.limits import limits_of
    from cleanup_pipeline.engine.loop import Watch, clean_shard
    from cleanup_pipeline.engine.scan import scan
    from cleanup_pipeline.keeping.handover import Keeping
    from cleanup_pipeline.keeping.opening import quarantine_folder
    from cleanup_pipeline.keeping.quarantine import QuarantineWriter, Room
    from cleanup_pipeline.model.lease import Lease
    from cleanup_pipeline.settings import load_settings
    from cleanup_pipeline.stores.open import open_store

    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings = load_settings(folder / "cleanup.yaml", environ)
    [target] = [each for each in settings.targets if each.name == name]
    store = open_store(settings.stores[target.store])
    plan = scan(store, target, dry_run=False)

    class Dying(Keeping):
        held = 0

        def hold(self, lot: Any) -> None:
            super().hold(lot)
            self.held += 1
            if self.held == die_after and at == "hold":
                os.kill(os.getpid(), signal.SIGKILL)

        def gone(self, lot: Any, which: Any = None, *, perhaps: Any = ()) -> None:
            if self.held == die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            super().gone(lot, which, perhaps=perhaps)

    for shard in plan.work.shards:
        writer = QuarantineWriter(
            quarantine_folder(settings.quarantine, folder),
            settings.quarantine.keys[0],
            run,
            name,
            shard.index,
            Room(10**9, 0),
        )
        keeping = Dying(target, None, writer)
        keeping.begin()
        kept = replace(target, handover=keeping)
        watch = Watch(lambda _, keeping=keeping: keeping.close())  # type: ignore[misc]
        limits = limits_of(target)
        clean_shard(store, kept, plan.work, shard, plan.cutoff, limits, watch, lease=Lease(run, shard.index, "here"))
    store.close()
