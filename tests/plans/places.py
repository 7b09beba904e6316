"""The same records in each store: so many expired, live and odd ones, and ways to change them as applications do."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import psycopg
import pymongo
import redis

HOUR = timedelta(hours=1)


class Place(Protocol):
    """Sessions in a store, by id."""

    target: str

    def put(self, ids: Iterable[str], expires: datetime | None, client: str = "web") -> None: ...

    def odd(self, id_: str) -> None: ...

    def remove(self, ids: Iterable[str]) -> None: ...

    def ids(self) -> set[str]: ...

    def close(self) -> None: ...


class Table:
    """PostgreSQL."""

    target = "{store: main, table: web, expires: {column: expires_at}, client: app}"

    def __init__(self, url: str) -> None:
        self.db: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
        self.db.execute("CREATE TABLE web (id text PRIMARY KEY, app text, expires_at timestamptz)")
        self.db.execute("CREATE INDEX ON web (expires_at)")

    def put(self, ids: Iterable[str], expires: datetime | None, client: str = "web") -> None:
        with self.db.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO web VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at",
                [(each, client, expires) for each in ids],
            )

    def odd(self, id_: str) -> None:
        self.db.execute("INSERT INTO web VALUES (%s, 'web', '1980-01-01')", (id_,))

    def remove(self, ids: Iterable[str]) -> None:
        self.db.execute("DELETE FROM web WHERE id = ANY (%s)", (list(ids),))

    def ids(self) -> set[str]:
        return {row[0] for row in self.db.execute("SELECT id FROM web")}

    def close(self) -> None:
        self.db.close()


class Keys:
    """Redis."""

    target = '{store: cache, keys: "session:*", expires: {hash_field: expires_at}}'

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, decode_responses=True)

    def put(self, ids: Iterable[str], expires: datetime | None, client: str = "web") -> None:
        line = self.client.pipeline()
        for each in ids:
            line.hset(f"session:{each}", "app", client)
            if expires is None:
                line.hdel(f"session:{each}", "expires_at")
            else:
                line.hset(f"session:{each}", "expires_at", int(expires.timestamp()))
        line.execute()

    def odd(self, id_: str) -> None:
        self.client.hset(f"session:{id_}", "expires_at", "soon")

    def remove(self, ids: Iterable[str]) -> None:
        self.client.delete(*(f"session:{each}" for each in ids))

    def ids(self) -> set[str]:
        return {str(key).removeprefix("session:") for key in self.client.scan_iter("session:*")}

    def close(self) -> None:
        self.client.close()


class Documents:
    """MongoDB."""

    target = "{store: docs, collection: web, expires: {field: expires}, client: app}"

    def __init__(self, url: str) -> None:
        self.client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url)
        self.web = self.client.get_default_database().web
        self.web.create_index("expires")

    def put(self, ids: Iterable[str], expires: datetime | None, client: str = "web") -> None:
        for each in ids:
            document = {"_id": each, "app": client, **({} if expires is None else {"expires": expires})}
            self.web.replace_one({"_id": each}, document, upsert=True)

    def odd(self, id_: str) -> None:
        self.web.insert_one({"_id": id_, "app": "web", "expires": "soon"})

    def remove(self, ids: Iterable[str]) -> None:
        self.web.delete_many({"_id": {"$in": list(ids)}})

    def ids(self) -> set[str]:
        return {str(document["_id"]) for document in self.web.find({}, {"_id": 1})}

    def close(self) -> None:
        self.client.close()


def fill(place: Place) -> None:
    """30 expired (10 of them 2 h ago, 20 three days), 5 live, 1 without expiry, 1 unreadable."""
    now = datetime.now(UTC)
    place.put([f"hours{n}" for n in range(10)], now - 2 * HOUR)
    place.put([f"days{n}" for n in range(20)], now - 72 * HOUR, client="app")
    place.put([f"live{n}" for n in range(5)], now + HOUR)
    place.put(["never"], None)
    place.odd("odd")
