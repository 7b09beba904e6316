"""MongoDB behind the store protocol: looks, counts, plans, and deletes one bounded batch at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pymongo import MongoClient
from pymongo.collection import Collection

from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Census, Finding, Shard, Work
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import MAX_BATCH, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError
from cleanup_pipeline.stores.mongo.batches import Batch, sweep, walk, window_of
from cleanup_pipeline.stores.mongo.collection import Document, examine, expiry_index, require_collection, source_of
from cleanup_pipeline.stores.mongo.connect import database_of, milliseconds, open_client
from cleanup_pipeline.stores.mongo.faults import translated
from cleanup_pipeline.stores.mongo.load import look
from cleanup_pipeline.stores.mongo.predicate import Predicate, compile_predicate, from_bound, guards_of

INDEX_WALK = "index_walk"
ID_SWEEP = "id_sweep"


class MongoStore:
    """One MongoDB deployment. Connects on first use."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._client: MongoClient[Document] | None = None
        self._indexes: dict[str, str | None] = {}

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
            index = expiry_index(collection, expiry.field)
            self._indexes[target.name] = index.name if index else None
            guards = guards_of(target.where, source.required_fields)
            findings = examine(collection, target, index, guards, milliseconds(self.config.statement_timeout))
        if not hello.get("isWritablePrimary", True):
            findings.insert(0, Finding(Severity.ERROR, "the server is not the primary", "list the whole replica set"))
        if hello.get("msg") == "isdbgrid":
            findings.append(Finding(Severity.INFO, "sharded cluster: a batch may go to several shards"))
        return findings

    def census(self, target: Target, cutoff: datetime, timeout: timedelta) -> Census:
        _, expiry = source_of(target)
        predicate = self._predicate(target, cutoff)
        group = {
            "_id": predicate.state,
            "count": {"$sum": 1},
            "oldest": {"$min": f"${expiry.field}"},
        }
        pipeline = [{"$match": predicate.guards}, {"$group": group}]
        try:
            with translated(self.config, target):
                rows = {
                    row["_id"]: row
                    for row in self._collection(target).aggregate(pipeline, maxTimeMS=milliseconds(timeout))
                }
        except BatchTimeoutError:
            return Census()
        counts = {state: int(row["count"]) for state, row in rows.items()}
        return Census(
            live=counts.get("live", 0),
            expired=counts.get("expired", 0),
            without_expiry=counts.get("without_expiry", 0),
            unparsable=counts.get("unparsable", 0),
            oldest_expired=from_bound(expiry, rows["expired"]["oldest"]) if "expired" in rows else None,
            exact=True,
        )

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        try:
            with translated(self.config, target):
                expired = self._predicate(target, cutoff).expired
                return self._collection(target).count_documents(expired, maxTimeMS=milliseconds(timeout))
        except BatchTimeoutError:
            return None

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        _, expiry = source_of(target)
        index = self._index(target)
        if index is None:
            why = f"no index leads with {expiry.field}, so the collection is read once, in the order of _id"
            return Work(ID_SWEEP, why, (Shard(0),))
        return Work(INDEX_WALK, f"index {index}, oldest first", (Shard(0),))

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        cursor, size = cursor or {}, min(size, MAX_BATCH)
        try:
            # The index may be gone since the plan was made: a walk without it would read the collection in every batch.
            index = self._index(target) if work.strategy == INDEX_WALK else None
            with translated(self.config, target):
                batch = Batch(
                    self._collection(target),
                    self._predicate(target, cutoff),
                    size,
                    window_of(size, min(target.batch_size, MAX_BATCH)),
                    milliseconds(self.config.statement_timeout),
                )
                return sweep(batch, cursor) if index is None else walk(batch, index, cursor)
        except StoreError:
            self._indexes.pop(target.name, None)
            raise

    def load(self) -> Load:
        return look(self._open(), self.config)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _index(self, target: Target) -> str | None:
        if target.name not in self._indexes:
            _, expiry = source_of(target)
            with translated(self.config, target):
                index = expiry_index(self._collection(target), expiry.field)
            self._indexes[target.name] = index.name if index else None
        return self._indexes[target.name]

    def _open(self) -> MongoClient[Document]:
        if self._client is None:
            self._client = open_client(self.config)
        return self._client

    def _collection(self, target: Target) -> Collection[Document]:
        source, _ = source_of(target)
        return database_of(self._open(), target)[source.collection]

    @staticmethod
    def _predicate(target: Target, cutoff: datetime) -> Predicate:
        source, expiry = source_of(target)
        return compile_predicate(expiry, target.where, source.required_fields, cutoff)


def open_mongo(config: StoreConfig) -> MongoStore:
    """A store for this configuration. Nothing is connected yet."""
    return MongoStore(config)
