"""PyMongo's errors as the faults of the store protocol, each with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo import errors

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError, TransientError, UnavailableError, redact

# Error codes by name: github.com/mongodb/mongo src/mongo/base/error_codes.yml
UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18
MAX_TIME = 50
_PASSING = {
    6, 7, 64, 89, 91, 112, 189, 246, 251, 262, 9001, 10107, 11600, 11602, 13435, 13436,
}  # fmt: skip
"""Host unreachable, shutting down, stepped down, not primary, write conflict and their like."""


@contextmanager
def translated(config: StoreConfig, target: Target | None) -> Iterator[None]:
    """Raise the protocol's faults in place of PyMongo's."""
    try:
        yield
    except errors.PyMongoError as fault:
        raise _translate(fault, config, target) from fault


def _translate(fault: errors.PyMongoError, config: StoreConfig, target: Target | None) -> StoreError:
    text = redact(str(fault), config)[:300]
    place = f"targets.{target.name}" if target else f"stores.{config.name}"
    url = f"stores.{config.name}.url"
    code = fault.code if isinstance(fault, errors.OperationFailure) else None
    if code == AUTHENTICATION_FAILED or isinstance(fault, errors.ConfigurationError):
        return StoreError(
            f"{config.where} refuses the login ({_reason(fault, text)})",
            setting=url,
            remedy="correct user, password and authSource in the variable or file that the URL comes from",
        )
    if code == UNAUTHORIZED:
        source = target.source_name if target else "the collection"
        return StoreError(
            f"the login may not do this ({text})",
            setting=place,
            remedy=f"grant find and remove on {source}, for example with role readWrite",
        )
    if isinstance(fault, errors.ServerSelectionTimeoutError) or (
        isinstance(fault, errors.AutoReconnect) and not isinstance(fault, errors.NetworkTimeout)
    ):
        return UnavailableError(
            f"cannot reach {config.where} ({_reason(fault, text)})",
            setting=url,
            remedy="start the server, or correct host and port",
        )
    if code == MAX_TIME or isinstance(fault, errors.NetworkTimeout):
        return BatchTimeoutError(
            f"a command took longer than {config.statement_timeout.total_seconds():g} s",
            setting=f"stores.{config.name}.statement_timeout",
            remedy="lower batch_size or raise statement_timeout",
        )
    if code in _PASSING or fault.has_error_label("TransientTransactionError"):
        return TransientError(f"the server is changing over ({text})", setting=place, remedy="tried again later")
    return StoreError(text, setting=place, remedy="correct the target's settings")


def _reason(fault: errors.PyMongoError, text: str) -> str:
    for sign in ("connection refused", "timed out", "name or service not known", "connection closed"):
        if sign in text.lower():
            return sign
    return "authentication failed" if getattr(fault, "code", None) == AUTHENTICATION_FAILED else text[:120]
