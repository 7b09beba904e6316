"""PostgreSQL behind the store protocol: looks, counts, plans, and deletes one bounded batch at a time."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from psycopg import sql

from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Census, Finding, Shard, Work
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import MAX_BATCH, Target
from cleanup_pipeline.stores.base import BatchTimeoutError
from cleanup_pipeline.stores.postgres import strategy
from cleanup_pipeline.stores.postgres.connect import Connection, Connections
from cleanup_pipeline.stores.postgres.load import look
from cleanup_pipeline.stores.postgres.park import carried, park_next, without_parked
from cleanup_pipeline.stores.postgres.predicate import Predicate, compile_predicate, instant_of
from cleanup_pipeline.stores.postgres.relation import Leaf, Relation, inspect, leaves, source_of
from cleanup_pipeline.stores.postgres.statements import statement

_TID = re.compile(r"\((\d+),(\d+)\)")

STUCK = 3
"""Batches in a row that deleted nothing they found, after which a walk steps over that instant."""


class PostgresStore:
    """One PostgreSQL database. Connects on first use; not for use by several threads at once."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._connections = Connections(config)
        self._relations: dict[str, Relation] = {}
        self._leaves: dict[str, tuple[Leaf, ...]] = {}

    def clock(self) -> datetime:
        with self._connections.use() as connection:
            row = connection.execute(statement("clock")).fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        return _utc(row[0])

    def preflight(self, target: Target) -> Sequence[Finding]:
        with self._connections.use(target) as connection:
            relation = inspect(connection, target)
            self._relations[target.name] = relation
            self._leaves[target.name] = leaves(connection, relation.oid)
            predicate = self._predicate(relation, target, datetime.now(UTC))
            # Guards of the wrong type, or an expression that cannot be planned, show here and not in the first batch.
            probe = sql.SQL("EXPLAIN ") + statement("survivors", table=relation.identifier, expired=predicate.expired)
            connection.execute(probe, predicate.parameters)
        return relation.findings

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
                guards=predicate.guards,
            )
        row = self._bounded(target, query, predicate, timeout)
        if row is None:
            return Census()
        live, expired, without, total, oldest = row
        _, expiry = source_of(target)
        return Census(
            live=live,
            expired=expired,
            without_expiry=without,
            unparsable=total - live - expired - without,
            oldest_expired=instant_of(oldest, expiry.unit, expiry.zone),
            exact=True,
        )

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
        predicate = self._predicate(relation, target, cutoff)
        query = statement("survivors", table=relation.identifier, expired=predicate.expired)
        row = self._bounded(target, query, predicate, timeout)
        return None if row is None else int(row[0])

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        _, expiry = source_of(target)
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
            pieces = leaves(connection, relation.oid)
            self._leaves[target.name] = pieces
            row = connection.execute(
                statement("correlation"), {"oid": relation.oid, "column": expiry.column}
            ).fetchone()
        if not pieces:
            return Work(strategy.BLOCK_SWEEP, "a partitioned table without partitions", (Shard(0),))
        chosen, why = strategy.choose(relation, pieces, row[0] if row else None, census)
        return Work(chosen, why, strategy.cut(chosen, pieces, target.max_shards))

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        size = min(size, MAX_BATCH)
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
            mine = self._leaves_of(connection, relation, target, shard, cursor)
            if not mine:
                return BatchOutcome(scanned=0, deleted=0, cursor=None)
            at = cursor or {"oid": mine[0].oid}
            predicate = without_parked(self._predicate(relation, target, cutoff), at)
            batch = self._walk if work.strategy == strategy.INDEX_WALK else self._sweep
            outcome = batch(connection, relation, predicate, mine, shard, at, size)
        return replace(outcome, cursor=carried(outcome.cursor, at))

    def step_over(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, cutoff: datetime
    ) -> Cursor | None:
        with self._connections.use(target) as connection:
            relation = self._relation(connection, target)
            mine = self._leaves_of(connection, relation, target, shard, cursor)
            if not mine:
                return None
            at = cursor or {"oid": mine[0].oid}
            predicate = without_parked(self._predicate(relation, target, cutoff), at)
            walk = work.strategy == strategy.INDEX_WALK
            return park_next(connection, mine[0], predicate, _locking(relation), walk, shard, at)

    def load(self) -> Load:
        return look(self._connections)

    def close(self) -> None:
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
            if _number(shard.bounds.get("oid_from")) <= leaf.oid <= _number(shard.bounds.get("oid_to"))
            and leaf.oid >= _number((cursor or {}).get("oid"))
        ]

    def _walk(
        self,
        connection: Connection,
        relation: Relation,
        predicate: Predicate,
        mine: list[Leaf],
        shard: Shard,
        cursor: Cursor,
        size: int,
    ) -> BatchOutcome:
        parameters = {**predicate.parameters, "size": size, "after": cursor.get("after")}
        after: sql.Composable = sql.SQL("true")
        if cursor.get("after") is not None:
            after = sql.SQL("{e} {comparison} %(after)s::{t}").format(
                e=predicate.expiry,
                comparison=sql.SQL(">" if _number(cursor.get("stuck")) >= STUCK else ">="),
                t=predicate.cast,
            )
        query = statement(
            "index_walk",
            table=mine[0].identifier,
            expiry=predicate.expiry,
            expired=predicate.expired,
            after=after,
            locking=_locking(relation),
        )
        found, deleted, last = _one(connection, query, parameters)
        if found < size:
            return _outcome(found, deleted, {"oid": mine[1].oid} if len(mine) > 1 else None)
        # A trigger can keep rows from going; without stepping past them the same batch would come back for ever.
        stuck = 0 if deleted else _number(cursor.get("stuck")) + 1
        onward: dict[str, int | str | float | None] = {"oid": mine[0].oid, "after": last, "stuck": stuck}
        return _outcome(found, deleted, onward)

    def _sweep(
        self,
        connection: Connection,
        relation: Relation,
        predicate: Predicate,
        mine: list[Leaf],
        shard: Shard,
        cursor: Cursor,
        size: int,
    ) -> BatchOutcome:
        leaf = mine[0]
        block = _number(cursor.get("block", shard.bounds.get("block_from")))
        offset = _number(cursor.get("offset"))
        bound = shard.bounds.get("block_to")
        last_block = _number(bound) if bound is not None else self._blocks(connection, leaf, cursor)
        share = float(cursor.get("share") or 0) or None
        end = min(last_block, block + strategy.blocks_per_batch(leaf, share, size))
        parameters = {**predicate.parameters, "size": size, "first": f"({block},{offset})", "end": f"({end},0)"}
        query = statement("block_sweep", table=leaf.identifier, expired=predicate.expired, locking=_locking(relation))
        found, deleted, last = _one(connection, query, parameters)
        onward: dict[str, int | str | float | None] = {"oid": leaf.oid, "last": last_block}
        onward["share"] = _smoothed(share, found, leaf, end - block)
        if found >= size and (place := _TID.fullmatch(last or "")):
            onward |= {"block": int(place[1]), "offset": int(place[2]) + 1}
        elif end < last_block:
            onward |= {"block": end, "offset": 0}
        else:
            return _outcome(found, deleted, {"oid": mine[1].oid} if len(mine) > 1 else None)
        return _outcome(found, deleted, onward)

    def _blocks(self, connection: Connection, leaf: Leaf, cursor: Cursor) -> int:
        """Where the table ended when the sweep of it began: what is added later is younger than the pass."""
        if "last" in cursor:
            return _number(cursor["last"])
        row = connection.execute(
            "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int", (leaf.oid,)
        ).fetchone()
        return int(row[0]) if row else 0

    def _bounded(
        self, target: Target, query: sql.Composed, predicate: Predicate, timeout: timedelta
    ) -> tuple[Any, ...] | None:
        milliseconds = max(1, int(timeout.total_seconds() * 1000))
        began = monotonic()
        try:
            with self._connections.use(target, timeout) as connection, connection.transaction():
                connection.execute("SELECT set_config('statement_timeout', %s, true)", (f"{milliseconds}ms",))
                return connection.execute(query, predicate.parameters).fetchone()
        except BatchTimeoutError:
            if (monotonic() - began) * 1000 < milliseconds / 2:
                raise
            return None

    def _relation(self, connection: Connection, target: Target) -> Relation:
        if target.name not in self._relations:
            self._relations[target.name] = inspect(connection, target)
        return self._relations[target.name]

    @staticmethod
    def _predicate(relation: Relation, target: Target, cutoff: datetime) -> Predicate:
        _, expiry = source_of(target)
        return compile_predicate(expiry, relation.expiry_type, target.where, cutoff)


def open_postgres(config: StoreConfig) -> PostgresStore:
    """A store for this configuration. Nothing is connected yet."""
    return PostgresStore(config)


def _one(connection: Connection, query: sql.Composed, parameters: dict[str, object]) -> tuple[int, int, str | None]:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None  # noqa: S101 - three scalar subqueries make one row
    return row[0], row[1], row[2]


def _outcome(found: int, deleted: int, cursor: Cursor | None) -> BatchOutcome:
    return BatchOutcome(scanned=found, deleted=deleted, cursor=cursor, largest=deleted)


def _locking(relation: Relation) -> sql.SQL:
    return sql.SQL("FOR UPDATE SKIP LOCKED") if relation.may_lock else sql.SQL("")


def _smoothed(share: float | None, found: int, leaf: Leaf, blocks: int) -> float:
    rows = max(1.0, blocks * (leaf.rows / leaf.blocks if leaf.rows and leaf.blocks else 30.0))
    seen = min(1.0, found / rows)
    return seen if share is None else share * 0.5 + seen * 0.5


def _number(value: int | str | float | None) -> int:
    return int(value or 0)


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)
