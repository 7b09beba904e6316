"""`python -m tests.faults.bench.refreshes [STORE ...]`: CLEANUP_REFRESHES refreshes of records that are about to die,
while passes sweep them one after the other; `make refreshes` does ten million in all.

A process refreshes; this one sweeps. Refreshes travel many in a statement or a script, each a change of one record that
the store answers for: it was there, or it was gone. Who was gone must have been dead by the cutoff of a sweep that had
begun; who answered must be there at the end, with just that expiry, unless he died later. What sweeps counted is what
was lost.
"""

import multiprocessing
import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pymongo
import redis

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import ShardOutcome
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.stores.open import open_store
from tests.faults.bench.hosts import scratch
from tests.faults.bench.passes import Pace, write_settings
from tests.faults.bench.side import instant
from tests.faults.bench.stores import SIDES

SHARES = {"redis/score": 0.7, "redis/hash": 0.03, "postgres/sweep": 0.13, "postgres/walk": 0.14}
MONGO = {"mongo/walk": 1_000}
AT_ONCE = {"postgres/sweep": 1000, "postgres/walk": 1000, "redis/score": 1000, "redis/hash": 400, "mongo/walk": 20}
RECORDS = {
    "postgres/sweep": 10_000,
    "postgres/walk": 10_000,
    "redis/score": 20_000,
    "redis/hash": 4_000,
    "mongo/walk": 100,
}
BETWEEN_SECONDS = 0.05
"""Between two sweeps: without it they take the server's time, and refreshes come too late."""
LEAST_ROUND_SECONDS = {"redis/hash": 1.0}
"""A sweep asks the server once for each hundred keys: who is refreshed sooner than it comes round never meets it."""
ROUNDS_ALIVE = 8.0
"""A refresh gives a random life of up to so many times what it takes to come round to the same record again."""

MANY = """
local there, n = {}, 0
for ms, name in string.gmatch(ARGV[1], '(%d+) (%S+)') do
  n = n + 1
  if ARGV[2] == 'score' then
    there[n] = redis.call('ZADD', 'z:all', 'XX', 'CH', ms, name)
  elseif redis.call('EXISTS', 's:' .. name) == 1 then
    redis.call('HSET', 's:' .. name, 'e', ms)
    there[n] = 1
  else
    there[n] = 0
  end
end
return table.concat(there)
"""
"""Refreshes one after the other, with a flag for each: what a pipeline does, for less of the client's time."""


