"""Redis' errors as the faults of the store protocol, each with its remedy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from redis import exceptions

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import (
    BatchTimeoutError,
    StoreError,
    TransientError,
    UnavailableError,
    lease_lost,
    redact,
)
from cleanup_pipeline.stores.tls import reach_remedy, tls_fault

# Answers that redis-py has no class for, by their first word.
_PASSING = ("BUSY", "LOADING", "TRYAGAIN", "MASTERDOWN", "UNKILLABLE", "NOREPLICAS")
# What a script answers when it may not run a command; the first word of the error is then lost.
_FORBIDDEN = ("NOPERM", "can't run this command", "ACL failure", "can't access at least one of the keys")
# Redis before 7.2 does not say which command of a script it was.
_NEEDED = "+time +scan +type +pttl +get +strlen +hget +hstrlen +evalsha +eval +unlink +pexpireat"
_COMMAND = re.compile(r"the '([a-z_|-]+)' command|command '([a-z_|-]+)'|run the ([a-z_|-]+) command", re.IGNORECASE)


@contextmanager
def translated(
    config: StoreConfig, target: Target | None, *, batch: bool = False, command: str | None = None
) -> Iterator[None]:
    """Raise the protocol's faults in place of redis-py's. `command` is the one that is tried, if only one is.

    A command that takes too long is a BatchTimeoutError in a `batch`, which a smaller one may cure, and else an
    UnavailableError.
    """
    try:
        yield
    except exceptions.RedisError as fault:
        raise translate(fault, config, target, batch=batch, command=command) from fault


def translate(
    fault: exceptions.RedisError,
    config: StoreConfig,
    target: Target | None = None,
    *,
    batch: bool = False,
    command: str | None = None,
) -> StoreError:
    """The protocol's fault for one of redis-py's."""
    text = clean(str(fault), config)
    if "LEASELOST" in text and target is not None:
        return lease_lost(target)
    url = config.url_setting
    place = f"targets.{target.name}" if target else f"stores.{config.name}"
    if isinstance(fault, exceptions.AuthenticationError | exceptions.AuthenticationWrongNumberOfArgsError):
        # Not tried again: servers and their watchmen count refused logins.
        return StoreError(
            f"{config.where} refuses the login ({text})",
            setting=url,
            remedy="correct user and password in the variable or file that the URL comes from",
        )
    if isinstance(fault, exceptions.NoPermissionError) or any(s in text for s in _FORBIDDEN):
        return _not_permitted(text, command, place)
    no_room = _no_room(fault, text, config, url)
    if no_room is not None:
        return no_room
    if isinstance(fault, exceptions.TimeoutError):
        return _too_slow(text, config, url, batch=batch)
    if isinstance(fault, exceptions.ReadOnlyError) or "READONLY" in text:
        return TransientError(
            f"{config.where} is a read-only replica, perhaps since a failover",
            setting=url,
            remedy="point the URL at the primary",
        )
    if isinstance(fault, exceptions.TryAgainError | exceptions.MasterDownError) or text.startswith(_PASSING):
        return TransientError(
            f"{config.where} cannot answer at the moment ({text[:160]})", setting=url, remedy="tried again"
        )
    refused = tls_fault(str(fault), config)
    if refused is not None:
        return refused
    if isinstance(fault, exceptions.ConnectionError):
        return UnavailableError(
            f"cannot reach {config.where} ({text[:160]})",
            setting=url,
            remedy="start the server, or correct host and port",
        )
    if "DB index is out of range" in text or "invalid DB index" in text:
        return StoreError(f"{config.where}: there is no such database", setting=url, remedy="correct its number")
    if isinstance(fault, exceptions.MovedError | exceptions.AskError | exceptions.ClusterError):
        return StoreError(
            f"{config.where} is part of a Redis Cluster, which answered: {text[:160]}",
            setting=url,
            remedy=f"write the URL as redis+cluster://{config.where.split('/')[0]}; see CLUSTER INFO",
        )
    return StoreError(f"{config.where} answered: {text[:240]}", setting=place, remedy="correct the target's settings")


def clean(text: str, config: StoreConfig) -> str:
    """A message of the driver or the server as one line, free of the URL, its user information and its query."""
    # Redis quotes the arguments of a command that it does not know, and with them the keys.
    line = redact(text.partition(", with args beginning with")[0], config)
    try:
        secrets = parse_qs(urlsplit(config.url).query).get("password", [])
    except ValueError:
        secrets = []
    for secret in secrets:
        line = line.replace(secret, "***")
    return line


def _no_room(fault: exceptions.RedisError, text: str, config: StoreConfig, url: str) -> StoreError | None:
    """A server that takes no writes because its disk or memory is full, for as long as that lasts."""
    if isinstance(fault, exceptions.OutOfMemoryError):
        remedy = "raise its maxmemory, or let it evict"
        return TransientError(f"{config.where} refuses writes, for its memory is full", setting=url, remedy=remedy)
    if text.startswith("MISCONF"):
        remedy = "make room on its disk, and see its log"
        return TransientError(f"{config.where} refuses writes ({text[:160]})", setting=url, remedy=remedy)
    return None


def _too_slow(text: str, config: StoreConfig, url: str, *, batch: bool) -> StoreError:
    if "connecting" in text.lower():
        return UnavailableError(
            f"no connection to {config.where} in time",
            setting=url,
            remedy=reach_remedy(encrypted=config.url.startswith("rediss")),
        )
    problem = f"{config.where} did not answer within {config.statement_timeout.total_seconds():g} s"
    setting = f"stores.{config.name}.statement_timeout"
    if batch:
        return BatchTimeoutError(problem, setting=setting, remedy="lower batch_size or raise statement_timeout")
    return UnavailableError(problem, setting=setting, remedy="look at what keeps the server busy (SLOWLOG GET)")


def _not_permitted(text: str, command: str | None, place: str) -> StoreError:
    found = _COMMAND.search(text)
    named = next((name for name in found.groups() if name), None) if found else None
    named = named or command
    if "key" in text and "access" in text:
        return StoreError(
            f"the login may not touch these keys (NOPERM{f' on {named}' if named else ''})",
            setting=place,
            remedy="allow the target's key pattern, as in ACL SETUSER <user> ~<pattern>",
        )
    return StoreError(
        f"the login may not run {named.upper() if named else 'one of the commands'} ({text[:160]})",
        setting=place,
        remedy=f"allow it, as in ACL SETUSER <user> {f'+{named}' if named else _NEEDED}",
    )
