"""Redis as its application sees it: one server, a cluster, or whichever a Sentinel's primary is."""

import contextlib
from collections.abc import Mapping
from typing import Any

import redis

from tests.faults.bench.side import NAME, RefusedError, UnknownError


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
        except (
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            # Of a cluster as a whole, in place of a lost connection.
            redis.exceptions.RedisClusterException,
        ) as fault:
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
        return (
            [f"{row['addr']} {row['name']} {row['cmd']}" for row in self._client.client_list()] if self._client else []
        )

    def another(self) -> "RedisSide":
        return RedisSide(self.url, self.shape)

    def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(redis.exceptions.RedisError):
                self._client.close()
            self._client = None


class SentinelSide(RedisSide):
    """Whichever is the primary. Only what the replica has, too, is answered for: no failover takes that back."""

    def _do(self, *words: Any) -> Any:
        answer = super()._do(*words)
        at = self._at
        # The replica then has all that this server had when it answered, whoever wrote it.
        try:
            super()._do("SET", "bench:beat", "1")
            heard = super()._do("WAIT", 1, 500)
        except RefusedError as fault:
            # A replica by now: what it did before may be lost, or not.
            raise UnknownError(str(fault)) from fault
        if heard < 1 or self.url() != at:
            raise UnknownError("the replica has not heard of it")
        return answer

    def another(self) -> "SentinelSide":
        return SentinelSide(self.url, self.shape)


def connected(url: str) -> Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)
    if url.startswith("redis+cluster://"):
        # What the servers call themselves leads through the proxy, which is told apart by the cleaner's name.
        return redis.cluster.RedisCluster.from_url(url.replace("redis+cluster", "redis"), socket_timeout=5, retry=once)
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5, retry=once)


def _from_ms(value: Any) -> float | None:
    number = float(value) if value is not None else 0
    return None if not number else round(number) / 1000
