"""The ledger's totals are what the stores lost, whatever happens to passes: 18, or as many as CLEANUP_ROUNDS says.

docs/reliability.md has the figures of a hundred.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from cleanup_pipeline.engine.limits import Limits, bounded
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.ledger import Ledger, Recorder, open_ledger
from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.reporting.fold import fold_pass, fold_target
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.stores.base import Store, StoreError
from cleanup_pipeline.stores.open import open_store

ROUNDS = int(os.environ.get("CLEANUP_ROUNDS", "18"))
SEED = int(os.environ.get("CLEANUP_SEED", "20261125"))
EACH, LIVE = 60, 5
FAULTS = ("none", "refused", "killed", "deadline", "row limit", "interrupted")
SETTINGS = """
cleanup: {batch_size: 10, pause: 0s, max_shards: 2}
stores:
  main: {type: postgres, url: "${P}"}
  cache: {type: redis, url: "${R}"}
targets:
  web: {store: main, table: web, expires: {column: e}, mode: delete}
  keys: {store: cache, keys: "s:*", expires: {value: s}, mode: delete}
"""


class Interrupted(BaseException):
    """What a signal makes of a pass."""


@dataclass
class Stores:
    """The two stores, looked at by connections that no fault touches, and how many dead records were ever in them."""

    db: psycopg.Connection[Any]
    cache: "redis.Redis[Any]"
    made: Counter[str] = field(default_factory=Counter)

    def fill(self, round_: int) -> None:
        self.db.execute(
            "INSERT INTO web SELECT now() - interval '1 day', n FROM generate_series(1, %s::int) n", (EACH,)
        )
        self.cache.mset({f"s:{round_}-{n}": 1_000_000_000 + n for n in range(EACH)})
        self.made += Counter(web=EACH, keys=EACH)

    def left(self) -> Counter[str]:
        row = self.db.execute("SELECT count(*) FROM web").fetchone()
        assert row is not None
        return Counter(web=row[0], keys=sum(1 for _ in self.cache.scan_iter("s:*", count=1000)))

    def kill(self, store: Store) -> None:
        """Every connection but those of this object."""
        if store.config.name == "main":
            mine = [self.db.info.backend_pid]
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            self.db.execute(others + " AND pid <> ALL (%s)", (mine,))  # type: ignore[call-overload]
        else:
            self.cache.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@pytest.fixture
def stores(postgres_url: str, redis_url: str) -> Any:
    with psycopg.connect(postgres_url, autocommit=True) as db, redis.Redis.from_url(redis_url) as cache:
        db.execute("CREATE TABLE web (e timestamptz, n int)")
        db.execute("INSERT INTO web SELECT now() + interval '1 day', 0 FROM generate_series(1, %s::int)", (LIVE,))
        db.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$")
        # Some batches fail, and are cut up until only such rows are left.
        db.execute("CREATE TRIGGER no BEFORE DELETE ON web FOR EACH ROW WHEN (OLD.n % 29 = 0) EXECUTE FUNCTION no()")
        db.execute("ALTER TABLE web DISABLE TRIGGER no")
        cache.mset({f"s:live{n}": 9_000_000_000 for n in range(LIVE)})
        yield Stores(db, cache)


def one_pass(
    run_id: str,
    targets: list[Target],
    opened: dict[str, Store],
    recorder: Recorder,
    fault: Callable[..., Any],
    limits: Limits,
) -> str:
    """A pass as the ops do it. `fault` may raise before a batch."""
    recorder.begin_pass(run_id, "sessions", dry_run=False, window=None, parent_run_id=None, host="here")
    reports = []
    status = "terminated"
    try:
        for target in targets:
            store = opened[target.store]
            plan = scan(store, target, dry_run=False)
            recorder.record_plan(run_id, plan)
            outcomes: list[ShardOutcome] = []
            for shard in plan.work.shards:
                recorder.begin_shard(run_id, plan, shard.index, bounded=bounded(plan.work, shard))

                def record(outcome: ShardOutcome, kept: list[ShardOutcome] = outcomes) -> None:
                    recorder.record_shard(run_id, outcome)
                    kept.append(outcome)

                def before(tally: Tally, size: int, of: Target = target, number: int = shard.index) -> None:
                    recorder.before_batch(run_id, of.name, number, tally, size, ahead=1)
                    fault(opened[of.store], tally)

                clean_shard(store, target, plan.work, shard, plan.cutoff, limits, Watch(record, before=before))
            try:
                left = store.survivors(target, plan.cutoff, timedelta(seconds=10))
            except StoreError:
                left = None
            report = fold_target(plan, outcomes, left)
            recorder.record_target(run_id, report)
            reports.append(report)
        status = str(fold_pass("sessions", reports, 0.0).status)
    except Interrupted:
        pass
    recorder.close_pass(run_id, status, None)
    return status


@pytest.mark.timeout(1200)
def test_the_ledgers_totals_are_the_stores_losses(
    stores: Stores, tmp_path: Path, postgres_url: str, redis_url: str
) -> None:
    chance = random.Random(SEED)
    file = tmp_path / "cleanup.yaml"
    file.write_text(SETTINGS)
    settings = load_settings(file, {"P": postgres_url, "R": redis_url})
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    recorder = Recorder(url)
    opened = {name: open_store(config) for name, config in settings.stores.items()}
    ended: Counter[str] = Counter()
    for number in range(ROUNDS):
        stores.fill(number)
        chosen = FAULTS[number % len(FAULTS)]
        stores.db.execute(f"ALTER TABLE web {'ENABLE' if chosen == 'refused' else 'DISABLE'} TRIGGER no")  # type: ignore[call-overload]
        limits = Limits(
            batch_size=10,
            pause=timedelta(0),
            deadline=timedelta(milliseconds=chance.choice([1, 20])) if chosen == "deadline" else timedelta(minutes=1),
            row_limit=chance.choice([1, 7, 33]) if chosen == "row limit" else None,
            first_backoff=timedelta(milliseconds=1),
        )

        def fault(store: Store, tally: Tally, chosen: str = chosen) -> None:
            if chosen == "killed" and chance.random() < 0.3:
                stores.kill(store)
            if chosen == "interrupted" and tally.batches and chance.random() < 0.3:
                raise Interrupted

        targets = [replace(target, row_limit=limits.row_limit) for target in settings.targets]
        ended[one_pass(f"r{number}", targets, opened, recorder, fault, limits)] += 1
    for store in opened.values():
        store.close()
    recorder.close()
    ledger = open_ledger(url)
    left = stores.left() - Counter(web=LIVE, keys=LIVE)
    lost = {name: stores.made[name] - left[name] for name in ("web", "keys")}
    totals = ledger.totals_by_target()
    assert {name: total.deleted for name, total in totals.items()} == lost, f"seed {SEED}"
    assert by_day(ledger) == lost
    assert all(total.at_most is not None and total.deleted <= total.at_most for total in totals.values())
    rows = ledger.history(ROUNDS)
    assert len(rows) == ROUNDS and sum(row.deleted for row in rows) == sum(lost.values())
    # And the same once they are added up for good, and once retention has folded them.
    later = rows[0].started_at + timedelta(days=500)
    assert ledger.seal(later) >= 1 and by_day(ledger) == lost
    assert ledger.prune(timedelta(days=400), later).passes == ROUNDS and by_day(ledger) == lost
    unsure = {name: (total.at_most or 0) - total.deleted for name, total in totals.items()}
    ledger.close()
    assert ended["succeeded"] and ended["partial"] and ended["terminated"], ended
    print(f"{ROUNDS} passes, seed {SEED}: {dict(ended)}; lost {lost}, left {dict(left)}; unsure of {unsure}")


def by_day(ledger: Ledger) -> dict[str, int]:
    found: Counter[str] = Counter()
    for day in ledger.days():
        if day.target:
            found[day.target] += day.deleted
    return dict(found)
