"""How sensors tell people: through the ledger's outbox, or, while the ledger is away, at once and once."""

from collections.abc import Sequence
from datetime import UTC, datetime
from logging import Logger

from cleanup_pipeline.ledger import LedgerError, open_ledger
from cleanup_pipeline.ledger.outbox import Message
from cleanup_pipeline.model.alert import AlertSeverity
from cleanup_pipeline.observability.notifications import of_event, send_once
from cleanup_pipeline.settings.notifications import NotificationSettings


def tell(
    url: str,
    notifications: NotificationSettings,
    event: str,
    text: str,
    key: str,
    log: Logger,
    severity: str = AlertSeverity.WARNING,
) -> None:
    """Log it as an error, and put it into the outbox of the ledger at `url`, whence sensor `alerts` delivers it.

    The same `key` is told once. Never raises for a ledger or a receiver that is away.
    """
    log.error(text)
    now = datetime.now(UTC)
    several = list(of_event(event, text, key, notifications.channels.values(), now, severity))
    if not several:
        return
    try:
        ledger = open_ledger(url)
        try:
            ledger.outbox.put(several, notifications.per_hour, now)
        finally:
            ledger.close()
    except LedgerError as fault:
        log.error("the message is sent once and not kept: %s", fault)  # noqa: TRY400 - one line says it all
        tell_at_once(several, notifications, log)


def tell_at_once(several: Sequence[Message], notifications: NotificationSettings, log: Logger) -> None:
    """Send messages without keeping them, and log what does not arrive."""
    for channel, failure in send_once(several, notifications.channels).items():
        log.error("channel %s was not told: %s", channel, failure.reason)
