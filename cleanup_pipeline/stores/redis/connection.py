"""One small pool of connections to one server."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import BlockingConnectionPool, Connection, SSLConnection, parse_url
from redis.exceptions import (
    AskError,
    ConnectionError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.stores.base import StoreError

# redis-py does not annotate these.
_parse: Callable[[str], dict[str, Any]] = parse_url
_pool: Callable[..., BlockingConnectionPool] = BlockingConnectionPool


Client = Redis | RedisCluster
"""What speaks to one server, or to all primaries of a cluster."""


def in_cluster(client: Client) -> bool:
    """Whether each key has its own server."""
    return isinstance(client, RedisCluster)


def primaries(client: Client) -> list[str]:
    """The servers that hold the keys, as host:port; of a server that stands alone, an empty name."""
    if not isinstance(client, RedisCluster):
        return [""]
    names: Callable[[], list[Any]] = client.get_primaries
    return sorted(node.name for node in names())


def send(client: Client, *words: str | bytes | int, node: str = "") -> Any:
    """The answer to one command, sent once; in a cluster to `node`, or to wherever its keys are."""
    with _of_cluster():
        return _send(client, words, node)


@contextmanager
def _of_cluster() -> Iterator[None]:
    """What redis-py says of a cluster as a whole is none of its RedisErrors, and comes instead of a lost connection."""
    try:
        yield
    except RedisClusterException as fault:
        raise ConnectionError(str(fault)) from fault


def _send(client: Client, words: Sequence[str | bytes | int], node: str) -> Any:
    execute: Callable[..., Any] = client.execute_command
    if isinstance(client, RedisCluster) and node:
        named: Callable[..., Any] = client.get_node
        found = named(node_name=node)
        if found is None:
            raise ConnectionError(f"{node} is no longer part of the cluster")
        # By the server's own connection: the cluster's client would make a mapping by server of some answers.
        to_server: Callable[..., Any] = client.get_redis_connection
        execute = to_server(found).execute_command
    return execute(*words)


def send_all(client: Client, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
    """The answers to commands that are sent together, faults among them; not a transaction."""
    if not commands:
        return []
    if isinstance(client, RedisCluster):
        with _of_cluster():
            return _send_by_node(client, commands)
    return _pipelined(client, commands)


def _pipelined(client: Any, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for words in commands:
            pipe.execute_command(*words)
        return list(pipe.execute(raise_on_error=False))


def _send_by_node(client: RedisCluster, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
    """To each server its own commands, in one go. redis-py's pipeline for clusters sends again what a lost connection
    took: a script would run twice, and what it removed the first time would be in no answer."""
    node_of: Callable[..., Any] = client.get_node_from_key
    to_server: Callable[..., Any] = client.get_redis_connection
    groups: dict[str, tuple[Any, list[int]]] = {}
    for number, words in enumerate(commands):
        node = node_of(_key_of(words))
        groups.setdefault(node.name, (node, []))[1].append(number)
    answers: list[Any] = [None] * len(commands)
    for node, numbers in groups.values():
        try:
            said = _pipelined(to_server(node), [commands[number] for number in numbers])
        except (ConnectionError, TimeoutError) as fault:
            said = [fault] * len(numbers)
            # For the next try: another server may have its slots by now.
            with suppress(RedisError, RedisClusterException):
                look_again: Callable[[], None] = client.nodes_manager.initialize
                look_again()
        for number, answer in zip(numbers, said, strict=True):
            # These did nothing where they were sent.
            moved = isinstance(answer, MovedError | AskError | TryAgainError)
            answers[number] = _redirected(client, commands[number]) if moved else answer
    return answers


def _redirected(client: RedisCluster, words: Sequence[str | bytes | int]) -> Any:
    try:
        return send(client, *words)
    except RedisError as fault:
        return fault


def _key_of(words: Sequence[str | bytes | int]) -> str | bytes | int:
    return words[3] if words[0] in {"EVALSHA", "EVAL"} else words[1]


def connect(config: StoreConfig) -> Client:
    """A client with a pool of its own. Opens no socket yet, unless it has to ask a cluster or a Sentinel who is who.

    redis://, rediss:// and unix:// are one server; redis+cluster:// and rediss+cluster:// any server of a cluster;
    redis+sentinel://host1,host2:26379/service/0 the primary that Sentinels know by that name. What the URL says about
    decoding, timeouts and retries is overruled. Nothing is tried twice in here, except that a cluster is asked again
    where a slot has gone: what a fault means is the engine's business. Raises StoreError for a URL that cannot be read,
    and redis-py's faults.
    """
    scheme, _, rest = config.url.partition("://")
    kind = scheme.rpartition("+")[2]
    service: tuple[str, list[tuple[str, int]]] | None = None
    if kind == "sentinel":
        service, rest = _sentinels(rest, config)
    try:
        options: dict[str, Any] = _parse(f"{scheme.partition('+')[0]}://{rest}")
    except ValueError as fault:
        raise _unreadable(config) from fault
    if "path" not in options and not re.fullmatch(r"/?|/\d+/?", urlsplit(f"redis://{rest}").path):
        # redis-py would quietly take database 0.
        raise StoreError(
            f"the database in {config.where} is not a number",
            setting=config.url_setting,
            remedy="end the URL in the database's number, such as /0",
        )
    for key in ("max_connections", "timeout", "retry_on_timeout", "retry_on_error", "client_name"):
        options.pop(key, None)
    options |= {
        "decode_responses": False,
        "protocol": 2,
        "socket_timeout": config.statement_timeout.total_seconds(),
        "socket_connect_timeout": config.connect_timeout.total_seconds(),
        "socket_keepalive": True,
    }
    hello = _Handshake(config.application_name)
    if kind == "cluster":
        return _cluster(config, options)
    options |= {"retry": Retry(NoBackoff(), 0), "redis_connect_func": hello}
    if service is not None:
        return _behind_sentinels(config, options, *service)
    if "path" in options:
        del options["socket_keepalive"]
    pool = _pool(max_connections=config.pool_size, timeout=config.connect_timeout.total_seconds(), **options)
    return Redis(connection_pool=pool)


def _unreadable(config: StoreConfig) -> StoreError:
    return StoreError(
        "this is not a Redis URL",
        setting=config.url_setting,
        remedy="write it as redis://[user:password@]host:6379/0, or rediss:// for TLS",
    )


def _cluster(config: StoreConfig, options: dict[str, Any]) -> RedisCluster:
    if int(options.pop("db", 0) or 0):
        raise StoreError(
            "a Redis Cluster has no database but 0", setting=config.url_setting, remedy="end the URL in /0"
        )
    secure = issubclass(options.pop("connection_class", Connection), SSLConnection)
    make: Callable[..., RedisCluster] = RedisCluster
    with _of_cluster():
        return make(
            **options,
            ssl=secure,
            max_connections=config.pool_size,
            # MOVED and ASK are answered inside all the same; a lost connection is not tried again.
            retry=Retry(NoBackoff(), 0),
            client_name="".join(c if "!" <= c <= "~" else "-" for c in config.application_name),
        )


def _sentinels(rest: str, config: StoreConfig) -> tuple[tuple[str, list[tuple[str, int]]], str]:
    """The service and its Sentinels, and the rest of the URL as of a single server."""
    login, at, address = rest.rpartition("@")
    hosts, _, path = address.partition("/")
    service, _, tail = path.partition("/")
    try:
        pairs = [(host, int(port or 26379)) for host, _, port in (one.partition(":") for one in hosts.split(","))]
    except ValueError as fault:
        raise _unreadable(config) from fault
    if not service or not all(host for host, _ in pairs):
        raise StoreError(
            "this URL names no service that a Sentinel could know",
            setting=config.url_setting,
            remedy="write it as redis+sentinel://[user:password@]host1,host2/service/0",
        )
    return (service, pairs), f"{login}{at}{pairs[0][0]}/{tail}"


def _behind_sentinels(
    config: StoreConfig, options: dict[str, Any], service: str, hosts: list[tuple[str, int]]
) -> Redis:
    for key in ("host", "port"):
        options.pop(key, None)
    secure = issubclass(options.pop("connection_class", Connection), SSLConnection)
    limits = {key: options[key] for key in ("socket_timeout", "socket_connect_timeout")}
    make: Callable[..., Any] = Sentinel
    sentinel = make(hosts, sentinel_kwargs=limits)
    client: Redis = sentinel.master_for(service, max_connections=config.pool_size, ssl=secure, **options)
    return client


def disconnect(client: Client) -> None:
    """Close every connection."""
    if isinstance(client, Redis):
        client.connection_pool.disconnect()
    client.close()


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
