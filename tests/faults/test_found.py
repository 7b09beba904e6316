"""What the fault bench found, each by itself: what a batch did although it failed is in its figures."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymongo
import pytest
import redis

from cleanup_pipeline.embedded.servers import Server
from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.outcome import ShardOutcome, Tally
from cleanup_pipeline.model.words import StopReason
from cleanup_pipeline.settings import load_settings
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo import pulls
from cleanup_pipeline.stores.open import open_store
from tests.e2e.support import wait_for
from tests.faults.bench.passes import Pace, write_settings
from tests.faults.bench.proxy import DOWN, Proxy

DEAD, ALIVE = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)


def nothing(_: Tally, __: int) -> None:
    """Before a batch."""


class Cleaner:
    """One target of one store, cleaned without Dagster."""

    def __init__(self, folder: Path, store: str, shape: str, url: str) -> None:
        self.settings = load_settings(write_settings(folder, store, shape, Pace(batch=1000)), {"BENCH_URL": url})
        [self.target] = self.settings.targets_of("sessions")
        self.store: Any = open_store(self.settings.stores["it"])

    def run(
        self, before: Callable[[Tally, int], None] = nothing, *, attempts: int = 5, leased: bool = False
    ) -> ShardOutcome:
        plan = scan(self.store, self.target, dry_run=False)
        backoff = timedelta(milliseconds=1)
        limits = Limits(batch_size=1000, pause=timedelta(0), attempts=attempts, first_backoff=backoff)
        kept: list[ShardOutcome] = []
        watch = Watch(kept.append, before=before)
        lease = Lease("run", 0, "here", "") if leased else None
        [shard] = plan.work.shards
        return clean_shard(self.store, self.target, plan.work, shard, plan.cutoff, limits, watch, lease=lease)


@pytest.fixture
def cleaner(tmp_path: Path) -> Iterator[Callable[[str, str, str], Cleaner]]:
    made: list[Cleaner] = []

    def make(store: str, shape: str, url: str) -> Cleaner:
        made.append(Cleaner(tmp_path, store, shape, url))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


Make = Callable[[str, str, str], Cleaner]


@pytest.fixture
def docs(mongo_url: str) -> Iterator[Any]:
    with pymongo.MongoClient(mongo_url) as client:
        yield client.get_default_database()["docs"]


@pytest.fixture
def fail(mongo_server: Server) -> Iterator[Callable[..., None]]:
    with pymongo.MongoClient(mongo_server.url) as client:

        def arm(commands: list[str], times: int = 1, **data: Any) -> None:
            chosen = {"failCommands": commands, "appName": "cleanup-pipeline", **data}
            point = {"configureFailPoint": "failCommand", "mode": {"times": times}, "data": chosen}
            client.admin.command(point)

        yield arm
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def test_what_a_write_concern_failed_on_is_gone_all_the_same(
    cleaner: Make, docs: Any, mongo_url: str, fail: Callable[..., None]
) -> None:
    docs.insert_many([{"_id": n, "e": DEAD} for n in range(25)])
    it = cleaner("mongo", "sweep", mongo_url)
    fail(["delete"], writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"})
    outcome = it.run()
    assert (docs.count_documents({}), outcome.stop_reason) == (0, StopReason.EXHAUSTED)
    assert (outcome.tally.deleted, outcome.tally.uncertain) == (0, 25)


def test_an_element_that_is_renewed_meanwhile_is_not_counted_as_pulled(
    cleaner: Make, docs: Any, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.insert_many([{"_id": n, "tokens": [{"id": k, "e": DEAD} for k in range(3)]} for n in range(4)])
    it = cleaner("mongo", "pull", mongo_url)
    change = pulls._change
    renewed: list[bool] = []

    def login_first(*given: Any) -> int:
        if not renewed:
            renewed.append(True)
            docs.update_one({"_id": 1, "tokens.id": 0}, {"$set": {"tokens.$.e": ALIVE}})
        return change(*given)

    monkeypatch.setattr(pulls, "_change", login_first)
    outcome = it.run()
    assert [len(user["tokens"]) for user in docs.find().sort("_id", 1)] == [0, 1, 0, 0]
    assert outcome.tally.deleted == 11


def test_a_look_that_fails_after_elements_were_pulled_leaves_them_in_the_figures(
    cleaner: Make, docs: Any, mongo_url: str, fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.insert_many([{"_id": n, "tokens": [{"id": k, "e": DEAD} for k in range(3)]} for n in range(4)])
    it = cleaner("mongo", "pull", mongo_url)
    change = pulls._change

    def logout_first(*given: Any) -> int:
        docs.update_one({"_id": 1}, {"$pull": {"tokens": {"id": 0}}})
        fail(["aggregate"], errorCode=43)
        return change(*given)

    monkeypatch.setattr(pulls, "_change", logout_first)
    outcome = it.run(attempts=1)
    left = sum(len(user["tokens"]) for user in docs.find())
    assert (outcome.stop_reason, left) == (StopReason.ERROR, 2)
    assert outcome.tally.deleted + outcome.tally.uncertain == 9


@pytest.fixture
def db(postgres_url: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(postgres_url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute("CREATE TABLE web (id text PRIMARY KEY, e timestamptz)")
        connection.execute("INSERT INTO web SELECT n, now() - interval '1 day' FROM generate_series(1, 20) n")
        yield connection


def left(db: "psycopg.Connection[Any]") -> int:
    row = db.execute("SELECT count(*) FROM web").fetchone()
    return int(row[0]) if row else -1


def test_a_session_that_is_read_only_is_left_for_another(
    cleaner: Make, db: "psycopg.Connection[Any]", postgres_url: str
) -> None:
    name = postgres_url.rsplit("/", 1)[1]
    db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")  # type: ignore[call-overload]
    it = cleaner("postgres", "sweep", postgres_url)
    tries: list[int] = []

    def failed_over(_: Tally, size: int) -> None:
        if tries:
            db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")  # type: ignore[call-overload]
        tries.append(size)

    outcome = it.run(failed_over, leased=True)
    assert (outcome.stop_reason, outcome.tally.deleted, left(db)) == (StopReason.EXHAUSTED, 20, 0)
    # What a read-only server refused was not done.
    assert (outcome.tally.retries, outcome.tally.uncertain) == (1, 0)


def test_no_room_on_disk_is_tried_again(cleaner: Make, db: "psycopg.Connection[Any]", postgres_url: str) -> None:
    db.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END$$"
    )
    db.execute("CREATE TRIGGER full_disk BEFORE DELETE ON web FOR EACH ROW EXECUTE FUNCTION full_disk()")
    it = cleaner("postgres", "sweep", postgres_url)
    tries: list[int] = []

    def made_room(_: Tally, size: int) -> None:
        if tries:
            db.execute("DROP TRIGGER IF EXISTS full_disk ON web")
        tries.append(size)

    outcome = it.run(made_room)
    assert (outcome.stop_reason, outcome.tally.deleted, outcome.tally.uncertain) == (StopReason.EXHAUSTED, 20, 0)


def test_the_server_notices_soon_that_a_cleaner_is_gone(
    cleaner: Make, db: "psycopg.Connection[Any]", postgres_url: str
) -> None:
    it = cleaner("postgres", "sweep", postgres_url)
    with it.store._connections.use() as connection:
        for name, most in (("tcp_keepalives_idle", 10), ("tcp_keepalives_interval", 5), ("tcp_keepalives_count", 3)):
            [value] = connection.execute("SELECT current_setting(%s)::int", (name,)).fetchone()
            assert 0 < value <= most


@pytest.mark.parametrize("answer", range(26, 32))
def test_an_answer_that_is_lost_among_members_leaves_them_in_the_figures(
    cleaner: Make, redis_url: str, answer: int
) -> None:
    address = redis_url.split("//")[1].split("/")[0].split(":")
    proxy = Proxy((address[0], int(address[1])))
    try:
        with redis.Redis.from_url(redis_url) as client:
            client.zadd("z:all", {f"m{n}": DEAD.timestamp() * 1000 + n for n in range(900)})
            it = cleaner("redis", "score", proxy.url(redis_url))
            it.target = replace(it.target, batch_size=1000)
            proxy.at(DOWN, answer, lambda: proxy.cut(reset=True))
            try:
                outcome = it.run(attempts=1)
            except Exception:  # noqa: BLE001 - lost while it was only being looked at
                assert client.zcard("z:all") == 900
                return
            lost = 900 - client.zcard("z:all")
            assert outcome.tally.deleted <= lost <= outcome.tally.deleted + outcome.tally.uncertain
    finally:
        proxy.close()


@pytest.fixture
def _no_garbage_collected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_garbage_collected")
@pytest.mark.parametrize("first", [True, False])
def test_a_connection_that_is_not_made_in_time_is_closed_at_once(
    cleaner: Make, postgres_url: str, *, first: bool
) -> None:
    """Seed 20261275. `first`: before there is a pool; else one of the pool's own attempts."""
    address = urlsplit(postgres_url)
    proxy = Proxy((address.hostname or "", address.port or 0))
    try:
        it = cleaner("postgres", "sweep", proxy.url(postgres_url))
        if not first:
            it.store.clock()
        proxy.ways[DOWN].held = True
        proxy.cut(reset=True)
        accepted = proxy.accepted
        with pytest.raises(StoreError):
            it.store.clock()
        # The pool finds another by itself, and gives up after a while.
        wait_for("an attempt", lambda: proxy.accepted > accepted, 30)
        wait_for("no half-made connection", lambda: proxy.open == 0, 30)
    finally:
        proxy.close()