class Application:
    """Refreshes records in bulk, each by itself; says of each whether it was there."""

    def __init__(self, store: str, shape: str, url: str) -> None:
        self.store, self.shape = store, shape
        if store == "postgres":
            self.db = psycopg.connect(url, autocommit=True, options="-c synchronous_commit=off")
        elif store == "redis":
            self.cache = redis.Redis.from_url(url)
            self.many = self.cache.script_load(MANY)
        else:
            self.docs = pymongo.MongoClient(url, tz_aware=True).get_default_database()["docs"]

    def refresh(self, numbers: "np.ndarray[Any, Any]", expiries: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        if self.store == "postgres":
            there = np.isin(numbers, self._in_postgres(numbers.tolist(), expiries.tolist()))
        elif self.store == "redis":
            moments = np.rint(expiries * 1000).astype(np.int64).tolist()
            words = " ".join(f"{ms} r{number}" for number, ms in zip(numbers.tolist(), moments, strict=True))
            answer = self.cache.execute_command("EVALSHA", self.many, 0, words, self.shape)
            there = np.frombuffer(answer, dtype=np.uint8) == ord("1")
        else:
            there = np.array(
                [
                    self.docs.update_one({"_id": f"r{n}"}, {"$set": {"e": instant(value)}}).matched_count > 0
                    for n, value in zip(numbers.tolist(), expiries.tolist(), strict=True)
                ]
            )
        return there

    def _in_postgres(self, numbers: list[int], expiries: list[float]) -> list[int]:
        while True:
            try:
                row = self.db.execute(
                    "WITH done AS (UPDATE web SET e = to_timestamp(n.e) FROM unnest(%s::int[], %s::float8[]) n (id, e)"
                    " WHERE web.id = 'r' || n.id RETURNING n.id) SELECT array_agg(id) FROM done",
                    (numbers, expiries),
                ).fetchone()
            except psycopg.errors.DeadlockDetected:
                # This server looks for them after 5 ms, before the sweep gives way; none of it was done.
                continue
            return list(row[0] or []) if row else []


def refresh(
    place: str,
    url: str,
    total: int,
    seed: int,
    cutoff: "Synchronized[float]",
    said: "multiprocessing.Queue[Any]",
    begun: Any,
) -> None:
    """The application: refresh until it was done `total` times, then say what was found."""
    store, shape = place.split("/")
    chance, count, at_once = np.random.default_rng(seed), RECORDS[place], AT_ONCE[place]
    side, application = SIDES[store](lambda: url, shape), Application(store, shape, url)
    has = np.round(time.time() + chance.uniform(0, 1, count), 3)
    side.fill({f"r{n}": value for n, value in enumerate(has.tolist())})
    begun.set()
    made, done, gone, saved, lives = count, 0, 0, 0, 1.0
    wrong: list[str] = []
    while done < total:
        began = time.monotonic()
        for some in np.array_split(chance.permutation(count), count // at_once):
            before = cutoff.value
            new = np.round(time.time() + chance.uniform(0, lives, len(some)), 3)
            # Never what it is already: ZADD says only whether it was changed.
            new = np.where(np.abs(new - has[some]) < 0.0005, new + 0.001, new)
            time.sleep(LEAST_ROUND_SECONDS.get(place, 0.0) * at_once / count)
            there = application.refresh(some, new)
            after = cutoff.value
            old = has[some]
            done += int(there.sum())
            saved += int((there & (old < before)).sum())
            wrong += [f"r{n} was to live, and is gone" for n in some[~there & (old >= after)].tolist()]
            has[some[there]] = new[there]
            lost = some[~there]
            if len(lost):
                gone += len(lost)
                made += len(lost)
                has[lost] = np.round(time.time() + chance.uniform(0, lives, len(lost)), 3)
                side.fill({f"r{n}": has[n] for n in lost.tolist()})
        lives = ROUNDS_ALIVE * (time.monotonic() - began)
    side.close()
    found = {f"r{n}": value for n, value in enumerate(has.tolist())}
    said.put({"has": found, "made": made, "done": done, "gone": gone, "saved": saved, "wrong": wrong})


def race(place: str, folder: Path, total: int, seed: int) -> bool:
    """Print what came of it; whether all was right."""
    from tests.faults.bench.hosts import Host

    store, shape = place.split("/")
    host = Host(store, folder / place.replace("/", "-"))
    side = SIDES[store](lambda: host.url, shape)
    side.make()
    file = write_settings(folder / "settings", store, shape, Pace(batch=1000, lease="30s", patience="10s"))
    settings = load_settings(file, {"BENCH_URL": host.url})
    [target] = settings.targets_of("sessions")
    cleaner = open_store(settings.stores["it"])
    context = multiprocessing.get_context("spawn")
    cutoff = context.Value("d", 0.0)
    said: multiprocessing.Queue[Any] = context.Queue()
    begun = context.Event()
    process = context.Process(target=refresh, args=(place, host.url, total, seed, cutoff, said, begun))
    process.start()
    begun.wait(120)
    began = time.monotonic()
    deleted = sweeps = 0
    answer: dict[str, Any] | None = None
    red: list[str] = []
    while answer is None:
        plan = scan(cleaner, target, dry_run=False)
        cutoff.value = plan.cutoff.timestamp()
        for shard in plan.work.shards:
            kept: list[ShardOutcome] = []
            lease = Lease(f"sweep{sweeps}", shard.index, "here", "")
            limits = replace(limits_of(target), pause=timedelta(0))
            clean_shard(cleaner, target, plan.work, shard, plan.cutoff, limits, Watch(kept.append), lease=lease)
            deleted += kept[0].tally.deleted
            if kept[0].stop_reason is not StopReason.EXHAUSTED or kept[0].tally.uncertain:
                red.append(f"{kept[0].stop_reason} {kept[0].error}")
        sweeps += 1
        time.sleep(BETWEEN_SECONDS)
        if not said.empty():
            answer = said.get()
        elif process.exitcode not in {None, 0}:
            raise AssertionError("the application ended")
    process.join()
    seconds = time.monotonic() - began
    # What is there is what was written, but for what died before the last cutoff.
    found, has, wrong = side.all(), answer["has"], answer["wrong"]
    for name, expiry in has.items():
        if name not in found and expiry >= cutoff.value:
            wrong.append(f"{name} was to live until {expiry:.3f} and is gone")
        elif name in found and abs((found[name] or 0) - expiry) > 0.0005:
            wrong.append(f"{name} has {found[name]}, not {expiry}")
    lost = answer["made"] - len(found)
    if lost != deleted:
        wrong.append(f"sweeps counted {deleted}, the store lost {lost}")
    wrong += red
    print(
        f"{place}: {answer['done']} refreshes of {len(has)} records in {seconds:.0f} s, seed {seed}, {sweeps} sweeps;"
        f" {answer['saved']} came when the record was past the cutoff of a sweep under way and kept it,"
        f" {lost} were too late; sweeps counted {deleted}; {len(wrong)} wrong",
        flush=True,
    )
    for line in wrong[:10]:
        print(f"  {line}")
    cleaner.close()
    side.close()
    host.close()
    return not wrong


def main() -> int:
    total = int(os.environ.get("CLEANUP_REFRESHES", "10000000"))
    seed = int(os.environ.get("CLEANUP_SEED", "20261126"))
    planned = {place: round(total * share) for place, share in SHARES.items()}
    planned |= {place: min(total, count) for place, count in MONGO.items()}
    chosen = sys.argv[1:] or ["postgres", "redis", "mongo"]
    planned = {place: count for place, count in planned.items() if place.split("/")[0] in chosen}
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {planned}", flush=True)
    with scratch() as folder:
        right = [race(place, folder, count, seed) for place, count in planned.items()]
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
