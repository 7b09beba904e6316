"""PostgreSQL's errors as the faults of the store protocol, each with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import (
    BatchTimeoutError,
    RecordError,
    StoreError,
    TransientError,
    UnavailableError,
    redact,
)
from cleanup_pipeline.stores.tls import tls_fault

# Class 57P: the server shuts down, crashes or is not ready; 25006: it became read-only, as after a failover.
INTEGRITY = "23"
"""Class of errors of constraints: foreign keys of every action, NOT NULL of a referring column, checks."""
_NAMES_ONLY = frozenset({"08", "0A", "21", "23", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57"})
"""Classes of errors whose first line holds names of tables, columns and constraints, and no values."""
_GONE = ("57P01", "57P02", "57P03", "53300")
_READ_ONLY = "25006"
_FULL = ("53100", "53200")
"""No room on disk, or in memory: what could not be done is undone, and there may be room again soon."""


@contextmanager
def translated(config: StoreConfig, target: Target | None) -> Iterator[None]:
    """Raise the protocol's faults in place of psycopg's."""
    try:
        yield
    except PoolTimeout as fault:
        raise UnavailableError(
            f"no connection to {config.where} within {config.connect_timeout.total_seconds():g} s",
            setting=config.url_setting,
            remedy="start the server, or correct host and port",
        ) from fault
    except psycopg.Error as fault:
        # Not chained: the driver's own text quotes rows.
        raise _translate(fault, config, target) from None


def connect_fault(fault: psycopg.Error, config: StoreConfig) -> StoreError:
    """The fault of a connection that could not be made."""
    setting = config.url_setting
    # Judged as the driver wrote it: a password that is a common word would be missing from the words looked for.
    text = str(fault)
    if "authentication failed" in text or "no password supplied" in text:
        return StoreError(
            f"{config.where} refuses the login (wrong user or password)",
            setting=setting,
            remedy="correct user and password in the variable or file that the URL comes from",
        )
    refused = tls_fault(text, config)
    if refused is not None:
        return refused
    if "does not exist" in text and "database" in text:
        return StoreError(
            f"there is no such database at {config.where}", setting=setting, remedy="correct the database name"
        )
    if "does not exist" in text and "role" in text:
        return StoreError(f"{config.where} does not know this user", setting=setting, remedy="correct the user name")
    return UnavailableError(
        f"cannot reach {config.where} ({_reason(text, config)})",
        setting=setting,
        remedy="start the server, or correct host and port",
    )


def _reason(text: str, config: StoreConfig) -> str:
    lowered = text.lower()
    # A host that does not resolve may be the end of a password with an @ in it: not repeated.
    for sign in ("resolve host", "translate host name"):
        if sign in lowered:
            return "the host name is not known"
    for sign in (
        "connection refused",
        "timeout expired",
        "timed out",
        "server closed",
        "unsupported startup parameter",
    ):
        if sign in lowered:
            return sign
    return redact(text, config)[:160]


def _told(fault: psycopg.Error, config: StoreConfig) -> str:
    """The first line alone, where the server wrote it from names: the detail lines quote the row, with its tokens.

    So does the first one where a value could not be read, and what a trigger or a function of the application raises.
    """
    state = fault.sqlstate or ""
    if fault.diag.source_function == "exec_stmt_raise":
        return f"a trigger or function of the database raised an exception, SQLSTATE {state}"
    if state and state[:2] not in _NAMES_ONLY:
        return f"SQLSTATE {state}, {type(fault).__name__}"
    return redact(fault.diag.message_primary or str(fault), config)


def _translate(fault: psycopg.Error, config: StoreConfig, target: Target | None) -> StoreError:
    text = _told(fault, config)
    state = fault.sqlstate or ""
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
    if state.startswith(INTEGRITY):
        return RecordError(
            f"the database's own rules keep a row from going ({text})",
            setting=place,
            remedy="clean the rows that refer to it first, or give their foreign key an ON DELETE action",
        )
    if state == _READ_ONLY:
        return TransientError(
            f"{config.where} is read-only, perhaps since a failover ({text})",
            setting=config.url_setting,
            remedy="point the URL at the primary, for example with target_session_attrs=read-write",
        )
    if state in _FULL:
        return TransientError(
            f"{config.where} has no room left ({text})", setting=f"stores.{config.name}", remedy="make room for it"
        )
    if state in _GONE or (isinstance(fault, psycopg.OperationalError) and not state):
        return UnavailableError(
            f"{config.where} went away ({_reason(str(fault), config)})",
            setting=config.url_setting,
            remedy="start the server again",
        )
    return StoreError(text[:300], setting=place, remedy="correct the target's settings")
