"""Ours and the ways of others to remove what expired from Django's session table. Each returns the rows it removed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import psycopg

from cleanup_pipeline.engine.limits import limits_of
from cleanup_pipeline.engine.loop import Watch, clean_shard
from cleanup_pipeline.engine.scan import scan
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.plan import Plan, Shard
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import ColumnExpiry, TableSource, Target
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.stores.postgres import open_postgres

TARGET = Target(
    "sessions", "main", StoreType.POSTGRES, "sessions", "session", TableSource("django_session"),
    ColumnExpiry("expire_date"), mode=Mode.DELETE, pause=timedelta(0), operation_timeout=timedelta(hours=1),
    census_timeout=timedelta(minutes=5), pace=Pace(pause_share=0),
)  # fmt: skip
DEAD = b"expire_date < now()"
FOUND = b"SELECT session_key FROM django_session WHERE " + DEAD + b" LIMIT 1000"


@dataclass(frozen=True, slots=True)
class Done:
    """What one way did."""

    deleted: int
    seconds: float
    longest: float
    """Seconds that its longest transaction took, seen from the client."""
    batches: tuple[float, ...] = ()
    peak_rss: int = 0
    strategy: str = ""


def ours(url: str, connections: int = 1, target: Target = TARGET) -> Done:
    """Our batches on one connection, or on one in each of several processes. The scan before them is not timed."""
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    try:
        plan = scan(store, replace(target, max_shards=connections), dry_run=False)
    finally:
        store.close()
    work = plan.work.shards
    if connections == 1:
        parts = [_shards(url, plan, work, target, None)]
    else:
        context = get_context("spawn")
        barrier, answers = context.Barrier(connections), context.Queue()
        children = [
            context.Process(target=_child, args=(url, plan, work[i::connections], target, barrier, answers))
            for i in range(connections)
        ]
        for child in children:
            child.start()
        parts = [answers.get() for _ in children]
        for child in children:
            child.join()
    return Done(
        sum(done.deleted for done in parts),
        max(done.seconds for done in parts),
        max(done.longest for done in parts),
        parts[0].batches,
        max(done.peak_rss for done in parts),
        plan.work.strategy,
    )


def _child(url: str, plan: Plan, shards: tuple[Shard, ...], target: Target, barrier: Any, answers: Any) -> None:
    answers.put(_shards(url, plan, shards, target, barrier))


def _shards(url: str, plan: Plan, shards: tuple[Shard, ...], target: Target, barrier: Any) -> Done:
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, url))
    took: list[float] = []
    plain = store.delete_batch

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(*arguments)
        finally:
            took.append(time.perf_counter() - began)

    store.delete_batch = timed  # type: ignore[method-assign]
    try:
        store.clock()
        store.preflight(target)
        if barrier is not None:
            barrier.wait()
        began = time.perf_counter()
        done = [
            clean_shard(store, target, plan.work, shard, plan.cutoff, limits_of(target), Watch(lambda _: None))
            for shard in shards
        ]
        seconds = time.perf_counter() - began
    finally:
        store.close()
    for outcome in done:
        assert outcome.error is None, outcome.error
    deleted = sum(outcome.tally.deleted for outcome in done)
    return Done(deleted, seconds, max(took, default=0), tuple(took), max((o.peak_rss or 0 for o in done), default=0))


def one_delete(url: str) -> Done:
    """The limit: one statement without bounds."""
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        deleted = connection.execute(b"DELETE FROM django_session WHERE " + DEAD).rowcount
        seconds = time.perf_counter() - began
    return Done(deleted, seconds, seconds)


def one_scan(url: str) -> Done:
    """Not a deletion: reading the table once on one connection, for what a sweep cannot be faster than."""
    with psycopg.connect(url, autocommit=True, options="-c max_parallel_workers_per_gather=0") as connection:
        began = time.perf_counter()
        row = connection.execute(
            b"SELECT count(*) FROM django_session WHERE length(session_data) > 0 AND " + DEAD
        ).fetchone()
        seconds = time.perf_counter() - began
    return Done(row[0] if row else 0, seconds, seconds)


def id_in(url: str) -> Done:
    """What most people write."""
    batch = b"DELETE FROM django_session WHERE session_key IN (" + FOUND + b")"
    return _repeat(url, lambda connection: connection.execute(batch).rowcount)


def like_cleartokens(url: str) -> Done:
    """The statements of django-oauth-toolkit's cleartokens, with its batches of 10,000 and without its pauses of 0.1 s.

    Source: django-oauth-toolkit 3.4.1, oauth2_provider/models.py, clear_expired(), batch_delete(). It counts all that
    is left before each batch, counts the batch, lists its keys and deletes them by an IN list.
    """
    size = 10_000

    def batch(connection: psycopg.Connection[Any]) -> int:
        connection.execute(b"SELECT count(*) FROM django_session WHERE " + DEAD)
        listed = b"SELECT session_key FROM django_session WHERE " + DEAD + b" LIMIT %d" % size
        connection.execute(b"SELECT count(*) FROM (" + listed + b") batch")
        keys = connection.execute(listed).fetchall()
        if not keys:
            return 0
        marks = b", ".join([b"%s"] * len(keys))
        deletion = b"DELETE FROM django_session WHERE session_key IN (" + marks + b")"
        return connection.execute(deletion, [key for (key,) in keys], prepare=False).rowcount

    return _repeat(url, batch)


def _repeat(url: str, batch: Callable[[psycopg.Connection[Any]], int]) -> Done:
    total, took = 0, []
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        while True:
            at = time.perf_counter()
            gone = batch(connection)
            took.append(time.perf_counter() - at)
            total += gone
            if not gone:
                break
        seconds = time.perf_counter() - began
    return Done(total, seconds, max(took), tuple(took))


def clearsessions(url: str) -> Done:
    """Django's own command. Raises ImportError without Django, which nothing else here needs."""
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    place = psycopg.conninfo.conninfo_to_dict(url)
    if not settings.configured:
        settings.configure(
            INSTALLED_APPS=["django.contrib.sessions"],
            USE_TZ=True,
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": "work",
                    "USER": place["user"],
                    "HOST": place["host"],
                    "PORT": place["port"],
                }
            },
        )
        django.setup()
    with psycopg.connect(url) as connection:
        row = connection.execute(b"SELECT count(*) FROM django_session WHERE " + DEAD).fetchone()
    began = time.perf_counter()
    call_command("clearsessions")
    seconds = time.perf_counter() - began
    connections.close_all()
    return Done(row[0] if row else 0, seconds, seconds)


WAYS: dict[str, Callable[[str], Done]] = {
    "one DELETE": one_delete,
    "sequential scan, nothing deleted": one_scan,
    "ours, 1 connection": lambda url: ours(url, 1),
    "ours, 2 connections": lambda url: ours(url, 2),
    "id IN (SELECT ... LIMIT 1000)": id_in,
    "as django-oauth-toolkit": like_cleartokens,
    "Django clearsessions": clearsessions,
}
