"""The stores of the bench by name, what shapes of records each has, and waiting for one of them."""

import contextlib
import time
from typing import Any

import psycopg
import redis
from pymongo.errors import PyMongoError

from tests.faults.bench.mongo_side import MongoSide
from tests.faults.bench.postgres_side import PostgresSide
from tests.faults.bench.redis_side import RedisSide, SentinelSide
from tests.faults.bench.side import RefusedError, UnknownError

SIDES = {
    "postgres": PostgresSide,
    "redis": RedisSide,
    "mongo": MongoSide,
    "sentinel": SentinelSide,
    "cluster": RedisSide,
}
SHAPES = {
    "postgres": ("sweep", "walk", "children"),
    "redis": ("value", "hash", "score"),
    "mongo": ("sweep", "walk", "pull"),
    "sentinel": ("value", "hash", "score"),
    "cluster": ("value", "hash", "score"),
}


_PASSING = (
    UnknownError,
    RefusedError,
    psycopg.Error,
    PyMongoError,
    redis.exceptions.RedisError,
    redis.exceptions.RedisClusterException,
)


def wait_until(what: Any, seconds_: float) -> bool:
    """Whether `what()` came to be true within so many seconds."""
    ends = time.monotonic() + seconds_
    while time.monotonic() < ends:
        with contextlib.suppress(*_PASSING):
            if what():
                return True
        time.sleep(0.02)
    return False
