"""RedisStore: expired keys found by SCAN and removed by a script that judges them again."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic

from redis.exceptions import ConnectionError, RedisError, TimeoutError

from cleanup_pipeline.model.advice import Advice
from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, Remains
from cleanup_pipeline.model.outline import Sighting
from cleanup_pipeline.model.plan import Census, Finding, Shard, Work
from cleanup_pipeline.model.removed import Lot, PutBack
from cleanup_pipeline.model.seen import Seen
from cleanup_pipeline.model.store_config import LEASE, StoreConfig
from cleanup_pipeline.model.survey import Asked, Survey
from cleanup_pipeline.model.target import (
    MAX_BATCH,
    ElementsExpiry,
    MembersExpiry,
    MsgpackExpiry,
    NativeTtl,
    PointerExpiry,
    ScoreExpiry,
    Source,
    Target,
)
from cleanup_pipeline.model.words import EpochUnit, Mode, Severity
from cleanup_pipeline.stores.base import StoreError, lease_lost
from cleanup_pipeline.stores.redis import advice, checkup, describe, keeping, load, naming, preflight
from cleanup_pipeline.stores.redis.canaries import KeyCanaries
from cleanup_pipeline.stores.redis.connection import Client, connect, disconnect, in_cluster, primaries, send
from cleanup_pipeline.stores.redis.containers import (
    Step,
    is_container_rule,
    open_containers,
    read_position,
    walk_all,
)
from cleanup_pipeline.stores.redis.counts import RANK, Counts
from cleanup_pipeline.stores.redis.elements import element_step
from cleanup_pipeline.stores.redis.faults import translate, translated
from cleanup_pipeline.stores.redis.leases import LeaseBook
from cleanup_pipeline.stores.redis.looks import expiry_shape
from cleanup_pipeline.stores.redis.references import reference_step
from cleanup_pipeline.stores.redis.rights import rights
from cleanup_pipeline.stores.redis.rules import EPOCH, compile_rule
from cleanup_pipeline.stores.redis.scan import START, Page
from cleanup_pipeline.stores.redis.scores import score_step
from cleanup_pipeline.stores.redis.survey import survey
from cleanup_pipeline.stores.redis.sweep import Sweep, clean_slice, look

STRATEGY = "scan_script"
NOTHING = "none"
GENTLE = 100
"""Keys of one script where the settings ask for pauses: a third of a millisecond of the server's."""
MAX_PAGES = 16
"""Most SCANs of one batch, so that a batch ends soon where the target's keys are few among many others."""


