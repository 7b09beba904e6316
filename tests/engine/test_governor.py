"""What slows, shrinks and stops batches, on real servers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network
from time import monotonic, sleep

import psycopg
import pytest
from redis import Redis

from cleanup_pipeline.engine.governor import closed_now
from cleanup_pipeline.engine.limits import Limits
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.outcome import Tally
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.run_window import parse_run_window
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import HashFieldExpiry, KeySource, Target
from cleanup_pipeline.model.words import Mode, StopReason, StoreType
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.postgres import PostgresStore
from cleanup_pipeline.stores.redis import open_redis
from tests.engine.conftest import FREE, QUICK, TARGET, Db, fill, ids, run

SOON = timedelta(milliseconds=300)
LOOPBACK = (ip_network("127.0.0.1"),)


def paced(pace: Pace, **changes: object) -> Limits:
    return replace(QUICK, pace=pace, **changes)  # type: ignore[arg-type]


def until(condition: Callable[[], object]) -> None:
    limit = monotonic() + 30
    while not condition():
        assert monotonic() < limit, "waited in vain"
        sleep(0.01)


def test_batches_shrink_while_the_store_is_slow_and_grow_back(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE INDEX ON s (expires_at)")
    fill(db, 1500, live=5)
    db.execute("CREATE TABLE slow (seconds float8)")
    db.execute("INSERT INTO slow VALUES (0.3)")
    db.execute(
        "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(seconds) FROM slow; RETURN NULL; END $$"
    )
    db.execute("CREATE TRIGGER doze BEFORE DELETE ON s FOR EACH STATEMENT EXECUTE FUNCTION doze()")
    seen: list[Tally] = []

    def progress(tally: Tally) -> None:
        seen.append(tally)
        if tally.batches == 3:
            db.execute("DELETE FROM slow")

    pace = replace(FREE, latency_target=timedelta(milliseconds=250), min_batch=10, pause_share=0.0)
    [outcome] = run(store, paced(pace, batch_size=100), progress=progress)
    sizes = [after.deleted - before.deleted for before, after in zip([Tally(), *seen], seen, strict=False)]
    assert sizes[:4] == [100, 50, 25, 12]
    assert max(sizes[4:]) == 100
    assert outcome.tally.slowed["latency"] >= 3
    assert len(ids(db)) == 5


def test_latency_alone_does_not_shrink_a_batch_below_min_batch(db: Db, store: PostgresStore) -> None:
    db.execute("CREATE INDEX ON s (expires_at)")
    fill(db, 400)
    seen: list[Tally] = []
    # On a busy machine the way there and back can take longer than a batch, and what is left for the batch is nothing.
    pace = replace(FREE, latency_target=timedelta(microseconds=-1), min_batch=60, pause_share=0.0)
    run(store, paced(pace, batch_size=100), progress=seen.append)
    sizes = [after.deleted - before.deleted for before, after in zip([Tally(), *seen], seen, strict=False)]
    assert sizes == [100, 60, 60, 60, 60, 60, 0]


@contextmanager
def blocked_session(db: Db, url: str) -> Iterator[Db]:
    """Somebody waits for a lock; the connection that is handed out holds it."""
    db.execute("CREATE TABLE hot (id int)")

    def wait() -> None:
        with psycopg.connect(url, autocommit=True) as waiting:
            waiting.execute("SELECT FROM hot")

    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE hot IN ACCESS EXCLUSIVE MODE")
        waiter = threading.Thread(target=wait)
        waiter.start()
        until(
            lambda: db.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            ).fetchone()
        )
        try:
            yield holder
        finally:
            holder.rollback()
            waiter.join()


def test_blocked_sessions_make_it_wait_and_then_go_on(db: Db, store: PostgresStore, postgres_url: str) -> None:
    fill(db, 10)
    seen: list[Tally] = []
    with blocked_session(db, postgres_url) as holder:

        def release(tally: Tally) -> None:
            seen.append(tally)
            holder.rollback()

        [outcome] = run(store, paced(replace(FREE, max_blocked=0)), progress=release)
    assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.EXHAUSTED, 10)
    assert (seen[0].deleted, seen[0].slowed) == (0, {"blocked": 1})
    assert outcome.tally.waited_seconds > 0


def test_the_deadline_that_comes_while_waiting_stops_with_the_reason(
    db: Db, store: PostgresStore, postgres_url: str
) -> None:
    fill(db, 10)
    with blocked_session(db, postgres_url):
        [outcome] = run(store, paced(replace(FREE, max_blocked=0), deadline=SOON))
    assert (outcome.stop_reason, outcome.tally.deleted, outcome.error) == (StopReason.GOVERNOR, 0, None)
    assert outcome.note == "1 sessions wait for a lock, governor.max_blocked is 0; waited until the deadline"


def test_what_the_login_may_not_see_stops_nothing(db: Db, store: PostgresStore, postgres_url: str) -> None:
    fill(db, 10)
    db.execute("CREATE ROLE blind LOGIN")
    db.execute("GRANT ALL ON s TO blind")
    blind = PostgresStore(replace(store.config, url=postgres_url.replace("postgres@", "blind@")))
    try:
        with blocked_session(db, postgres_url):
            assert store.load().blocked == 1
            assert blind.load().blocked is None
            db.execute("REVOKE SELECT ON pg_stat_activity FROM PUBLIC")
            [outcome] = run(blind, paced(replace(FREE, max_blocked=0)))
        assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.EXHAUSTED, 10)
        assert outcome.tally.slowed == {}
    finally:
        blind.close()
        db.execute("DROP OWNED BY blind")
        db.execute("DROP ROLE blind")


def test_outside_its_window_a_shard_stops_at_once_and_says_when_it_opens(db: Db, store: PostgresStore) -> None:
    fill(db, 10)
    pace = replace(FREE, run_window=parse_run_window("01:00-05:00 Europe/Berlin"))
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    [outcome] = run(store, paced(pace), clock=lambda: noon)
    assert (outcome.stop_reason, outcome.tally.deleted, len(ids(db))) == (StopReason.GOVERNOR, 0, 10)
    assert outcome.note == "outside run_window 01:00-05:00 Europe/Berlin, which opens at 2026-01-02 00:00 UTC"
    assert outcome.tally.slowed == {"run_window": 1}
    assert closed_now(pace, noon) == outcome.note


def test_a_window_that_opens_before_the_deadline_is_waited_for_and_one_that_closes_stops(
    db: Db, store: PostgresStore
) -> None:
    fill(db, 30)
    pace = replace(FREE, run_window=parse_run_window("23:30-00:30"))
    begin = datetime(2026, 1, 1, 23, 29, 59, 990_000, tzinfo=UTC)
    seen: list[Tally] = []

    def clock() -> datetime:
        return begin + timedelta(minutes=1) * min(len(seen), 61)

    def progress(tally: Tally) -> None:
        seen.extend([tally] * (70 if tally.batches == 2 else 1))

    [outcome] = run(store, paced(pace, batch_size=10), progress=progress, clock=clock)
    assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.GOVERNOR, 20)
    assert outcome.tally.slowed == {"run_window": 2}


@contextmanager
def veto_server(*answers: int) -> Iterator[tuple[str, list[str]]]:
    """Answers with each status once, the last one for ever. Yields its URL and who asked."""
    left = list(answers)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/check?token=s3cret", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_veto_makes_it_wait_until_it_is_lifted(db: Db, store: PostgresStore) -> None:
    fill(db, 10)
    with veto_server(417, 429, 302, 200) as (url, asked):
        [outcome] = run(store, paced(replace(FREE, veto_url=url, networks=LOOPBACK)))
    assert (outcome.stop_reason, outcome.tally.deleted, outcome.tally.slowed) == (StopReason.EXHAUSTED, 10, {"veto": 1})
    assert asked[:4] == ["/check?token=s3cret"] * 4


def test_a_veto_that_stays_stops_the_shard(db: Db, store: PostgresStore) -> None:
    fill(db, 10)
    with veto_server(500) as (url, _):
        [outcome] = run(store, paced(replace(FREE, veto_url=url, networks=LOOPBACK), deadline=SOON))
    assert (outcome.stop_reason, len(ids(db))) == (StopReason.GOVERNOR, 10)
    assert outcome.note == "veto_url answered 500; waited until the deadline"


def test_a_veto_that_nobody_answers_is_a_veto(db: Db, store: PostgresStore) -> None:
    fill(db, 10)
    with veto_server(200) as (url, _):
        gone = url
    pace = replace(FREE, veto_url=gone, networks=LOOPBACK)
    [outcome] = run(store, paced(pace, deadline=SOON))
    assert (outcome.stop_reason, len(ids(db))) == (StopReason.GOVERNOR, 10)
    assert outcome.note is not None and outcome.note.startswith("veto_url does not answer (")
    assert "s3cret" not in outcome.note + repr(pace)


def test_memory_near_its_limit_makes_it_wait_where_that_is_set(redis_url: str) -> None:
    target = Target(
        "r",
        "cache",
        StoreType.REDIS,
        "sessions",
        "session",
        KeySource("session:*", "hash"),
        HashFieldExpiry("expires_at"),
        mode=Mode.DELETE,
    )
    store = open_redis(StoreConfig("cache", StoreType.REDIS, redis_url))
    with Redis.from_url(redis_url) as client:
        for n in range(20):
            client.hset(f"session:{n}", "expires_at", "1000000000" if n < 15 else "32503680000")
        limit = int(client.info("memory")["used_memory"] * 1.05)
        client.config_set("maxmemory", limit)
        try:
            [free] = run(store, paced(FREE, row_limit=5), target=target)
            assert (free.tally.deleted, free.tally.slowed) == (5, {})

            def make_room(tally: Tally) -> None:
                if tally.slowed:
                    client.config_set("maxmemory", 0)

            [outcome] = run(store, paced(replace(FREE, max_memory_share=0.8)), target=target, progress=make_room)
        finally:
            client.config_set("maxmemory", 0)
            store.close()
        assert (outcome.stop_reason, outcome.tally.deleted) == (StopReason.EXHAUSTED, 10)
        assert outcome.tally.slowed == {"memory_share": 1}
        assert client.dbsize() == 5


def test_a_pass_outside_its_run_window_is_skipped_and_not_red(store: PostgresStore) -> None:
    target = replace(TARGET, pace=replace(FREE, run_window=parse_run_window("01:00-05:00")))

    def at(hour: int, minute: int) -> Callable[[], datetime]:
        return lambda: datetime(2026, 1, 2, hour, minute, tzinfo=UTC)

    plan = scan(store, target, dry_run=False, host_clock=at(12, 0))
    assert plan.skipped == "outside run_window 01:00-05:00 UTC, which opens at 2026-01-03 01:00 UTC"
    assert plan.work.shards == ()
    # Two minutes before it opens, and on a dry run, it goes on: then the clocks are compared.
    for early in ({"dry_run": False, "host_clock": at(0, 58)}, {"dry_run": True, "host_clock": at(12, 0)}):
        with pytest.raises(StoreError, match="the store's clock says"):
            scan(store, target, **early)  # type: ignore[arg-type]
