"""PostgreSQL's errors as the faults of the store protocol, each with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError, TransientError, UnavailableError, redact

# Class 57P: the server shuts down, crashes or is not ready; 25006: it became read-only, as after a failover.
_GONE = ("57P01", "57P02", "57P03", "25006", "53300")


@contextmanager
def translated(config: StoreConfig, target: Target | None) -> Iterator[None]:
    """Raise the protocol's faults in place of psycopg's."""
    try:
        yield
    except PoolTimeout as fault:
        raise UnavailableError(
            f"no connection to {config.where} within {config.connect_timeout.total_seconds():g} s",
            setting=f"stores.{config.name}.url",
            remedy="start the server, or correct host and port",
        ) from fault
    except psycopg.Error as fault:
        raise _translate(fault, config, target) from fault


def connect_fault(fault: psycopg.Error, config: StoreConfig) -> StoreError:
    """The fault of a connection that could not be made."""
    setting = f"stores.{config.name}.url"
    text = redact(str(fault), config)
    if "authentication failed" in text or "no password supplied" in text:
        return StoreError(
            f"{config.where} refuses the login (wrong user or password)",
            setting=setting,
            remedy="correct user and password in the variable or file that the URL comes from",
        )
    if "does not exist" in text and "database" in text:
        return StoreError(
            f"there is no such database at {config.where}", setting=setting, remedy="correct the database name"
        )
    if "does not exist" in text and "role" in text:
        return StoreError(f"{config.where} does not know this user", setting=setting, remedy="correct the user name")
    return UnavailableError(
        f"cannot reach {config.where} ({_reason(text)})",
        setting=setting,
        remedy="start the server, or correct host and port",
    )


def _reason(text: str) -> str:
    lowered = text.lower()
    for sign in ("connection refused", "timeout expired", "could not translate host name", "server closed"):
        if sign in lowered:
            return sign
    return text[:160]


def _translate(fault: psycopg.Error, config: StoreConfig, target: Target | None) -> StoreError:
    text = redact(str(fault), config)
    state = fault.sqlstate
    place = f"targets.{target.name}" if target else f"stores.{config.name}"
    if isinstance(fault, errors.QueryCanceled):
        return BatchTimeoutError(
            f"a statement took longer than {config.statement_timeout.total_seconds():g} s",
            setting=f"stores.{config.name}.statement_timeout",
            remedy="lower batch_size or raise statement_timeout",
        )
    if isinstance(fault, errors.LockNotAvailable | errors.DeadlockDetected | errors.SerializationFailure):
        return TransientError(
            f"lost to another transaction ({text})", setting=place, remedy="tried again by the next pass"
        )
    if isinstance(fault, errors.InsufficientPrivilege):
        return StoreError(
            f"the login may not do this ({text})",
            setting=place,
            remedy=f"GRANT SELECT, UPDATE, DELETE ON {target.source_name if target else 'the table'} to it",
        )
    if isinstance(fault, errors.ForeignKeyViolation):
        return StoreError(
            f"other rows still refer to expired ones ({text})",
            setting=place,
            remedy="clean the referring table first, or give its foreign key an ON DELETE action",
        )
    if state in _GONE or (isinstance(fault, psycopg.OperationalError) and state is None):
        return UnavailableError(
            f"{config.where} went away ({_reason(text)})",
            setting=f"stores.{config.name}.url",
            remedy="start the server again",
        )
    return StoreError(text[:300], setting=place, remedy="correct the target's settings")
