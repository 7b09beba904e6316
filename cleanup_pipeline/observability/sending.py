"""From a ledger to a collector, in one call."""

from cleanup_pipeline.ledger import LedgerError
from cleanup_pipeline.observability.otlp import push
from cleanup_pipeline.observability.reader import Reader
from cleanup_pipeline.settings import Settings


def send_once(url: str, settings: Settings) -> str | None:
    """Read the ledger at a URL and send what it says; why that failed, in one line, or None. Never raises."""
    reader = Reader(url, settings)
    try:
        return send(reader)
    finally:
        reader.close()


def send(reader: Reader) -> str | None:
    """The same with a reader that is used again and again."""
    try:
        snapshot = reader.read()
    except LedgerError as fault:
        return f"metrics could not be sent: {fault}"
    return push(snapshot)
