"""The three stores by connections of the bench's own: no proxy, no code of the product.

Each `Side` can create, change and delete one record and say whether that was done, list all, and look for what a pass
left behind. Whoever gets an answer knows; `UnknownError` is raised where it was lost.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
import pymongo
import redis
from pymongo.errors import DuplicateKeyError, PyMongoError

NAME = "cleanup-pipeline"
"""What the cleaner calls itself to a server."""


class UnknownError(Exception):
    """The store did not say whether it was done."""


class RefusedError(Exception):
    """The store said that it was not done."""


class Side(Protocol):
    """One store as its application sees it. Expiries are epoch seconds, whole milliseconds; None never dies."""

    def create(self, name: str, expiry: float | None) -> bool: ...
    def change(self, name: str, expiry: float | None) -> bool: ...
    def delete(self, name: str) -> bool: ...
    def read(self, name: str) -> tuple[bool, float | None]: ...
    def fill(self, records: Mapping[str, float | None]) -> None: ...
    def all(self) -> dict[str, float | None]: ...
    def leases(self) -> int: ...
    def connections(self) -> int: ...
    def another(self) -> "Side": ...
    def close(self) -> None: ...


def instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)


def seconds(moment: datetime | None) -> float | None:
    return None if moment is None else round(moment.timestamp(), 3)


class PostgresSide:
    """Table `web`; with `children`, rows of `part` refer to each record."""

    def __init__(self, url: Any, shape: str) -> None:
        self.url, self.shape = url, shape
        self._db: psycopg.Connection[Any] | None = None

    def _execute(self, query: str, values: tuple[Any, ...] = ()) -> "psycopg.Cursor[Any]":
        try:
            if self._db is None or self._db.closed:
                # Of the application: what is done to sessions by default is not done to these.
                options = "-c default_transaction_read_only=off -c lock_timeout=0 -c synchronous_commit=on"
                self._db = psycopg.connect(
                    self.url(), autocommit=True, connect_timeout=5, options=options, application_name="bench"
                )
            with self._db.transaction():
                return self._db.execute(query, values)  # type: ignore[call-overload]
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as fault:
            raise RefusedError from fault
        except psycopg.Error as fault:
            with contextlib.suppress(psycopg.Error):
                if self._db is not None:
                    self._db.close()
            raise UnknownError(str(fault)) from fault

    def make(self) -> None:
        self._execute("DROP TABLE IF EXISTS part; DROP TABLE IF EXISTS web")
        self._execute("CREATE TABLE web (id text PRIMARY KEY, e timestamptz)")
        if self.shape == "walk":
            self._execute("CREATE INDEX web_e ON web (e)")
        self._execute("CREATE TABLE part (web text NOT NULL REFERENCES web (id), n int)")
        self._execute("CREATE INDEX ON part (web)")

    def create(self, name: str, expiry: float | None) -> bool:
        return (
            self._execute("INSERT INTO web VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, instant(expiry))).rowcount
            > 0
        )

    def change(self, name: str, expiry: float | None) -> bool:
        return self._execute("UPDATE web SET e = %s WHERE id = %s", (instant(expiry), name)).rowcount > 0

    def delete(self, name: str) -> bool:
        if self.shape != "children":
            return self._execute("DELETE FROM web WHERE id = %s", (name,)).rowcount > 0
        text = "WITH p AS (DELETE FROM part WHERE web = %s) DELETE FROM web WHERE id = %s"
        return self._execute(text, (name, name)).rowcount > 0

    def read(self, name: str) -> tuple[bool, float | None]:
        row = self._execute("SELECT e FROM web WHERE id = %s", (name,)).fetchone()
        return row is not None, seconds(row[0]) if row else None

    def fill(self, records: Mapping[str, float | None]) -> None:
        names, dies = list(records), [instant(value) for value in records.values()]
        self._execute("INSERT INTO web SELECT * FROM unnest(%s::text[], %s::timestamptz[])", (names, dies))
        if self.shape == "children":
            self._execute("INSERT INTO part SELECT id, n FROM unnest(%s::text[]) id, generate_series(1, 2) n", (names,))

    def all(self) -> dict[str, float | None]:
        return {name: seconds(dies) for name, dies in self._execute("SELECT id, e FROM web").fetchall()}

    def half_done(self) -> int:
        """Records of which some rows that refer to them are gone and others are not."""
        if self.shape != "children":
            return 0
        row = self._execute(
            "SELECT count(*) FROM (SELECT web FROM part GROUP BY web HAVING count(*) NOT IN (0, 2)) q"
        ).fetchone()
        return int(row[0]) if row else 0

    def leases(self) -> int:
        row = self._execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        return int(row[0]) if row else 0

    def connections(self) -> int:
        row = self._execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s", (NAME + "%",)
        ).fetchone()
        return int(row[0]) if row else 0

    def who(self) -> list[str]:
        """What the cleaner's sessions do."""
        rows = self._execute(
            "SELECT client_port, state, wait_event, left(query, 60) FROM pg_stat_activity"
            " WHERE application_name LIKE %s",
            (NAME + "%",),
        ).fetchall()
        return [str(row) for row in rows]

    def another(self) -> "PostgresSide":
        return PostgresSide(self.url, self.shape)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()


def _ms(expiry: float | None) -> int:
    return 0 if expiry is None else round(expiry * 1000)


