"""MongoDB behind the store protocol.

MongoDB has no DELETE with a limit: a batch finds the `_id`s of at most `size` expired documents, then deletes by those
`_id`s with the whole predicate repeated, so that a document renewed in between stays.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import json_util
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.cursor import Cursor as Found
from pymongo.database import Database
from pymongo.errors import ConfigurationError, OperationFailure

from cleanup_pipeline.model.outcome import BatchOutcome, Cursor
from cleanup_pipeline.model.plan import Bound, Census, Finding, Shard, Work
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import MAX_BATCH, Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError
from cleanup_pipeline.stores.mongo.collection import Document, examine, expiry_index, require_collection, source_of
from cleanup_pipeline.stores.mongo.faults import translated
from cleanup_pipeline.stores.mongo.predicate import Predicate, compile_predicate, from_bound

INDEX_WALK = "index_walk"
ID_SWEEP = "id_sweep"
WINDOW = 5_000
"""Documents that one batch of an id sweep looks at: bounds its time where few are expired."""


STUCK = 3
"""Batches in a row that deleted nothing they found, after which a walk steps over that instant."""


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
        _, expiry = source_of(target)
        with translated(self.config, target):
            database = self._database(target)
            hello = self._open().admin.command("hello")
            require_collection(database, target)
            collection = self._collection(target)
            index = expiry_index(collection, expiry.field)
            self._indexes[target.name] = index.name if index else None
            findings = examine(collection, target, index)
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
                    for row in self._collection(target).aggregate(pipeline, maxTimeMS=_milliseconds(timeout))
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
                return self._collection(target).count_documents(expired, maxTimeMS=_milliseconds(timeout))
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
        size = min(size, MAX_BATCH)
        predicate = self._predicate(target, cutoff)
        with translated(self.config, target):
            batch = self._walk if work.strategy == INDEX_WALK else self._sweep
            return batch(target, predicate, cursor or {}, size)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _walk(self, target: Target, predicate: Predicate, cursor: Cursor, size: int) -> BatchOutcome:
        collection = self._collection(target)
        query = predicate.expired
        last = cursor.get("last")
        if last is not None:
            step = "$gt" if int(cursor.get("stuck") or 0) >= STUCK else "$gte"
            query = {"$and": [*query["$and"], {predicate.field: {step: _decoded(last)}}]}
        found = collection.find(query, {"_id": 1, predicate.field: 1}).sort([(predicate.field, 1)]).limit(size)
        found = found.max_time_ms(self._patience)
        index = self._index(target)
        candidates = list(found.hint(index) if index else found)
        deleted = self._delete(collection, [c["_id"] for c in candidates], predicate)
        if len(candidates) < size:
            return _outcome(len(candidates), deleted, None)
        value = candidates[-1]
        for part in predicate.field.split("."):
            value = value[part]
        # Renewed documents no longer match, so the same place again gets on; some that can never be deleted do not.
        stuck = 0 if deleted else int(cursor.get("stuck") or 0) + 1
        return _outcome(len(candidates), deleted, {"last": _encoded(value), "stuck": stuck})

    def _sweep(self, target: Target, predicate: Predicate, cursor: Cursor, size: int) -> BatchOutcome:
        collection = self._collection(target)
        start = cursor.get("from")
        looked = _from(collection.find({}, {"_id": 1}), start).sort("_id", 1).limit(WINDOW + 1)
        window = [document["_id"] for document in looked.max_time_ms(self._patience)]
        end = window[WINDOW] if len(window) > WINDOW else None
        found = _from(collection.find(predicate.expired, {"_id": 1}), start).sort("_id", 1).limit(size)
        if end is not None:
            found = found.max([("_id", end)])
        candidates = [document["_id"] for document in found.max_time_ms(self._patience)]
        deleted = self._delete(collection, candidates, predicate)
        if len(candidates) == size and deleted:
            return _outcome(size, deleted, {"from": _encoded(candidates[-1])})
        if len(candidates) == size:
            # All were renewed meanwhile: go on behind them, or the next batch would start at the same place.
            behind = window.index(candidates[-1]) + 1 if candidates[-1] in window else len(window)
            end = window[behind] if behind < len(window) else end
        return _outcome(len(candidates), deleted, None if end is None else {"from": _encoded(end)})

    def _delete(self, collection: Collection[Document], identifiers: list[Any], predicate: Predicate) -> int:
        if not identifiers:
            return 0
        # delete_many() cannot carry maxTimeMS, so the command is written out.
        query = {"$and": [{"_id": {"$in": identifiers}}, predicate.expired]}
        concern = collection.write_concern.document
        command: Document = {
            "delete": collection.name,
            "deletes": [{"q": query, "limit": 0}],
            "maxTimeMS": self._patience,
        }
        answer = collection.database.command(command | ({"writeConcern": concern} if concern else {}))
        for fault in (*answer.get("writeErrors", ()), answer.get("writeConcernError")):
            if fault:
                raise OperationFailure(fault.get("errmsg", "the delete failed"), fault.get("code"), fault)
        return int(answer["n"])

    @property
    def _patience(self) -> int:
        return _milliseconds(self.config.statement_timeout)

    def _index(self, target: Target) -> str | None:
        if target.name not in self._indexes:
            _, expiry = source_of(target)
            with translated(self.config, target):
                index = expiry_index(self._collection(target), expiry.field)
            self._indexes[target.name] = index.name if index else None
        return self._indexes[target.name]

    def _open(self) -> MongoClient[Document]:
        if self._client is None:
            milliseconds = int(self.config.connect_timeout.total_seconds() * 1000)
            self._client = MongoClient(
                self.config.url,
                appname=self.config.application_name,
                maxPoolSize=self.config.pool_size,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                # Only for a server that no longer answers at all: it ends a slow command itself, by maxTimeMS.
                socketTimeoutMS=self._patience + 5_000,
                tz_aware=True,
            )
        return self._client

    def _database(self, target: Target) -> Database[Document]:
        source, _ = source_of(target)
        client = self._open()
        if source.database:
            return client[source.database]
        try:
            return client.get_default_database()
        except ConfigurationError:
            raise StoreError(
                "neither the URL nor the target names a database",
                setting=f"targets.{target.name}.database",
                remedy=f"set `database`, or end the URL of store {target.store} with /NAME",
            ) from None

    def _collection(self, target: Target) -> Collection[Document]:
        source, _ = source_of(target)
        return self._database(target)[source.collection]

    @staticmethod
    def _predicate(target: Target, cutoff: datetime) -> Predicate:
        source, expiry = source_of(target)
        return compile_predicate(expiry, target.where, source.required_fields, cutoff)


def open_mongo(config: StoreConfig) -> MongoStore:
    """A store for this configuration. Nothing is connected yet."""
    return MongoStore(config)


def _outcome(found: int, deleted: int, cursor: dict[str, Bound] | None) -> BatchOutcome:
    return BatchOutcome(scanned=found, deleted=deleted, cursor=cursor, live=found - deleted, largest=deleted)


def _from(found: Found[Document], start: Bound) -> Found[Document]:
    # A query `_id > x` stays within x's own type; an index bound does not.
    found = found.hint([("_id", 1)])
    return found if start is None else found.min([("_id", _decoded(start))])


def _milliseconds(timeout: timedelta) -> int:
    return max(1, int(timeout.total_seconds() * 1000))


def _encoded(value: Any) -> str:
    return json_util.dumps({"v": value}, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _decoded(text: Bound) -> Any:
    options = json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True)
    return json_util.loads(str(text), json_options=options)["v"]
