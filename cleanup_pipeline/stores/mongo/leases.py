"""Leases in MongoDB: a document a target, in the target's own database, changed only where it is as it was read.

Deletions carry the end of their lease along (`fence_of`): the server holds its own clock against it in the very
command, so that a cleaner that was paused and woke up deletes nothing. Servers whose queries do not know `$$NOW`
(before MongoDB 4.2) are asked for their clock right before each deletion. A lease that was taken away by hand is
noticed when it is next renewed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.write_concern import WriteConcern

from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import TransientError
from cleanup_pipeline.stores.mongo.collection import Document
from cleanup_pipeline.stores.mongo.predicate import Query

COLLECTION = "cleanup_pipeline_leases"
TRIES = 20
"""How often a change is tried that others come before with: each of them has got its own through."""

_Answer = TypeVar("_Answer")
Entries = list[Document]
"""The holders as they are kept: token, run, window, host, since, until."""


@dataclass(frozen=True, slots=True)
class LeaseBook:
    """The leases of one database; `clock` is its server's."""

    database: Database[Document]
    lasting: timedelta
    clock: Callable[[], datetime]
    patience: int
    """In ms, for each command."""

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        """`Leases.acquire`."""

        def change(entries: Entries, now: datetime) -> tuple[Entries, Lease | Holder]:
            for other in entries:
                if _excludes(other, lease):
                    return entries, _holder(other)
            mine = next((e for e in entries if e["token"] == lease.token), None)
            held = replace(lease, until=now + self.lasting)
            entry = _entry(held, mine["since"] if mine else now)
            return [*(e for e in entries if e["token"] != lease.token), entry], held

        return self._change(target, change)

    def renew(self, target: Target, lease: Lease) -> Lease | None:
        """The same lease, longer; None when it was lost."""

        def change(entries: Entries, now: datetime) -> tuple[Entries, Lease | None]:
            mine = next((e for e in entries if e["token"] == lease.token), None)
            if mine is None or any(_excludes(other, lease) for other in entries):
                return entries, None
            held = replace(lease, until=now + self.lasting)
            return [*(e for e in entries if e is not mine), _entry(held, mine["since"])], held

        return self._change(target, change)

    def release(self, target: Target, lease: Lease) -> None:
        """`Leases.release`."""
        self._change(target, lambda entries, _: ([e for e in entries if e["token"] != lease.token], None))

    def holders(self, target: Target) -> list[Holder]:
        """`Leases.holders`."""
        document = self._read(target)
        return [_holder(entry) for entry in _standing(document, self.clock())] if document else []

    def free(self, target: Target) -> int:
        """`Leases.free`."""
        return self._change(target, lambda entries, _: ([], len(entries)))

    def knows_now(self, target: Target) -> bool:
        """Whether the server's queries can be held against its clock. The target has to have a lease."""
        query = {"_id": _key(target), "$expr": {"$lt": ["$$NOW", datetime(9000, 1, 1, tzinfo=UTC)]}}
        try:
            return self.database[COLLECTION].find_one(query, max_time_ms=self.patience) is not None
        except OperationFailure:
            return False

    def _change(self, target: Target, change: Callable[[Entries, datetime], tuple[Entries, _Answer]]) -> _Answer:
        key = _key(target)
        for _ in range(TRIES):
            document = self._read(target)
            now = self.clock()
            before = _standing(document, now) if document else []
            after, answer = change(before, now)
            if after == before and (document is None or len(before) == len(document["holders"])):
                return answer
            if self._write(key, document, after):
                return answer
        raise TransientError(
            f"{TRIES} others changed its lease meanwhile", setting=f"targets.{target.name}", remedy="tried again"
        )

    def _write(self, key: str, document: Document | None, holders: Entries) -> bool:
        """Whether the document was still as it was read."""
        # A lease that a failover rolls back would be held twice.
        durable = WriteConcern("majority", wtimeout=self.patience)
        collection: Collection[Document] = self.database.get_collection(COLLECTION, write_concern=durable)
        if document is None:
            try:
                collection.insert_one({"_id": key, "version": 1, "holders": holders})
            except DuplicateKeyError:
                return False
            return True
        seen = {"_id": key, "version": document["version"]}
        change = {"$set": {"holders": holders, "version": document["version"] + 1}}
        return collection.update_one(seen, change).matched_count == 1

    def _read(self, target: Target) -> Document | None:
        return self.database[COLLECTION].find_one({"_id": _key(target)}, max_time_ms=self.patience)


def fence_of(lease: Lease | None) -> Query:
    """What the query of a deletion has to hold besides, so that it deletes only while the lease lasts."""
    if lease is None or lease.until is None:
        return {}
    return {"$expr": {"$lt": ["$$NOW", lease.until]}}


def lease_over(lease: Lease | None, clock: Callable[[], datetime]) -> Callable[[], bool] | None:
    """Asks the server whether the lease has run out; None when there is none."""
    until = lease.until if lease else None
    return None if until is None else lambda: clock() >= until


def _key(target: Target) -> str:
    # Two projects may clean one database: a target's name alone is not enough.
    name, _, source = target.lease_key.partition("/")
    return f"{name}:{sha256(source.encode()).hexdigest()[:8]}"


def _standing(document: Document, now: datetime) -> Entries:
    return [entry for entry in document["holders"] if _aware(entry["until"]) > now]


def _excludes(other: Document, lease: Lease) -> bool:
    if other["token"] == lease.token or other["run"] == lease.run:
        return False
    return not lease.window or not other["window"] or bool(other["window"] == lease.window)


def _entry(lease: Lease, since: Any) -> Document:
    return {
        "token": lease.token,
        "run": lease.run,
        "window": lease.window,
        "host": lease.host,
        "since": since,
        "until": lease.until,
    }


def _holder(entry: Document) -> Holder:
    return Holder(entry["host"], _aware(entry["since"]), entry["run"], entry["window"])


def _aware(instant: datetime) -> datetime:
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
