"""PyMongo's errors as the faults of the store protocol, each with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo import errors

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import BatchTimeoutError, StoreError, TransientError, UnavailableError, redact
from cleanup_pipeline.stores.mongo.batches import UnsureWriteError
from cleanup_pipeline.stores.mongo.tls import is_encrypted
from cleanup_pipeline.stores.tls import reach_remedy, tls_fault

# Error codes by name: github.com/mongodb/mongo src/mongo/base/error_codes.yml; 8000 is Atlas's own.
UNAUTHORIZED = 13
_REFUSED = {11, 18, 8000}
MAX_TIME = 50
BAD_VALUE = 2
_PASSING = {
    6, 7, 24, 43, 63, 64, 89, 91, 112, 133, 134, 175, 189, 202, 246, 251, 262, 290, 9001, 10107, 11600, 11602, 13388,
    13435, 13436,
}  # fmt: skip
"""Host unreachable, shutting down, stepped down, not primary, write conflict, cursor or plan lost, and their like."""
_QUOTES_VALUES = frozenset({11000, 241, 121})
"""Duplicate key, conversion failure, document validation: their messages quote the document."""
_PASSING_LABELS = ("TransientTransactionError", "RetryableWriteError", "RetryableError")


@contextmanager
def translated(config: StoreConfig, target: Target | None) -> Iterator[None]:
    """Raise the protocol's faults in place of PyMongo's."""
    try:
        yield
    except errors.PyMongoError as fault:
        # Not chained: PyMongo's own text may quote the command, and with it the identifiers of sessions.
        raised = _translate(fault, config, target)
        if isinstance(fault, UnsureWriteError):
            raised.at_most = fault.at_most
        raise raised from None
    except (OverflowError, BSONError) as fault:
        place = f"targets.{target.name}.where" if target else f"stores.{config.name}"
        raise StoreError(
            f"a value does not fit into a document ({type(fault).__name__})", setting=place, remedy="correct the value"
        ) from None


def _translate(fault: errors.PyMongoError, config: StoreConfig, target: Target | None) -> StoreError:
    text = _text(fault, config)
    place = f"targets.{target.name}" if target else f"stores.{config.name}"
    url = config.url_setting
    code = fault.code if isinstance(fault, errors.OperationFailure) else None
    if code in _REFUSED:
        return StoreError(
            f"{config.where} refuses the login (authentication failed)",
            setting=url,
            remedy="correct user, password and authSource in the variable or file that the URL comes from",
        )
    if code == UNAUTHORIZED:
        source = target.source_name if target else "the collection"
        return StoreError(
            "the login may not do this",
            setting=place,
            remedy=f"grant find and remove on {source}, for example with role readWrite",
        )
    if code == MAX_TIME or isinstance(fault, errors.NetworkTimeout):
        return BatchTimeoutError(
            f"a command took longer than {config.statement_timeout.total_seconds():g} s",
            setting=f"stores.{config.name}.statement_timeout",
            remedy="lower batch_size or raise statement_timeout",
        )
    if code == BAD_VALUE and "hint" in text:
        return TransientError("the index was dropped under way", setting=place, remedy="tried again without it")
    if _passes(fault, code):
        return TransientError(f"the server is changing over ({text})", setting=place, remedy="tried again later")
    refused = tls_fault(str(fault), config)
    if refused is not None:
        return refused
    if isinstance(fault, errors.ConnectionFailure) or (isinstance(fault, errors.ConfigurationError) and "DNS" in text):
        return UnavailableError(
            f"cannot reach {config.where} ({_reason(text)})",
            setting=url,
            remedy=reach_remedy(encrypted=is_encrypted(config.url)),
        )
    if isinstance(fault, errors.ConfigurationError):
        return StoreError(text, setting=url, remedy="correct the options in the URL")
    return StoreError(text, setting=place, remedy="correct the target's settings")


def _passes(fault: errors.PyMongoError, code: int | None) -> bool:
    if isinstance(fault, errors.NotPrimaryError | errors.WaitQueueTimeoutError) or code in _PASSING:
        return True
    answered = isinstance(fault, errors.OperationFailure)
    return answered and any(fault.has_error_label(label) for label in _PASSING_LABELS)


def _text(fault: errors.PyMongoError, config: StoreConfig) -> str:
    """What went wrong, cut off where the server begins to quote a command or PyMongo its answer."""
    if isinstance(fault, errors.OperationFailure) and fault.code in _QUOTES_VALUES:
        return f"a value could not be read or converted (code {fault.code})"
    message = str(fault).split(", full error:")[0].split("{")[0]
    return redact(message, config).rstrip(" :,")[:200] or type(fault).__name__


def _reason(text: str) -> str:
    for sign in ("connection refused", "timed out", "name or service not known", "connection closed"):
        if sign in text.lower():
            return sign
    return "no server answers" if text.startswith("No servers found") else text[:120]
