"""MongoDB behind the store protocol: looks, counts, plans, and deletes one bounded batch at a time."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from cleanup_pipeline.model.advice import Advice
from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, Remains
from cleanup_pipeline.model.outline import Clients, Sighting
from cleanup_pipeline.model.plan import Census, Finding, Shard, Work
from cleanup_pipeline.model.removed import Lot, PutBack
from cleanup_pipeline.model.seen import Seen
from cleanup_pipeline.model.store_config import LEASE, StoreConfig
from cleanup_pipeline.model.survey import Asked, Survey
from cleanup_pipeline.model.target import MAX_BATCH, Source, Target
from cleanup_pipeline.model.words import AFTER_2100, EpochUnit
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError, lease_lost
from cleanup_pipeline.stores.mongo import advice, checkup, chunks, describe, keeping, looks, naming, tls
from cleanup_pipeline.stores.mongo.batches import Batch, LeaseRefusedError, sweep, value_at, walk, window_of
from cleanup_pipeline.stores.mongo.canaries import DocumentCanaries
from cleanup_pipeline.stores.mongo.collection import (
    Document,
    examine,
    expiry_index,
    require_collection,
    source_of,
    standing,
    types_of,
)
from cleanup_pipeline.stores.mongo.connect import READ_PREFERENCES, database_of, milliseconds, open_client
from cleanup_pipeline.stores.mongo.faults import UNAUTHORIZED, translated
from cleanup_pipeline.stores.mongo.guards import guards_of, within
from cleanup_pipeline.stores.mongo.leases import LeaseBook, fence_of, lease_over
from cleanup_pipeline.stores.mongo.load import look
from cleanup_pipeline.stores.mongo.park import carried, park_next, without_parked
from cleanup_pipeline.stores.mongo.predicate import Predicate, compile_predicate, from_bound
from cleanup_pipeline.stores.mongo.pulls import sweep_arrays, unwound
from cleanup_pipeline.stores.mongo.survey import survey

INDEX_WALK = "index_walk"
ID_SWEEP = "id_sweep"
ARRAY_PULL = "array_pull"


class MongoStore:
    """One MongoDB deployment. Connects on first use."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._client: MongoClient[Document] | None = None
        self._indexes: dict[str, str | None] = {}
        self._fences = False

    def clock(self) -> datetime:
        with translated(self.config, None):
            hello = self._open().admin.command("hello")
        now: datetime = hello["localTime"]
        return now if now.tzinfo else now.replace(tzinfo=UTC)

    def preflight(self, target: Target) -> Sequence[Finding]:
        source, expiry = source_of(target)
        with translated(self.config, target):
            hello = self._open().admin.command("hello")
            collection = self._collection(target)
            require_collection(collection.database, target)
            index = expiry_index(collection, expiry)
            self._indexes[target.name] = index.name if index else None
            guards = guards_of(source, target.where, within(target.guards, expiry.pull)[0])
            findings = examine(collection, target, index, guards, milliseconds(self.config.statement_timeout))
        return [*standing(hello), *findings, *keeping.findings(target, expiry.pull)]

    def census(self, target: Target, cutoff: datetime, timeout: timedelta) -> Census:
        _, expiry = source_of(target)
        predicate = self._predicate(target, cutoff)
        group = {
            "_id": predicate.state,
            "count": {"$sum": 1},
            "oldest": {"$min": predicate.instant},
        }
        stages = unwound(predicate) if predicate.pull else [{"$match": predicate.guards}]
        pipeline = [*stages, {"$group": group}]
        try:
            with translated(self.config, target):
                rows = {
                    row["_id"]: row
                    for row in self._counted(target).aggregate(pipeline, maxTimeMS=milliseconds(timeout))
                }
        except BatchTimeoutError:
            return Census()
        counts = {state: int(row["count"]) for state, row in rows.items()}
        late = counts.get("late", 0)
        return Census(
            live=counts.get("live", 0) + late,
            expired=counts.get("expired", 0),
            without_expiry=counts.get("without_expiry", 0),
            unparsable=counts.get("unparsable", 0),
            oldest_expired=from_bound(expiry, rows["expired"]["oldest"]) if "expired" in rows else None,
            exact=True,
            details={AFTER_2100: late} if late else {},
        )

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        try:
            with translated(self.config, target):
                predicate, collection = self._predicate(target, cutoff), self._collection(target)
                if predicate.pull is None:
                    return collection.count_documents(predicate.expired, maxTimeMS=milliseconds(timeout))
                dead = {"$match": {"$expr": {"$eq": [predicate.state, "expired"]}}}
                stages = [*unwound(predicate), dead, {"$count": "n"}]
                rows = list(collection.aggregate(stages, maxTimeMS=milliseconds(timeout)))
                return int(rows[0]["n"]) if rows else 0
        except BatchTimeoutError:
            return None

    def remains(self, target: Target, cutoff: datetime, timeout: timedelta) -> Remains:
        began = monotonic()
        _, expiry = source_of(target)
        try:
            oldest = self._oldest(target, cutoff, timeout)
        except BatchTimeoutError:
            return Remains(None, None, known=False)
        if oldest is None:
            return Remains(0, None, known=True)
        left = timeout - timedelta(seconds=monotonic() - began)
        count = self.survivors(target, cutoff, left) if left > timedelta(0) else None
        return Remains(count, from_bound(expiry, oldest), known=True)

    def newest(self, target: Target, rank: int, timeout: timedelta) -> datetime | None:
        _, expiry = source_of(target)
        index = self._index(target)
        if index is None or expiry.pull is not None:
            return None
        predicate, patience = self._predicate(target, datetime.now(UTC)), milliseconds(timeout)
        try:
            with translated(self.config, target):
                stored = looks.newest(self._collection(target), predicate, expiry.unit, index, rank, patience)
        except BatchTimeoutError:
            return None
        return from_bound(expiry, stored)

    def shape(self, target: Target) -> str | None:
        _, expiry = source_of(target)
        patience = milliseconds(self.config.statement_timeout)
        with translated(self.config, target):
            guards = self._predicate(target, datetime.now(UTC)).guards
            sample = types_of(self._collection(target), guards, [expiry.field], patience, expiry.pull)
        return looks.shape([types[0] for types in sample])

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        _, expiry = source_of(target)
        if expiry.pull is not None:
            why = f"elements of {expiry.pull} are pulled, going once through the collection in the order of _id"
            return Work(ARRAY_PULL, why, (Shard(0),))
        index = self._index(target)
        if index is None:
            why = f"no index leads with {expiry.field}, so the collection is read once, in the order of _id"
            if expiry.or_unit is not None:
                # An index holds numbers apart from dates: one walk would end where the first kind does.
                why = f"{expiry.field} is a date or a number, so the collection is read once, in the order of _id"
            return Work(ID_SWEEP, why, (Shard(0),))
        if target.chunks is None:
            return Work(INDEX_WALK, f"index {index}, oldest first", (Shard(0),))
        with translated(self.config, target):
            ranges = chunks.ranges_of(self._open(), self._collection(target), target)
        why = f"index {index}, oldest first in each of {len(ranges):,} ranges of {target.chunks.key}"
        return Work(INDEX_WALK, why, chunks.cut(target.chunks.key, ranges, target.max_shards))

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        cursor, size = cursor or {}, min(size, MAX_BATCH)
        try:
            # The index may be gone since the plan was made: a walk without it would read the collection in every batch.
            index = self._index(target) if work.strategy == INDEX_WALK else None
            with translated(self.config, target):
                batch = self._batch(target, shard, cursor, size, cutoff)
                if work.strategy == ARRAY_PULL:
                    outcome = sweep_arrays(batch, cursor)
                else:
                    outcome = sweep(batch, cursor) if index is None else walk(batch, index, cursor)
                after = chunks.onward(shard, cursor, outcome.cursor)
                return replace(outcome, cursor=carried(after, cursor))
        except LeaseRefusedError:
            lost = lease_lost(target)
            # Arrays are changed in several steps, of which those before it are done.
            lost.at_most = None if work.strategy == ARRAY_PULL else 0
            raise lost from None
        except StoreError:
            self._indexes.pop(target.name, None)
            raise

    def step_over(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, cutoff: datetime
    ) -> Cursor | None:
        index = self._index(target) if work.strategy == INDEX_WALK else None
        with translated(self.config, target):
            return park_next(self._batch(target, shard, cursor or {}, 1, cutoff), index, cursor or {})

    def put_back(self, target: Target, lot: Lot, *, dry_run: bool) -> PutBack:
        with translated(self.config, target):
            over = lease_over(target.lease, self.clock)
            if over is not None and over():
                raise lease_lost(target)
            database, name = lot.forms[0]["collection"]
            patience = milliseconds(self.config.statement_timeout)
            return keeping.put_back(self._open()[database][name], lot, patience, dry_run=dry_run)

    def sightings(self, target: Target, cutoff: datetime, timeout: timedelta) -> Generator[Sighting, None, None]:
        with translated(self.config, target):
            predicate, patience = self._predicate(target, cutoff), milliseconds(timeout)
            yield from naming.all_of(self._collection(target), target, predicate, patience)

    def nearest(self, target: Target, cutoff: datetime, count: int, timeout: timedelta) -> Sequence[Sighting]:
        index = self._index(target)
        with translated(self.config, target):
            predicate, patience = self._predicate(target, cutoff), milliseconds(timeout)
            return naming.nearest(self._collection(target), target, predicate, index, count, patience)

    def odd(self, target: Target, cutoff: datetime, count: int, timeout: timedelta) -> Sequence[Sighting]:
        with translated(self.config, target):
            predicate, patience = self._predicate(target, cutoff), milliseconds(timeout)
            return naming.odd(self._collection(target), target, predicate, count, patience)

    def by_client(self, target: Target, cutoff: datetime, most: int, timeout: timedelta) -> Clients:
        with translated(self.config, target):
            predicate, patience = self._predicate(target, cutoff), milliseconds(timeout)
            return naming.by_client(self._collection(target), target, predicate, most, patience)

    def survey(self, asked: Asked) -> Survey:
        with translated(self.config, None):
            return survey(self._open(), asked, milliseconds(self.config.statement_timeout))

    def describe(self) -> Sequence[Seen]:
        with translated(self.config, None):
            patience = milliseconds(self.config.statement_timeout)
            return describe.collections(self._open().get_default_database(), patience)

    def databases(self) -> Sequence[str]:
        with translated(self.config, None):
            try:
                # Asked for those it is authorized for, it would leave out one whose grant was forgotten.
                listed = self._open().admin.command("listDatabases", nameOnly=True, authorizedDatabases=False)
            except OperationFailure as fault:
                if fault.code != UNAUTHORIZED:
                    raise
                raise StoreError(
                    "the login may not list the databases",
                    setting=f"stores.{self.config.name}",
                    remedy="grant listDatabases on the cluster, or list the names in `databases`",
                ) from None
        return [one["name"] for one in listed["databases"] if one["name"] not in {"admin", "config", "local"}]

    def magnitude(self, source: Source, name: str) -> EpochUnit | None:
        return None

    def check_server(self) -> Sequence[Finding]:
        with translated(self.config, None):
            return [*tls.findings(self.config.url), *checkup.server(self._open())]

    def check_source(self, target: Target) -> Sequence[Finding]:
        _, expiry = source_of(target)
        patience = milliseconds(self.config.statement_timeout)
        with translated(self.config, target):
            collection, by_framework = self._collection(target), expiry.ttl_index
            return list(checkup.ttl_indexes(collection, expiry.field, patience, framework_has_one=by_framework))

    def advise(self, target: Target, census: Census, now: datetime) -> Advice:
        with translated(self.config, target):
            patience = milliseconds(self.config.statement_timeout)
            return advice.advise(self._collection(target), target, census, patience)

    def canaries(self, target: Target) -> DocumentCanaries:
        with translated(self.config, target):
            return DocumentCanaries(self.config, target, self._collection(target))

    def load(self) -> Load:
        return look(self._open(), self.config)

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        with translated(self.config, target):
            leases = self._leases(target)
            answer = leases.acquire(target, lease)
            if isinstance(answer, Lease):
                self._fences = self._fences or leases.knows_now(target)
            return answer

    def renew(self, target: Target, lease: Lease) -> Lease:
        with translated(self.config, target):
            renewed = self._leases(target).renew(target, lease)
        if renewed is None:
            raise lease_lost(target)
        return renewed

    def release(self, target: Target, lease: Lease) -> None:
        with translated(self.config, target):
            self._leases(target).release(target, lease)

    def holders(self, target: Target) -> Sequence[Holder]:
        with translated(self.config, target):
            return self._leases(target).holders(target)

    def free(self, target: Target) -> int:
        with translated(self.config, target):
            return self._leases(target).free(target)

    def _leases(self, target: Target) -> LeaseBook:
        patience = milliseconds(self.config.statement_timeout)
        return LeaseBook(self._collection(target).database, self.config.lease or LEASE, self.clock, patience)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _oldest(self, target: Target, cutoff: datetime, timeout: timedelta) -> Any:
        """The oldest expiry past the cutoff as it is stored; None where there is none. Raises BatchTimeoutError."""
        index = self._index(target)
        with translated(self.config, target):
            predicate, collection = self._predicate(target, cutoff), self._collection(target)
            if predicate.pull is not None or not predicate.between:
                stages = unwound(predicate) if predicate.pull else [{"$match": predicate.expired}]
                dead = {"$match": {"$expr": {"$eq": [predicate.state, "expired"]}}}
                first = {"$group": {"_id": None, "oldest": {"$min": predicate.instant}}}
                rows = list(collection.aggregate([*stages, dead, first], maxTimeMS=milliseconds(timeout)))
                return rows[0]["oldest"] if rows else None
            found = collection.find(predicate.expired, {"_id": 0, predicate.field: 1}).sort(predicate.field, 1).limit(1)
            found = found.max_time_ms(milliseconds(timeout))
            return next((value_at(row, predicate.field) for row in (found.hint(index) if index else found)), None)

    def _batch(self, target: Target, shard: Shard, cursor: Cursor, size: int, cutoff: datetime) -> Batch:
        return Batch(
            self._collection(target),
            without_parked(chunks.within(self._predicate(target, cutoff), shard, cursor), cursor),
            size,
            window_of(size, min(target.batch_size, MAX_BATCH)),
            milliseconds(self.config.statement_timeout),
            fence_of(target.lease) if self._fences else {},
            lease_over(target.lease, self.clock),
            target.unset,
            target,
            target.handover,
            None if target.handover is None else keeping.delete_kept,
        )

    def _index(self, target: Target) -> str | None:
        if target.name not in self._indexes:
            _, expiry = source_of(target)
            with translated(self.config, target):
                index = expiry_index(self._collection(target), expiry)
            self._indexes[target.name] = index.name if index else None
        return self._indexes[target.name]

    def _open(self) -> MongoClient[Document]:
        if self._client is None:
            self._client = open_client(self.config)
        return self._client

    def _counted(self, target: Target) -> Collection[Document]:
        """For counts before the pass, which may come from a secondary: nothing is deleted by them."""
        return self._collection(target).with_options(read_preference=READ_PREFERENCES[self.config.read_preference])

    def _collection(self, target: Target) -> Collection[Document]:
        source, _ = source_of(target)
        return database_of(self._open(), target)[source.collection]

    @staticmethod
    def _predicate(target: Target, cutoff: datetime) -> Predicate:
        source, expiry = source_of(target)
        found = compile_predicate(expiry, source, cutoff, where=target.where, guards=target.guards, since=target.since)
        return naming.sparing(found, target.spared)


def open_mongo(config: StoreConfig) -> MongoStore:
    """A store for this configuration. Nothing is connected yet."""
    return MongoStore(config)
