"""PostgreSQL behind the store protocol: looks, counts, plans, and deletes one bounded batch at a time."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from psycopg import sql

from cleanup_pipeline.model.advice import Advice
from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, Remains
from cleanup_pipeline.model.outline import Clients, Sighting
from cleanup_pipeline.model.plan import Census, Finding, Shard, Storage, Work
from cleanup_pipeline.model.removed import Handover, Lot, PutBack
from cleanup_pipeline.model.seen import Seen
from cleanup_pipeline.model.store_config import LEASE, StoreConfig
from cleanup_pipeline.model.survey import Asked, Survey
from cleanup_pipeline.model.target import MAX_BATCH, Source, Target
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.base import BatchTimeoutError, ImplausibleError, Store
from cleanup_pipeline.stores.postgres import (
    advice,
    checkup,
    describe,
    keeping,
    looks,
    naming,
    partitions,
    strategy,
    tls,
    upkeep,
)
from cleanup_pipeline.stores.postgres.batches import Place, Texts, number, sweep, walk
from cleanup_pipeline.stores.postgres.canaries import RowCanaries, mark_of
from cleanup_pipeline.stores.postgres.connect import Connection, Connections
from cleanup_pipeline.stores.postgres.leases import SessionLeases
from cleanup_pipeline.stores.postgres.load import look
from cleanup_pipeline.stores.postgres.own_columns import columns_of
from cleanup_pipeline.stores.postgres.park import carried, park_next, without_parked
from cleanup_pipeline.stores.postgres.predicate import Predicate, column_alone
from cleanup_pipeline.stores.postgres.putting_back import put_back
from cleanup_pipeline.stores.postgres.relation import Leaf, Relation, inspect, leaves, source_of
from cleanup_pipeline.stores.postgres.removal import removal_of
from cleanup_pipeline.stores.postgres.showing import predicate_of
from cleanup_pipeline.stores.postgres.statements import statement
from cleanup_pipeline.stores.postgres.survey import survey
from cleanup_pipeline.stores.postgres.zone import SessionZone, session_zone

SAMPLED_BLOCKS = 400
"""Read at random to cut an index walk into shards: 3 MiB, for an error of a few per cent."""


class PostgresStore:
    """One PostgreSQL database. Connects on first use; not for use by several threads at once."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self.beside: list[Store] = []
        """For other databases of the server; closed with it."""
        self._connections = Connections(config)
        self._leases = SessionLeases(self._connections, config.lease or LEASE)
        self._relations: dict[str, Relation] = {}
        self._leaves: dict[str, tuple[Leaf, ...]] = {}
        self._texts: Texts = {}
        self._known: dict[str, keeping.Known] = {}
        """By target: what is needed to keep its rows."""
        self._frozen: tuple[tuple[str, datetime, datetime | None, tuple[str, ...]], Predicate] | None = None
        """The predicate of the pass under way: compiling it takes as long as a small batch."""

    def clock(self) -> datetime:
        with self._connections.use() as connection:
            row = connection.execute(statement("clock")).fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        return _utc(row[0])

    def preflight(self, target: Target) -> Sequence[Finding]:
        with self._connections.use(target) as connection:
            relation = inspect(connection, target, self._zone)
            self._relations[target.name] = relation
            self._leaves[target.name] = leaves(connection, relation.oid)
            self._texts.clear()
            self._known.pop(target.name, None)
            self._frozen = None
            predicate = self._predicate(relation, target, datetime.now(UTC))
            # Guards of the wrong type, or an expression that cannot be planned, show here and not in the first batch.
            probe = sql.SQL("EXPLAIN ") + statement("survivors", table=relation.identifier, expired=predicate.expired)
            connection.execute(probe, predicate.parameters)
            asked = [
                *upkeep.rights(connection, relation, target),
                *keeping.findings(connection, relation, target),
            ]
        return [*relation.findings, *asked]

    def census(self, target: Target, cutoff: datetime, timeout: timedelta) -> Census:
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
            predicate = self._predicate(relation, target, cutoff)
            query = statement(
                "census",
                table=relation.identifier,
                live=predicate.live,
                expired=predicate.expired,
                without_expiry=predicate.without_expiry,
                expiry=predicate.expiry,
                late=predicate.late,
                scope=predicate.scope,
            )
        row, _ = self._first(target, query, predicate, timeout)
        if row is None:
            return Census()
        live, expired, without, total, oldest, late = row
        _refuse_the_impossible(target, total - without, live + expired - late, late)
        return Census(
            live=live,
            expired=expired,
            without_expiry=without,
            unparsable=total - live - expired - without,
            oldest_expired=predicate.instant_of(oldest),
            exact=True,
        )

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
        predicate = self._predicate(relation, target, cutoff)
        query = statement("survivors", table=relation.identifier, expired=predicate.expired)
        row, _ = self._first(target, query, predicate, timeout, after_deleting=True)
        return None if row is None else int(row[0])

    def remains(self, target: Target, cutoff: datetime, timeout: timedelta) -> Remains:
        began = monotonic()
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
        predicate = self._predicate(relation, target, cutoff)
        query = statement(
            "oldest_expired", table=relation.identifier, expiry=predicate.expiry, expired=predicate.expired
        )
        oldest, found = self._first(target, query, predicate, timeout)
        if not found:
            return Remains(None, None, known=False)
        if oldest is None:
            return Remains(0, None, known=True)
        left = timeout - timedelta(seconds=monotonic() - began)
        count = self.survivors(target, cutoff, left) if left > timedelta(0) else None
        return Remains(count, predicate.instant_of(oldest[0]), known=True)

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
            pieces = leaves(connection, relation.oid)
            self._leaves[target.name] = pieces
            row = connection.execute(
                statement("correlation"), {"oid": relation.oid, "column": relation.ordered_by}
            ).fetchone()
            if not pieces:
                return Work(strategy.BLOCK_SWEEP, "a partitioned table without partitions", (Shard(0),))
            doomed = self._droppable(connection, relation, target, cutoff)
            if doomed:
                gone = {item.leaf.oid for item in doomed}
                pieces = tuple(leaf for leaf in pieces if leaf.oid not in gone)
            chosen, why = strategy.choose(relation, pieces, row[0] if row else None, census)
            edges: list[str] = []
            # Oldest first is what a row limit is about: several shards would each take from their own oldest.
            if chosen == strategy.INDEX_WALK and len(pieces) == 1 and target.row_limit is None:
                share = strategy.expired_share(census, pieces) or 0.0
                count = strategy.shards_of(pieces[0], share, target.max_shards)
                edges = _edges(connection, pieces[0], self._predicate(relation, target, cutoff), count)
        shards = strategy.cut(chosen, pieces, target.max_shards, edges)
        if doomed:
            why = f"{len(doomed)} partition(s) lie wholly before the cutoff and are dropped; the rest: {why}"
            shards = strategy.with_drops(shards, gone)
        return Work(chosen, why, shards)

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        size = min(size, MAX_BATCH)
        if strategy.DROP in shard.bounds:
            if target.lease is not None:
                self._leases.renew(target, target.lease)
            return self._drop_next(target, cursor, size, cutoff)
        with self._session(target) as connection:
            relation = self._relation(connection, target)
            mine = self._leaves_of(connection, relation, target, shard, cursor)
            if not mine:
                return BatchOutcome(scanned=0, deleted=0, cursor=None)
            at = cursor or {"oid": mine[0].oid}
            place = self._place(relation, target, cutoff, mine, at)
            if target.handover is not None:
                place = replace(place, hand_over=self._keeper(connection, relation, target, target.handover))
            if work.strategy == strategy.INDEX_WALK:
                outcome = walk(connection, place, shard, at, size)
            else:
                outcome = sweep(connection, place, shard, at, size, lambda: _blocks(connection, place.leaf))
        return replace(outcome, cursor=carried(outcome.cursor, at))

    def step_over(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, cutoff: datetime
    ) -> Cursor | None:
        if strategy.DROP in shard.bounds:
            return self._step_over_in_drop(target, cursor, cutoff)
        with self._session(target) as connection:
            relation = self._relation(connection, target)
            mine = self._leaves_of(connection, relation, target, shard, cursor)
            if not mine:
                return None
            at = cursor or {"oid": mine[0].oid}
            place = self._place(relation, target, cutoff, mine, at)
            walking = work.strategy == strategy.INDEX_WALK
            return park_next(connection, place.leaf, place.predicate, place.locking, walking, shard, at)

    def put_back(self, target: Target, lot: Lot, *, dry_run: bool) -> PutBack:
        with self._session(target) as connection:
            return put_back(connection, lot, dry_run=dry_run)

    def _keeper(self, connection: Connection, relation: Relation, target: Target, handover: Handover) -> keeping.Keeper:
        if target.name not in self._known:
            mark = mark_of(connection, relation, target) if target.canaries else None
            self._known[target.name] = keeping.Known(columns_of(connection, relation.oid), mark)
        return keeping.Keeper(target, relation, self._known[target.name], handover)

    def _droppable(
        self, connection: Connection, relation: Relation, target: Target, cutoff: datetime
    ) -> list[partitions.Droppable]:
        # A window keeps what died before it, and a partition may hold some of that; it is no part of a limit either.
        if not target.drop_partitions or target.since is not None or target.row_limit is not None:
            return []
        if target.set_null or target.detach or target.spared:
            return []
        _, rule = source_of(target)
        alone = column_alone(rule)
        if alone is None or alone[1] or alone[0].never_values:
            return []
        expiry = replace(alone[0], zone=relation.shape.zone_of(alone[0]))
        return partitions.find(connection, relation, expiry, leaves(connection, relation.oid), cutoff)

    def _drop_next(self, target: Target, cursor: Cursor | None, size: int, cutoff: datetime) -> BatchOutcome:
        """Drop the next partition, or sweep it where some of its rows have to stay."""
        at = cursor or {"done": 0}
        with self._connections.own(target, target.operation_timeout, {}) as connection:
            relation = self._relation(connection, target)
            left = [i for i in self._droppable(connection, relation, target, cutoff) if i.leaf.oid > number(at["done"])]
            if not left:
                return BatchOutcome(scanned=0, deleted=0, cursor=None)
            item, predicate = left[0], self._predicate(relation, target, cutoff)
            onward: Cursor | None = {"done": item.leaf.oid} if len(left) > 1 else None
            if number(at.get("oid")) != item.leaf.oid:
                dropped = partitions.drop(connection, relation, item, predicate)
                if dropped is not None:
                    return replace(dropped, cursor=onward)
            place = self._place(relation, target, cutoff, [item.leaf], at)
            outcome = sweep(connection, place, Shard(0), at, size, lambda: _blocks(connection, item.leaf))
        onward_here = carried(outcome.cursor, at)
        return replace(outcome, cursor={**onward_here, "done": at["done"]} if onward_here else onward)

    def _step_over_in_drop(self, target: Target, cursor: Cursor | None, cutoff: datetime) -> Cursor | None:
        at = cursor or {"done": 0}
        with self._session(target) as connection:
            relation = self._relation(connection, target)
            left = [i for i in self._droppable(connection, relation, target, cutoff) if i.leaf.oid > number(at["done"])]
            if not left:
                return None
            leaf, done = left[0].leaf, at["done"]
            at = at if number(at.get("oid")) == leaf.oid else {"oid": leaf.oid, "done": done}
            place = self._place(relation, target, cutoff, [leaf], at)
            onward = park_next(connection, leaf, place.predicate, place.locking, False, Shard(0), at)
        return {**onward, "done": done} if onward else {"done": leaf.oid} if len(left) > 1 else None

    def newest(self, target: Target, rank: int, timeout: timedelta) -> datetime | None:
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
            pieces = leaves(connection, relation.oid)
        if not looks.is_cheap(relation, pieces):
            return None
        predicate = self._predicate(relation, target, datetime.now(UTC))
        row, _ = self._first(target, looks.newest(relation, predicate, rank), predicate, timeout)
        return predicate.instant_of(row[0]) if row else None

    def shape(self, target: Target) -> str | None:
        with self._connections.use(target) as connection:
            return looks.shape(self._relation(connection, target), target)

    def sightings(self, target: Target, cutoff: datetime, timeout: timedelta) -> Generator[Sighting, None, None]:
        target = replace(target, spared=())
        with self._connections.use(target, timeout) as connection:
            relation = self._relation(connection, target)
            predicate = self._predicate(relation, target, cutoff)
            yield from naming.all_of(connection, relation, target, predicate, timeout)

    def nearest(self, target: Target, cutoff: datetime, count: int, timeout: timedelta) -> Sequence[Sighting]:
        with self._connections.use(target, timeout) as connection:
            relation = self._relation(connection, target)
            predicate = self._predicate(relation, target, cutoff)
            return naming.nearest(connection, relation, target, predicate, count, timeout)

    def odd(self, target: Target, cutoff: datetime, count: int, timeout: timedelta) -> Sequence[Sighting]:
        with self._connections.use(target, timeout) as connection:
            relation = self._relation(connection, target)
            predicate = self._predicate(relation, target, cutoff)
            return naming.odd(connection, relation, target, predicate, count, timeout)

    def by_client(self, target: Target, cutoff: datetime, most: int, timeout: timedelta) -> Clients:
        with self._connections.use(target, timeout) as connection:
            relation = self._relation(connection, target)
            predicate = self._predicate(relation, target, cutoff)
            return naming.by_client(connection, relation, target, predicate, most, timeout)

    def survey(self, asked: Asked) -> Survey:
        with self._connections.use() as connection:
            return survey(connection)

    def describe(self) -> Sequence[Seen]:
        with self._connections.use() as connection:
            return describe.tables(connection)

    def schemas(self) -> Sequence[str]:
        with self._connections.use() as connection:
            return [name for (name,) in connection.execute(statement("schemas")).fetchall()]

    def databases(self) -> Sequence[str]:
        with self._connections.use() as connection:
            return [name for (name,) in connection.execute(statement("databases")).fetchall()]

    def magnitude(self, source: Source, name: str) -> EpochUnit | None:
        with self._connections.use() as connection:
            return describe.magnitude(connection, source, name)

    def check_server(self) -> Sequence[Finding]:
        with self._connections.use() as connection:
            return [*tls.findings(self.config.url), *checkup.server(connection)]

    def check_source(self, target: Target) -> Sequence[Finding]:
        with self._connections.use(target) as connection:
            relation = self._relations.get(target.name)
            predicate = self._predicate(relation, target, datetime.now(UTC)) if relation else None
            return list(checkup.table(connection, target, relation, predicate))

    def advise(self, target: Target, census: Census, now: datetime) -> Advice:
        with self._connections.use(target) as connection:
            return advice.advise(connection, self._relation(connection, target), target, census, now)

    def canaries(self, target: Target) -> RowCanaries:
        return RowCanaries(self._connections, target, self._relation)

    def storage(self, target: Target) -> Storage:
        with self._connections.use(target) as connection:
            return upkeep.storage(connection, self._relation(connection, target))

    def vacuum(self, target: Target, at_most: timedelta) -> None:
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
        upkeep.vacuum(self._connections, relation, target, at_most)

    def load(self) -> Load:
        return look(self._connections)

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        return self._leases.acquire(target, lease)

    def renew(self, target: Target, lease: Lease) -> Lease:
        return self._leases.renew(target, lease)

    def release(self, target: Target, lease: Lease) -> None:
        self._leases.release(target, lease)

    def holders(self, target: Target) -> Sequence[Holder]:
        return self._leases.holders(target)

    def free(self, target: Target) -> int:
        return self._leases.free(target)

    def _zone(self, target: Target) -> SessionZone:
        return session_zone(self._connections, target)

    def _session(self, target: Target) -> AbstractContextManager[Connection]:
        """Where a batch runs: the session that holds its lease, or any."""
        return self._connections.use(target) if target.lease is None else self._leases.session(target, target.lease)

    def close(self) -> None:
        while self.beside:
            self.beside.pop().close()
        self._leases.close()
        self._connections.close()

    def _leaves_of(
        self, connection: Connection, relation: Relation, target: Target, shard: Shard, cursor: Cursor | None
    ) -> list[Leaf]:
        """The partitions of a shard that are still to be cleaned, the one that the cursor is in first."""
        if target.name not in self._leaves:
            self._leaves[target.name] = leaves(connection, relation.oid)
        return [
            leaf
            for leaf in self._leaves[target.name]
            if number(shard.bounds.get("oid_from")) <= leaf.oid <= number(shard.bounds.get("oid_to"))
            and leaf.oid >= number((cursor or {}).get("oid"))
            and str(leaf.oid) not in str(shard.bounds.get(strategy.WITHOUT) or "").split()
        ]

    def _first(
        self,
        target: Target,
        query: sql.Composed,
        predicate: Predicate,
        timeout: timedelta,
        *,
        after_deleting: bool = False,
    ) -> tuple[tuple[Any, ...] | None, bool]:
        """The first row, and whether the query came to its end in time."""
        milliseconds = max(1, int(timeout.total_seconds() * 1000))
        began = monotonic()
        try:
            with self._connections.use(target, timeout) as connection, connection.transaction():
                connection.execute(
                    "SELECT set_config('statement_timeout', %s, true), set_config('plan_cache_mode', 'auto', true)",
                    (f"{milliseconds}ms",),
                )
                if after_deleting:
                    # To the planner, blocks are all-visible as of the last VACUUM, and reading the index alone is next
                    # to nothing. None of them is where rows have just gone: each dead entry has its block looked up,
                    # in no order. At 10M rows that took 37 s, and 5.6M blocks, where the whole table has 320,000.
                    connection.execute("SELECT set_config('enable_indexonlyscan', 'off', true)")
                return connection.execute(query, predicate.parameters).fetchone(), True
        except BatchTimeoutError:
            if (monotonic() - began) * 1000 < milliseconds / 2:
                raise
            return None, False

    def _relation(self, connection: Connection, target: Target) -> Relation:
        if target.name not in self._relations:
            self._relations[target.name] = inspect(connection, target, self._zone)
        return self._relations[target.name]

    def _place(self, relation: Relation, target: Target, cutoff: datetime, mine: list[Leaf], at: Cursor) -> Place:
        pass_ = (target.name, cutoff, target.since, target.spared)
        if self._frozen is None or self._frozen[0] != pass_:
            self._frozen = pass_, self._predicate(relation, target, cutoff)
        whole = self._frozen[1]
        predicate = without_parked(whole, at)
        key = (target.name, target.since is None, predicate is whole, not target.spared)
        return Place(mine, predicate, relation.may_lock, self._texts, key, removal_of(relation, target))

    @staticmethod
    def _predicate(relation: Relation, target: Target, cutoff: datetime) -> Predicate:
        return naming.sparing(predicate_of(target, relation.shape, cutoff), relation, target.spared)


