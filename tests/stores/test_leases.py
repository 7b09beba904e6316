"""Leases on the three stores: who has one, who is kept out, and what a batch does whose lease is over."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.engine.lease import let_go
from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.lease import Holder, Lease, window_label
from cleanup_pipeline.model.plan import Plan
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import (
    CollectionSource,
    ColumnExpiry,
    FieldExpiry,
    HashFieldExpiry,
    KeySource,
    TableSource,
    Target,
)
from cleanup_pipeline.model.words import Mode, StopReason, StoreType
from cleanup_pipeline.stores.base import LeaseLostError, Leases, Store, StoreError
from cleanup_pipeline.stores.open import open_store

DEAD, LIVE = 6, 2
PAST, FUTURE = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
MON, TUE, WED = (datetime(2026, 11, day, tzinfo=UTC) for day in (2, 3, 4))


class LeasedStore(Store, Leases):
    """What all three are."""


@dataclass
class Place:
    """A target with 6 dead and 2 live records."""

    config: StoreConfig
    target: Target
    left: Callable[[], int]
    opened: list[Any]

    def open(self, lasting: float = 30) -> LeasedStore:
        store: Any = open_store(replace(self.config, lease=timedelta(seconds=lasting)))
        self.opened.append(store)
        return store  # type: ignore[no-any-return]

    def batch(self, store: LeasedStore, lease: Lease, size: int = 1000) -> int:
        target = replace(self.target, lease=lease)
        plan = self.plan(store)
        return store.delete_batch(target, plan.work, plan.work.shards[0], None, size, plan.cutoff).deleted

    def plan(self, store: LeasedStore) -> Plan:
        return scan(store, self.target, dry_run=True)


@pytest.fixture(params=["postgres", "redis", "mongo"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    kind = StoreType(request.param)
    url: str = request.getfixturevalue(f"{kind}_url")
    made: Place = {StoreType.POSTGRES: _postgres, StoreType.REDIS: _redis, StoreType.MONGO: _mongo}[kind](url)
    yield made
    for store in made.opened:
        store.close()


def _target(kind: StoreType, source: Any, expiry: Any) -> Target:
    return Target("web", "main", kind, "sessions", "session", source, expiry, mode=Mode.DELETE)


def _postgres(url: str) -> Place:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE s (id int PRIMARY KEY, expires_at timestamptz)")
        for n in range(DEAD + LIVE):
            db.execute("INSERT INTO s VALUES (%s, %s)", (n, PAST if n < DEAD else FUTURE))

    def left() -> int:
        with psycopg.connect(url) as db:
            return int(db.execute("SELECT count(*) FROM s").fetchone()[0])  # type: ignore[index]

    target = _target(StoreType.POSTGRES, TableSource("s"), ColumnExpiry("expires_at"))
    return Place(StoreConfig("main", StoreType.POSTGRES, url), target, left, [])


def _redis(url: str) -> Place:
    with redis.Redis.from_url(url) as client:
        for n in range(DEAD + LIVE):
            client.hset(f"s:{n}", "exp", str(int((PAST if n < DEAD else FUTURE).timestamp())))

    def left() -> int:
        with redis.Redis.from_url(url) as client:
            return len(client.keys("s:*"))

    target = _target(StoreType.REDIS, KeySource("s:*", "hash"), HashFieldExpiry("exp"))
    return Place(StoreConfig("main", StoreType.REDIS, url), target, left, [])


def _mongo(url: str) -> Place:
    url = f"{url}&serverMonitoringMode=poll"
    with pymongo.MongoClient(url) as client:
        docs = [{"_id": n, "e": PAST if n < DEAD else FUTURE} for n in range(DEAD + LIVE)]
        client.get_default_database()["c"].insert_many(docs)

    def left() -> int:
        with pymongo.MongoClient(url) as client:
            return client.get_default_database()["c"].count_documents({})

    target = _target(StoreType.MONGO, CollectionSource("c"), FieldExpiry("e"))
    return Place(StoreConfig("main", StoreType.MONGO, url), target, left, [])


def held(answer: Lease | Holder) -> Lease:
    assert isinstance(answer, Lease), answer
    return answer


def test_the_second_is_told_who_has_it_until_it_is_given_back(place: Place) -> None:
    one, two = place.open(), place.open()
    lease = held(one.acquire(place.target, Lease("run-a", 0, "web-1")))
    other = two.acquire(place.target, Lease("run-b", 0, "web-2"))
    assert isinstance(other, Holder) and other.host == "web-1"
    assert other.since is not None and abs(datetime.now(UTC) - other.since) < timedelta(seconds=20)
    assert str(other).startswith("held by web-1 since 20")
    assert [h.host for h in two.holders(place.target)] == ["web-1"]
    # Another target is another matter.
    elsewhere = replace(place.target, name="elsewhere")
    held(two.acquire(elsewhere, Lease("run-b", 0, "web-2")))
    first = place.batch(one, lease)
    one.release(place.target, lease)
    one.release(place.target, lease)
    assert two.holders(place.target) == []
    second = place.batch(two, held(two.acquire(place.target, Lease("run-b", 0, "web-2"))))
    assert (first, second, place.left()) == (DEAD, 0, LIVE)


def test_shards_of_a_run_and_windows_that_differ_share(place: Place) -> None:
    stores = [place.open() for _ in range(5)]
    monday, tuesday = window_label(MON, TUE), window_label(TUE, WED)
    held(stores[0].acquire(place.target, Lease("run-a", 0, "h", monday)))
    held(stores[1].acquire(place.target, Lease("run-a", 1, "h", monday)))
    held(stores[2].acquire(place.target, Lease("run-b", 0, "h", tuesday)))
    assert isinstance(stores[3].acquire(place.target, Lease("run-c", 0, "h", monday)), Holder)
    assert isinstance(stores[3].acquire(place.target, Lease("run-d", 0, "h")), Holder)
    assert len(stores[3].holders(place.target)) == 3
    for store, run, shard in ((stores[0], "run-a", 0), (stores[1], "run-a", 1), (stores[2], "run-b", 0)):
        store.release(place.target, Lease(run, shard, "h", "any"))
    whole = held(stores[3].acquire(place.target, Lease("run-d", 0, "h")))
    assert isinstance(stores[4].acquire(place.target, Lease("run-a", 0, "h", monday)), Holder)
    stores[3].release(place.target, whole)


def test_a_lease_that_is_renewed_lasts_and_one_that_is_not_deletes_nothing(place: Place) -> None:
    one, two = place.open(1.0), place.open(1.0)
    lease = held(one.acquire(place.target, Lease("run-a", 0, "web-1")))
    for _ in range(4):
        time.sleep(0.4)
        lease = one.renew(place.target, lease)
    assert isinstance(two.acquire(place.target, Lease("run-b", 0, "web-2")), Holder)

    deadline = time.monotonic() + 10
    while isinstance(two.acquire(place.target, Lease("run-b", 0, "web-2")), Holder):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for _ in range(2):
        with pytest.raises(LeaseLostError, match="ran out or was taken away"):
            place.batch(one, lease)
    with pytest.raises(LeaseLostError):
        one.renew(place.target, lease)
    assert place.left() == DEAD + LIVE


def test_one_that_is_freed_by_hand_is_lost(place: Place) -> None:
    one, two = place.open(), place.open()
    lease = held(one.acquire(place.target, Lease("run-a", 0, "web-1")))
    with ThreadPoolExecutor(1) as pool:
        freed = pool.submit(two.free, place.target)
        deadline = time.monotonic() + 10
        while True:
            # As the engine does it: PostgreSQL's former holder tries to come back at once.
            try:
                one.renew(place.target, lease)
            except LeaseLostError:
                break
            except StoreError as fault:
                assert "went away" in fault.problem
            assert time.monotonic() < deadline
        assert freed.result() == 1
    if place.config.type is not StoreType.MONGO:
        with pytest.raises(LeaseLostError):
            place.batch(one, lease)
    assert two.free(place.target) == 0
    held(two.acquire(place.target, Lease("run-b", 0, "web-2")))


def test_of_many_that_start_together_exactly_one_has_it(place: Place) -> None:
    stores = [place.open() for _ in range(6)]
    for store in stores:
        store.clock()
    for round_ in range(5):
        leases = [Lease(f"run-{round_}-{n}", 0, f"h{n}") for n in range(len(stores))]
        with ThreadPoolExecutor(len(stores)) as pool:
            answers = list(pool.map(lambda store, lease: store.acquire(place.target, lease), stores, leases))
        winners = [n for n, answer in enumerate(answers) if isinstance(answer, Lease)]
        assert len(winners) == 1
        stores[winners[0]].release(place.target, leases[winners[0]])


def test_postgres_comes_back_from_a_cut_connection_unless_somebody_came_before(postgres_url: str) -> None:
    place = _postgres(postgres_url)
    one, two = place.open(), place.open()
    lease = held(one.acquire(place.target, Lease("run-a", 0, "web-1")))

    def cut() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'cleanup-pipeline@web-1'"
            )

    cut()
    with pytest.raises(Exception, match="went away"):
        place.batch(one, lease)
    assert place.batch(one, lease, 2) == 2
    cut()
    held(two.acquire(place.target, Lease("run-b", 0, "web-2")))
    with pytest.raises(Exception, match="went away"):
        place.batch(one, lease)
    with pytest.raises(LeaseLostError):
        place.batch(one, lease)
    assert place.left() == DEAD + LIVE - 2
    for store in place.opened:
        store.close()


def test_nobody_comes_in_between_two_shards_of_a_run(place: Place) -> None:
    """Else each of two runs could give way to the other in turn, and both be green with a shard left."""
    one, two = place.open(), place.open()
    plan = place.plan(one)
    work = replace(plan.work, shards=tuple(replace(plan.work.shards[0], index=n) for n in range(3)))

    def clean(store: LeasedStore, run: str, shard: int, stop: StopReason | None = None) -> StopReason:
        watch = Watch(lambda _: None, stop_asked=lambda: stop)
        lease = Lease(run, shard, f"{run}-host")
        shard_ = work.shards[shard]
        return clean_shard(store, place.target, work, shard_, plan.cutoff, Limits(), watch, lease=lease).stop_reason

    assert clean(one, "a", 0) is StopReason.EXHAUSTED
    assert clean(two, "b", 0) is StopReason.SKIPPED
    assert clean(one, "a", 1) is StopReason.EXHAUSTED
    assert clean(two, "b", 1) is StopReason.SKIPPED
    assert [holder.host for holder in two.holders(place.target)] == ["a-host"]
    assert clean(one, "a", 2) is StopReason.EXHAUSTED
    # After its last shard, or where the rest is not going to be done, nothing is held.
    assert one.holders(place.target) == [] == two.holders(place.target)
    assert clean(two, "b", 0, StopReason.TERMINATED) is StopReason.TERMINATED
    assert one.holders(place.target) == []
    # A re-run of some shards only: its report lets go.
    assert clean(two, "b", 1) is StopReason.EXHAUSTED
    assert clean(one, "c", 0) is StopReason.SKIPPED
    let_go(two, place.target, "b")
    assert one.holders(place.target) == []
