"""RedisStore: expired keys found by SCAN and removed by a script that judges them again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic

from redis import Redis
from redis.exceptions import RedisError

from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Census, Finding, Shard, Work
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import MAX_BATCH, Target
from cleanup_pipeline.stores.redis import load, preflight
from cleanup_pipeline.stores.redis.connection import connect, send
from cleanup_pipeline.stores.redis.faults import translate, translated
from cleanup_pipeline.stores.redis.rules import SLICE, Rule, compile_rule
from cleanup_pipeline.stores.redis.sweep import START, Counts, Page, clean_slice, look, pages

STRATEGY = "scan_script"
MAX_PAGES = 16
"""Most SCANs of one batch, so that a batch ends soon where the target's keys are few among many others."""


def open_redis(config: StoreConfig) -> "RedisStore":
    """The store behind a URL. Connects on first use; raises StoreError for an unreadable URL."""
    return RedisStore(config)


class RedisStore:
    """A standalone Redis 6.2 or later, or Valkey.

    A dead key is removed. A live key that lost its TTL gets one at its own expiry plus the target's grace. A key that
    says nothing, zero, or something unreadable is left and counted. A pointer to a record that is gone, or that names
    another pointer, never had an instant of death, so no grace applies to it.

    Not an ordered store: SCAN has its own order, so "oldest first" is not on offer here.
    """

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._client: Redis | None = None
        self._lock = Lock()

    @property
    def client(self) -> Redis:
        """The connection pool, made at first use."""
        with self._lock:
            if self._client is None:
                self._client = connect(self.config)
            return self._client

    def clock(self) -> datetime:
        """The server's time, in UTC. Raises UnavailableError, or StoreError where TIME is not allowed."""
        with translated(self.config, None, command="time"):
            seconds, microseconds = send(self.client, "TIME")
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))

    def preflight(self, target: Target) -> Sequence[Finding]:
        """What stands in the way of cleaning, and what is worth knowing. Changes nothing.

        Raises UnavailableError, and StoreError for a command or key that the login may not use. A pattern that matches
        nothing is a finding, not an error: an empty keyspace is an ordinary one.
        """
        return preflight.inspect(self.client, self.config, target, compile_rule(target))

    def census(self, target: Target, cutoff: datetime, timeout: timedelta) -> Census:
        """Count by judging every key; lower bounds, and not `exact`, when `timeout` cuts it short.

        Not a snapshot: keys that come and go meanwhile may be counted or not, and SCAN may name a key twice while the
        server resizes its table.
        """
        counts, complete = self._look(target, cutoff, timeout)
        oldest = counts.oldest_ms
        return Census(
            live=counts.live,
            expired=counts.expired,
            without_expiry=counts.without_expiry,
            unparsable=counts.unparsable,
            oldest_expired=None if oldest is None else datetime.fromtimestamp(oldest / 1000, UTC),
            exact=complete,
            details=dict(counts.details),
        )

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        """Count the expired keys by a sweep of its own; None when it could not finish within `timeout`."""
        counts, complete = self._look(target, cutoff, timeout)
        return counts.expired if complete else None

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        """One sweep, one shard: a server runs one script at a time, so a second shard would gain nothing."""
        return Work(
            STRATEGY,
            why=(
                "no index orders keys by their expiry: SCAN for keys of the pattern and type,"
                f" then judge and remove up to {compile_rule(target).slice} of them in one script"
            ),
            shards=(Shard(0),),
        )

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        """Go through about `size` keys, in scripts of at most SLICE, and remove the dead ones, at most `size`.

        A fault after something was done ends the batch instead of losing its count; the next call then meets the fault.
        `deleted` and `repaired` are exact; a key that stays may be counted twice, because SCAN may name it twice while
        the server shrinks its table.
        """
        rule = compile_rule(target)
        size = min(size, MAX_BATCH)
        at = int(str(cursor["scan"])) if cursor else START
        sum_ = Counts()
        looked = 0
        try:
            for number, page in enumerate(pages(self.client, rule.source, at, min(size, SLICE)), 1):
                at = page.at
                complete = self._clean_page(rule, target, page, cutoff, size, sum_)
                if not complete:
                    return _outcome(sum_, at)
                at = page.following
                looked += len(page.keys)
                if at == START:
                    return _outcome(sum_, None)
                if looked >= size or number >= MAX_PAGES:
                    break
        except RedisError as fault:
            if sum_.deleted == 0 and looked == 0:
                raise translate(fault, self.config, target, batch=True) from fault
        return _outcome(sum_, at)

    def load(self) -> Load:
        """How busy the server is. Raises UnavailableError."""
        return load.look(self.client, self.config)

    def close(self) -> None:
        """Give back every connection. Safe to call twice; the next use connects again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.connection_pool.disconnect()
            client.close()

    def _clean_page(self, rule: Rule, target: Target, page: Page, cutoff: datetime, size: int, total: Counts) -> bool:
        """Clean a page within what is left of `size`; False when it has to be read again from its own cursor.

        Only what was changed is counted of such a page: its other keys are counted when it is read again.
        """
        counts = Counts()
        rest = page.keys
        complete = False
        try:
            while rest:
                room = size - total.deleted - counts.deleted
                if room <= 0:
                    break
                done, seen = clean_slice(self.client, rule, target, rest[: min(size, rule.slice)], cutoff, room)
                counts.add(seen)
                rest = rest[done:]
            complete = not rest
        finally:
            if complete:
                total.add(counts)
            else:
                total.scanned += counts.deleted
                total.add_changes(counts)
        return complete

    def _look(self, target: Target, cutoff: datetime, timeout: timedelta) -> tuple[Counts, bool]:
        rule = compile_rule(target)
        deadline = monotonic() + timeout.total_seconds()
        with translated(self.config, target):
            return look(self.client, rule, target, cutoff, deadline)


def _outcome(counts: Counts, at: int | None) -> BatchOutcome:
    return BatchOutcome(
        scanned=counts.scanned,
        deleted=counts.deleted,
        # A string, because SCAN's cursors are unsigned 64-bit numbers and JSON's are not.
        cursor=None if at is None else {"scan": str(at)},
        live=counts.live,
        without_expiry=counts.without_expiry,
        unparsable=counts.unparsable,
        repaired=counts.repaired,
        largest=counts.largest,
        slowest_seconds=counts.slowest,
    )