def _refuse_the_impossible(target: Target, with_expiry: int, plausible: int, late: int) -> None:
    """Where nothing that has an expiry has one between 2001 and 2100, its unit or its column is wrong."""
    # A window does not see what died before it.
    if with_expiry <= 0 or plausible > 0 or target.since is not None:
        return
    lies = "after 2100" if late else "before 2001, or unreadable"
    raise ImplausibleError(
        f"all {with_expiry} records that have an expiry have one {lies}",
        setting=f"targets.{target.name}.expires",
        remedy="correct the column or its `unit`; nothing is deleted on such figures",
    )


def open_postgres(config: StoreConfig) -> PostgresStore:
    """A store for this configuration. Nothing is connected yet."""
    return PostgresStore(config)


def _edges(connection: Connection, leaf: Leaf, predicate: Predicate, count: int) -> list[str]:
    """Instants that cut what has expired into `count` parts of about the same size, from a sample of the blocks."""
    if count < 2:
        return []
    query = statement("expiry_edges", table=leaf.identifier, expiry=predicate.expiry, expired=predicate.expired)
    percent = min(100.0, 100.0 * SAMPLED_BLOCKS / max(1, leaf.blocks))
    shares = [i / count for i in range(1, count)]
    row = connection.execute(query, {**predicate.parameters, "percent": percent, "shares": shares}).fetchone()
    return list(row[0]) if row and row[0] else []


def _blocks(connection: Connection, leaf: Leaf) -> int:
    """Where the table ends as the sweep of it begins: what is added later is younger than the pass."""
    row = connection.execute(
        "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int", (leaf.oid,)
    ).fetchone()
    return int(row[0]) if row else 0


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)