@dataclass(slots=True)
class _Going:
    """How far a batch is."""

    at: int
    began_at: int
    looked: int = 0


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
        self._client: Client | None = None
        self._lock = Lock()
        self._newest: dict[str, list[int]] = {}
        """What the last census of each target saw of the latest ends, if it came to its end."""

    @property
    def client(self) -> Client:
        """The connection pool, made at first use."""
        with self._lock:
            if self._client is None:
                with translated(self.config, None):
                    self._client = connect(self.config)
            return self._client

    def clock(self) -> datetime:
        """The server's time, in UTC. Raises UnavailableError, or StoreError where TIME is not allowed."""
        with translated(self.config, None, command="time"):
            seconds, microseconds = send(self.client, "TIME", node=primaries(self.client)[0])
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))

    def preflight(self, target: Target) -> Sequence[Finding]:
        """What stands in the way of cleaning, and what is worth knowing. Changes nothing.

        Raises UnavailableError, and StoreError for a command or key that the login may not use. A pattern that matches
        nothing is a finding, not an error: an empty keyspace is an ordinary one.
        """
        of_keeping = keeping.findings(self.client, target)
        if is_container_rule(target):
            walk = open_containers(self.client, target, EPOCH, delete=False)
            return [*of_keeping, *preflight.inspect_containers(self.client, self.config, target, walk)]
        return [*of_keeping, *preflight.inspect(self.client, self.config, target, compile_rule(target))]

    def census(self, target: Target, cutoff: datetime, timeout: timedelta) -> Census:
        """Count by judging every key; lower bounds, and not `exact`, when `timeout` cuts it short.

        Not a snapshot: keys that come and go meanwhile may be counted or not, and SCAN may name a key twice while the
        server resizes its table.
        """
        if _in_no_window(target):
            return Census(exact=True, live=0, expired=0, without_expiry=0, unparsable=0)
        counts, complete = self._look(target, cutoff, timeout)
        self._newest[target.name] = counts.newest_ms if complete else []
        return Census(
            live=counts.live,
            expired=counts.expired,
            without_expiry=counts.without_expiry,
            unparsable=counts.unparsable,
            oldest_expired=_instant(counts.oldest_ms),
            exact=complete,
            details=dict(counts.details),
        )

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        """Count the expired keys by a sweep of its own; None when it could not finish within `timeout`."""
        if _in_no_window(target):
            return 0
        counts, complete = self._look(target, cutoff, timeout)
        return counts.expired if complete else None

    def remains(self, target: Target, cutoff: datetime, timeout: timedelta) -> Remains:
        """By one sweep for both; None and unknown when it could not finish within `timeout`, as SCAN has no order."""
        counts, complete = self._look(target, cutoff, timeout)
        if not complete:
            return Remains(None, None, known=False)
        return Remains(counts.expired, _instant(counts.oldest_ms), known=True)

    def newest(self, target: Target, rank: int, timeout: timedelta) -> datetime | None:
        """As the last census saw it: SCAN has no order, and a second sweep is not cheap. None without one."""
        seen = self._newest.get(target.name, [])
        return _instant(seen[min(rank, RANK) - 1]) if len(seen) >= min(rank, RANK) else None

    def shape(self, target: Target) -> str | None:
        with translated(self.config, target):
            return expiry_shape(self.client, target)

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        """One shard a server: it runs one script at a time, so a second shard would gain nothing.

        None for a window of records that have no instant of death.
        """
        if _in_no_window(target):
            return Work(NOTHING, "its records have no instant at which they die, so that no window holds them", ())
        if is_container_rule(target):
            open_containers(self.client, target, cutoff, delete=False)
            strategy, why = (
                "members",
                (
                    "SCAN for keys of the pattern and type, then look through their members in slices"
                    " and remove up to 250 of them in one script that checks each again"
                ),
            )
        else:
            strategy, why = (
                STRATEGY,
                (
                    "no index orders keys by their expiry: SCAN for keys of the pattern and type,"
                    f" then judge and remove up to {compile_rule(target).slice} of them in one script"
                ),
            )
        with translated(self.config, target):
            nodes = primaries(self.client)
        shards = tuple(Shard(n, {"node": node} if node else {}) for n, node in enumerate(nodes))
        return Work(strategy, why, shards, _dies_with_others(target))

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        """Go through about `size` keys, in scripts of at most SLICE, and remove the dead ones, at most `size`.

        A fault after something was done ends the batch instead of losing its count; the next call then meets the fault.
        `deleted` and `repaired` are exact; a key that stays may be counted twice, because SCAN may name it twice while
        the server shrinks its table.
        """
        size = min(size, MAX_BATCH)
        if is_container_rule(target):
            return self._prune(target, shard, cursor, size, cutoff)
        rule = compile_rule(target)
        at = int(str(cursor["scan"])) if cursor else START
        kept = None if target.handover is None else keeping.Kept(self.client, target, target.handover)
        node = str(shard.bounds.get("node", ""))
        sweep = Sweep(self.client, rule, target, cutoff, delete=True, node=node, kept=kept)
        sum_, going = Counts(), _Going(at, at)
        uncertain = 0
        # With pauses, a script at a time, each followed by its part of the pause: four in a row would be felt as one.
        most = min(size, GENTLE) if target.pause else size
        try:
            ended = self._go_through(sweep, size, most, sum_, going)
            if kept is not None:
                kept.take(sum_)
            if ended:
                return _outcome(sum_, None)
        except RedisError as fault:
            # Where a page takes several scripts, those before the fault may have removed what nobody counted.
            several = in_cluster(self.client) or isinstance(target.expiry, PointerExpiry | MsgpackExpiry)
            if kept is not None:
                kept.forget(sum_)
                # What was read and not removed is found again from here.
                going.at = going.began_at
            if sum_.deleted == 0 and sum_.repaired == 0 and going.at == going.began_at:
                raised = translate(fault, self.config, target, batch=True)
                if several:
                    raised.at_most = None
                raise raised from fault
            if several or isinstance(fault, ConnectionError | TimeoutError):
                uncertain = max(0, size - sum_.deleted)
        share = 1.0 if most == size else min(1.0, max(going.looked, 1) / size)
        return replace(_outcome(sum_, going.at), share=share, uncertain=uncertain)

    def _go_through(self, sweep: Sweep, size: int, most: int, sum_: Counts, going: _Going) -> bool:
        """Clean pages until about `most` keys were looked at or `size` removed; whether there are no more."""
        walk = sweep.pages(going.at, min(most, sweep.rule.slice), lambda: size - sum_.deleted)
        for number, (page, counts) in enumerate(walk, 1):
            going.at = page.at
            going.looked += counts.scanned + len(page.keys)
            if not self._clean_page(sweep, page, size, sum_, counts):
                return False
            going.at = page.following
            if going.at == START:
                return True
            # A page is asked to be four fifths of a script, as SCAN names somewhat more than it was asked for.
            if going.looked >= most * 4 // 5 or number >= MAX_PAGES or sweep.full:
                return False
        return False

    def put_back(self, target: Target, lot: Lot, *, dry_run: bool) -> PutBack:
        """Keys written again as they were, with the TTL that they would have by now."""
        with translated(self.config, target):
            return keeping.put_back(self.client, target, lot, dry_run=dry_run)

    def sightings(self, target: Target, cutoff: datetime, timeout: timedelta) -> Generator[Sighting, None, None]:
        """Every key, judged as a pass judges it. Raises BatchTimeoutError, StoreError."""
        with translated(self.config, target):
            yield from naming.all_of(self.client, target, cutoff, timeout)

    def survey(self, asked: Asked) -> Survey:
        """By a bounded look. Raises UnavailableError, StoreError."""
        with translated(self.config, None):
            return survey(self.client, asked)

    def describe(self) -> Sequence[Seen]:
        """Shapes of keys in a sample. Raises UnavailableError, StoreError."""
        with translated(self.config, None):
            return describe.keys(self.client)

    def magnitude(self, source: Source, name: str) -> EpochUnit | None:
        """None: `describe` says it of each value."""
        return None

    def check_server(self) -> Sequence[Finding]:
        """What is worth knowing of the server. Raises UnavailableError, StoreError."""
        with translated(self.config, None):
            return [*checkup.way(self.config.url), *checkup.server(self.client)]

    def check_source(self, target: Target) -> Sequence[Finding]:
        """What a sample of the target's keys says. Raises UnavailableError, StoreError."""
        with translated(self.config, target):
            if is_container_rule(target):
                walk = open_containers(self.client, target, EPOCH, delete=False)
                source, (reads, changes) = walk.source, preflight.container_probes(walk)
            else:
                rule = compile_rule(target)
                source, (reads, changes) = rule.source, preflight.probes_of(rule)
            probes = [*preflight.common_probes(source), *reads, *(changes if target.mode is Mode.DELETE else ())]
            found = list(rights(self.client, source, probes, changes))
            if any(finding.severity is Severity.ERROR for finding in found):
                return found
            return [*found, *checkup.keys(self.client, target)]

    def advise(self, target: Target, census: Census, now: datetime) -> Advice:
        """What the server could do alone, from the census."""
        return advice.advise(target, census)

    def canaries(self, target: Target) -> KeyCanaries:
        return KeyCanaries(self.config, target, self.client)

    def load(self) -> Load:
        """How busy the server is. Raises UnavailableError."""
        return load.look(self.client, self.config)

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        with translated(self.config, target):
            return self._leases.acquire(target, lease)

    def renew(self, target: Target, lease: Lease) -> Lease:
        with translated(self.config, target):
            renewed = self._leases.renew(target, lease)
        if renewed is None:
            raise lease_lost(target)
        return renewed

    def release(self, target: Target, lease: Lease) -> None:
        with translated(self.config, target):
            self._leases.release(target, lease)

    def holders(self, target: Target) -> Sequence[Holder]:
        with translated(self.config, target):
            return self._leases.holders(target)

    def free(self, target: Target) -> int:
        with translated(self.config, target):
            return self._leases.free(target)

    @property
    def _leases(self) -> LeaseBook:
        return LeaseBook(self.client, self.config.lease or LEASE)

    def close(self) -> None:
        """Give back every connection. Safe to call twice; the next use connects again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            disconnect(client)

    def _clean_page(self, sweep: Sweep, page: Page, size: int, total: Counts, seen: Counts) -> bool:
        """Clean a page within what is left of `size`; False when it has to be read again from its own cursor.

        Only what was changed is counted of such a page: its other keys are counted when it is read again. `seen` is
        what was judged of it already.
        """
        counts = Counts()
        counts.add(seen)
        rest = page.keys
        complete = False
        try:
            while rest:
                room = size - total.deleted - counts.deleted
                if room <= 0 or sweep.full:
                    break
                done, more = clean_slice(sweep, rest[: min(size, sweep.rule.slice)], room)
                counts.add(more)
                rest = rest[done:]
            complete = not rest
        finally:
            if complete:
                total.add(counts)
            else:
                total.scanned += counts.deleted
                total.add_changes(counts)
        return complete

    def _prune(self, target: Target, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime) -> BatchOutcome:
        node = str(shard.bounds.get("node", ""))
        walk = open_containers(self.client, target, cutoff, delete=True, node=node)
        position, sum_, uncertain = read_position(cursor), Counts(), 0
        try:
            for _ in range(MAX_PAGES):
                step_of(target)(walk, position, sum_, size - sum_.deleted)
                if position.cursor is None or sum_.deleted >= size:
                    break
        except (RedisError, StoreError) as fault:
            if sum_.deleted == 0:
                if isinstance(fault, StoreError):
                    raise
                raise translate(fault, self.config, target, batch=True) from fault
            if isinstance(fault, ConnectionError | TimeoutError):
                uncertain = max(0, size - sum_.deleted)
        return replace(_outcome(sum_, None), cursor=position.cursor, uncertain=uncertain)

    def _look(self, target: Target, cutoff: datetime, timeout: timedelta) -> tuple[Counts, bool]:
        deadline = monotonic() + timeout.total_seconds()
        total, complete = Counts(), True
        with translated(self.config, target):
            for node in primaries(self.client):
                if is_container_rule(target):
                    walk = open_containers(self.client, target, cutoff, delete=False, node=node)
                    counts, done = walk_all(step_of(target), walk, deadline)
                else:
                    sweep = Sweep(self.client, compile_rule(target), target, cutoff, delete=False, node=node)
                    counts, done = look(sweep, deadline)
                total.add(counts)
                complete = complete and done
        return total, complete


def _instant(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _in_no_window(target: Target) -> bool:
    without_instant = isinstance(target.expiry, ElementsExpiry) and target.expiry.path is None
    return target.since is not None and (without_instant or isinstance(target.expiry, MembersExpiry | NativeTtl))


def _dies_with_others(target: Target) -> bool:
    match target.expiry:
        case MembersExpiry() | PointerExpiry(expires=None):
            return True
        case ScoreExpiry(members=members) | ElementsExpiry(members=members):
            return members is not None
        case _:
            return False


def step_of(target: Target) -> Step:
    """How to go through the containers of a target."""
    if isinstance(target.expiry, ElementsExpiry):
        return element_step
    by_score_alone = isinstance(target.expiry, ScoreExpiry) and target.expiry.members is None
    return score_step if by_score_alone else reference_step


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