class RedisSide:
    """Strings `s:NAME` or hashes with a field `e`, or members of the sorted set `z:`, with epoch ms; 0 never dies."""

    CHANGE_HASH = (
        "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end redis.call('HSET', KEYS[1], 'e', ARGV[1]) return 1"
    )
    CREATE_HASH = "return redis.call('HSETNX', KEYS[1], 'e', ARGV[1])"

    def __init__(self, url: Any, shape: str) -> None:
        self.url, self.shape = url, shape
        self._client: Any = None
        self._at = ""

    def _do(self, *words: Any) -> Any:
        url = self.url()
        if self._client is None or self._at != url:
            self.close()
            self._client, self._at = connected(url), url
        try:
            return self._client.execute_command(*words)
        except redis.exceptions.BusyLoadingError as fault:
            raise RefusedError from fault
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as fault:
            raise UnknownError(str(fault)) from fault
        except redis.exceptions.RedisError as fault:
            # The server answered: OOM, READONLY, BUSY, NOREPLICAS, MASTERDOWN, CLUSTERDOWN.
            raise RefusedError(str(fault)) from fault

    def make(self) -> None:
        clients = self._do("PING") and self._client
        if isinstance(clients, redis.cluster.RedisCluster):
            clients.flushall(target_nodes=redis.cluster.RedisCluster.PRIMARIES)
        else:
            self._do("FLUSHALL")

    def create(self, name: str, expiry: float | None) -> bool:
        match self.shape:
            case "value":
                return bool(self._do("SET", f"s:{name}", _ms(expiry), "NX"))
            case "hash":
                return bool(self._do("EVAL", self.CREATE_HASH, 1, f"s:{name}", _ms(expiry)))
            case _:
                return bool(self._do("ZADD", "z:all", "NX", _ms(expiry), name))

    def change(self, name: str, expiry: float | None) -> bool:
        match self.shape:
            case "value":
                return bool(self._do("SET", f"s:{name}", _ms(expiry), "XX"))
            case "hash":
                return bool(self._do("EVAL", self.CHANGE_HASH, 1, f"s:{name}", _ms(expiry)))
            case _:
                if self._do("ZADD", "z:all", "XX", "CH", _ms(expiry), name):
                    return True
                return self._do("ZSCORE", "z:all", name) is not None

    def delete(self, name: str) -> bool:
        if self.shape == "score":
            return bool(self._do("ZREM", "z:all", name))
        return bool(self._do("DEL", f"s:{name}"))

    def read(self, name: str) -> tuple[bool, float | None]:
        match self.shape:
            case "value":
                value = self._do("GET", f"s:{name}")
            case "hash":
                value = self._do("HGET", f"s:{name}", "e")
            case _:
                value = self._do("ZSCORE", "z:all", name)
        return value is not None, _from_ms(value)

    def fill(self, records: Mapping[str, float | None]) -> None:
        self._do("PING")
        with self._client.pipeline(transaction=False) as pipe:
            for name, expiry in records.items():
                match self.shape:
                    case "value":
                        pipe.set(f"s:{name}", _ms(expiry))
                    case "hash":
                        pipe.hset(f"s:{name}", "e", _ms(expiry))
                    case _:
                        pipe.zadd("z:all", {name: _ms(expiry)})
            pipe.execute()

    def all(self) -> dict[str, float | None]:
        self._do("PING")
        if self.shape == "score":
            return {n.decode(): _from_ms(s) for n, s in self._client.zrange("z:all", 0, -1, withscores=True)}
        keys = list(dict.fromkeys(self._client.scan_iter("s:*", count=1000)))
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(key) if self.shape == "value" else pipe.hget(key, "e")
            values = pipe.execute() if keys else []
        return {
            key.decode().removeprefix("s:"): _from_ms(value)
            for key, value in zip(keys, values, strict=True)
            if value is not None
        }

    def half_done(self) -> int:
        return 0

    def leases(self) -> int:
        self._do("PING")
        return sum(1 for _ in self._client.scan_iter(f"{NAME}:*", count=1000))

    def connections(self) -> int:
        self._do("PING")
        if isinstance(self._client, redis.cluster.RedisCluster):
            lists = self._client.client_list(target_nodes=redis.cluster.RedisCluster.PRIMARIES)
            found = [row for rows in (lists.values() if isinstance(lists, dict) else [lists]) for row in rows]
        else:
            found = self._client.client_list()
        return sum(1 for row in found if str(row.get("name", "")).startswith(NAME))

    def who(self) -> list[str]:
        return [str(row) for row in self._client.client_list()] if self._client else []

    def another(self) -> "RedisSide":
        return RedisSide(self.url, self.shape)

    def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(redis.exceptions.RedisError):
                self._client.close()
            self._client = None


def connected(url: str) -> Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    if url.startswith("redis+cluster://"):
        return redis.cluster.RedisCluster.from_url(url.replace("redis+cluster", "redis"), socket_timeout=5)
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0))


def _from_ms(value: Any) -> float | None:
    number = float(value) if value is not None else 0
    return None if not number else round(number) / 1000


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


SIDES = {"postgres": PostgresSide, "redis": RedisSide, "mongo": MongoSide}
SHAPES = {
    "postgres": ("sweep", "walk", "children"),
    "redis": ("value", "hash", "score"),
    "mongo": ("sweep", "walk", "pull"),
}


def wait_until(what: Any, seconds_: float) -> bool:
    """Whether `what()` came to be true within so many seconds."""
    ends = time.monotonic() + seconds_
    while time.monotonic() < ends:
        with contextlib.suppress(UnknownError, RefusedError, psycopg.Error, PyMongoError, redis.exceptions.RedisError):
            if what():
                return True
        time.sleep(0.02)
    return False
