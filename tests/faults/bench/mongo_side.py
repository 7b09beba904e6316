"""MongoDB as its application sees it."""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pymongo
from pymongo.errors import DuplicateKeyError, PyMongoError

from tests.faults.bench.side import UnknownError, instant, seconds


class MongoSide:
    """Collection `docs`; with `pull`, each record is an element of an array `tokens` of one of few documents."""

    USERS = 20

    def __init__(self, url: Any, shape: str) -> None:
        self.url, self.shape = url, shape
        self._client: Any = None
        self._at = ""

    @property
    def _docs(self) -> Any:
        url = self.url()
        if self._client is None or self._at != url:
            self.close()
            self._client = pymongo.MongoClient(
                url, retryWrites=False, retryReads=False, serverSelectionTimeoutMS=5000, socketTimeoutMS=10000,
                connectTimeoutMS=5000, tz_aware=True, appname="bench", serverMonitoringMode="poll",
            )  # fmt: skip
            self._at = url
        return self._client.get_default_database()["docs"]

    @contextlib.contextmanager
    def _known(self) -> Iterator[None]:
        try:
            yield
        except DuplicateKeyError:
            raise
        except PyMongoError as fault:
            raise UnknownError(str(fault)) from fault

    def make(self) -> None:
        self._docs.drop()
        if self.shape == "walk":
            self._docs.create_index("e")
        if self.shape == "pull":
            self._docs.insert_many([{"_id": n, "tokens": []} for n in range(self.USERS)])

    def _user(self, name: str) -> int:
        return sum(name.encode()) % self.USERS

    def create(self, name: str, expiry: float | None) -> bool:
        with self._known():
            if self.shape == "pull":
                return bool(
                    self._docs.update_one(
                        {"_id": self._user(name), "tokens.id": {"$ne": name}},
                        {"$push": {"tokens": {"id": name, "e": instant(expiry)}}},
                    ).modified_count
                )
            try:
                self._docs.insert_one({"_id": name, "e": instant(expiry)})
            except DuplicateKeyError:
                return False
            return True

    def change(self, name: str, expiry: float | None) -> bool:
        with self._known():
            if self.shape == "pull":
                query = {"_id": self._user(name), "tokens.id": name}
                return bool(self._docs.update_one(query, {"$set": {"tokens.$.e": instant(expiry)}}).matched_count)
            return bool(self._docs.update_one({"_id": name}, {"$set": {"e": instant(expiry)}}).matched_count)

    def delete(self, name: str) -> bool:
        with self._known():
            if self.shape == "pull":
                change = {"$pull": {"tokens": {"id": name}}}
                return bool(self._docs.update_one({"_id": self._user(name)}, change).modified_count)
            return bool(self._docs.delete_one({"_id": name}).deleted_count)

    def read(self, name: str) -> tuple[bool, float | None]:
        with self._known():
            if self.shape == "pull":
                found = self._docs.find_one({"_id": self._user(name)})
                mine = [t for t in found["tokens"] if t["id"] == name]
                return bool(mine), seconds(mine[0]["e"]) if mine else None
            found = self._docs.find_one({"_id": name})
            return found is not None, seconds(found["e"]) if found else None

    def fill(self, records: Mapping[str, float | None]) -> None:
        if self.shape != "pull":
            self._docs.insert_many([{"_id": name, "e": instant(expiry)} for name, expiry in records.items()])
            return
        by_user: dict[int, list[dict[str, Any]]] = {}
        for name, expiry in records.items():
            by_user.setdefault(self._user(name), []).append({"id": name, "e": instant(expiry)})
        for user, tokens in by_user.items():
            self._docs.update_one({"_id": user}, {"$push": {"tokens": {"$each": tokens}}})

    def all(self) -> dict[str, float | None]:
        with self._known():
            found = list(self._docs.find())
        if self.shape == "pull":
            return {token["id"]: seconds(token["e"]) for user in found for token in user["tokens"]}
        return {row["_id"]: seconds(row["e"]) for row in found}

    def half_done(self) -> int:
        return 0

    def leases(self) -> int:
        now = datetime.now(UTC)
        found = self._docs.database["cleanup_pipeline_leases"].find()
        return sum(1 for row in found for holder in row.get("holders", []) if holder["until"] > now)

    def connections(self) -> int:
        return 0

    def who(self) -> list[str]:
        return []

    def another(self) -> "MongoSide":
        return MongoSide(self.url, self.shape)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
