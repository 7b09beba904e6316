"""One small pool of connections to one server."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, parse_url
from redis.exceptions import ResponseError
from redis.retry import Retry

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.stores.base import StoreError

# redis-py does not annotate these.
_parse: Callable[[str], dict[str, Any]] = parse_url
_pool: Callable[..., BlockingConnectionPool] = BlockingConnectionPool


def send(client: Redis, *words: str | bytes | int) -> Any:
    """The answer to one command, sent once."""
    execute: Callable[..., Any] = client.execute_command
    return execute(*words)


def connect(config: StoreConfig) -> Redis:
    """A client with a pool of its own. Opens no socket yet.

    Nothing is tried twice in here: what a fault means is the engine's business. What the URL says about decoding,
    timeouts and retries is overruled. Raises StoreError for a URL that redis-py cannot read.
    """
    try:
        options: dict[str, Any] = _parse(config.url)
    except ValueError as fault:
        raise StoreError(
            "this is not a Redis URL",
            setting=f"stores.{config.name}.url",
            remedy="write it as redis://[user:password@]host:6379/0, or rediss:// for TLS",
        ) from fault
    if "path" not in options and not re.fullmatch(r"/?|/\d+/?", urlsplit(config.url).path):
        # redis-py would quietly take database 0.
        raise StoreError(
            f"the database in {config.where} is not a number",
            setting=f"stores.{config.name}.url",
            remedy="end the URL in the database's number, such as /0",
        )
    for key in ("max_connections", "timeout", "retry_on_timeout", "retry_on_error", "client_name"):
        options.pop(key, None)
    options |= {
        "decode_responses": False,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": config.statement_timeout.total_seconds(),
        "socket_connect_timeout": config.connect_timeout.total_seconds(),
        "socket_keepalive": True,
        "redis_connect_func": _Handshake(config.application_name),
    }
    if "path" in options:
        del options["socket_keepalive"]
    pool = _pool(max_connections=config.pool_size, timeout=config.connect_timeout.total_seconds(), **options)
    return Redis(connection_pool=pool)


class _Handshake:
    """Login as usual, then two courtesies that a login without the CLIENT command does without.

    The name shows up in CLIENT LIST. NO-TOUCH (Redis 7.2) keeps a sweep from making every session look recently used
    to the server's eviction.
    """

    def __init__(self, application_name: str) -> None:
        self._name = "".join(c if "!" <= c <= "~" else "-" for c in application_name)

    def __call__(self, connection: Any) -> None:
        connection.on_connect()
        for command in (("CLIENT", "SETNAME", self._name), ("CLIENT", "NO-TOUCH", "ON")):
            connection.send_command(*command, check_health=False)
            try:
                connection.read_response()
            except ResponseError:
                continue
