"""Getting messages out of the ledger to where they belong, in a bounded time.

Each channel has a thread of its own, so that a receiver that does not answer keeps nobody else waiting; a thread that
is not done in time is left behind, and its message stays claimed until that runs out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Thread
from time import monotonic
from typing import Any

from cleanup_pipeline.ledger import LedgerError
from cleanup_pipeline.ledger.outbox import Failure, Message, Outbox
from cleanup_pipeline.observability.notifications.by_apprise import send_apprise
from cleanup_pipeline.observability.notifications.messages import of_surplus
from cleanup_pipeline.observability.notifications.webhook import TIMEOUT_SECONDS, send_webhook
from cleanup_pipeline.settings.notifications import Channel, ChannelType

BUDGET_SECONDS = 15.0
"""How long a round of deliveries may take, whatever receivers do."""
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The host's clock."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Delivery:
    """What a round of deliveries came to."""

    delivered: int = 0
    failed: int = 0
    """Attempts that failed and are repeated later."""
    given_up: list[str] = field(default_factory=list[str])
    """A line for each message that is not tried again."""
    trouble: list[str] = field(default_factory=list[str])
    """A line for whatever else went wrong."""


def send(channel: Channel, message: Message, now: datetime) -> Failure | None:
    """One attempt; None: it arrived. Never raises for what a receiver does."""
    if channel.type is ChannelType.APPRISE:
        return send_apprise(channel, message)
    return send_webhook(channel, message, now)


def deliver(
    outbox: Outbox, channels: Mapping[str, Channel], *, budget: float = BUDGET_SECONDS, clock: Clock = utc_now
) -> Delivery:
    """Send what is due, one message of a channel after another, for at most `budget` seconds.

    A channel that fails is left alone until the next round.
    """
    ends = monotonic() + budget
    # One for each, so that a thread that is left behind changes nothing that is looked at any more.
    parts = {name: Delivery() for name in channels}
    # Whoever begins later than this might not be done in time.
    last_start = ends - min(TIMEOUT_SECONDS + 1, budget / 2)

    def of_channel(channel: Channel) -> None:
        part = parts[channel.name]
        try:
            while monotonic() < last_start and _deliver_one(outbox, channel, part, clock):
                pass
        except LedgerError as fault:
            part.trouble.append(str(fault))

    _side_by_side(of_channel, channels.values(), ends)
    return Delivery(
        sum(part.delivered for part in parts.values()),
        sum(part.failed for part in parts.values()),
        [line for part in parts.values() for line in part.given_up],
        [line for part in parts.values() for line in part.trouble],
    )


def _deliver_one(outbox: Outbox, channel: Channel, done: Delivery, clock: Clock) -> bool:
    """Whether there was a message and it arrived."""
    kept = outbox.claim(channel.name, clock())
    if kept is None:
        return False
    failure = send(channel, Message(kept.id, kept.channel, kept.event, kept.body), clock())
    if failure is None:
        outbox.delivered(kept, clock())
        done.delivered += 1
        return True
    if outbox.failed(kept, failure, clock()):
        done.failed += 1
    else:
        done.given_up.append(
            f"message {kept.id} to channel {kept.channel} is given up after {kept.attempts} attempts: {failure.reason};"
            " see cleanup-pipeline notifications --dead"
        )
    return False


def send_once(
    several: Iterable[Message], channels: Mapping[str, Channel], *, budget: float = BUDGET_SECONDS
) -> Mapping[str, Failure]:
    """Send messages at once, without keeping them; what failed, by channel."""
    failures: dict[str, Failure] = {}

    def attempt(message: Message) -> None:
        failures[message.channel] = Failure(f"no answer within {budget:.0f} s")
        failure = send(channels[message.channel], message, utc_now())
        if failure is None:
            del failures[message.channel]
        else:
            failures[message.channel] = failure

    _side_by_side(attempt, [each for each in several if each.channel in channels], monotonic() + budget)
    return dict(failures)


def summarize_surplus(outbox: Outbox, now: datetime) -> int:
    """Put a summary for each channel and hour that is over and had too much; how many. Raises LedgerError."""
    found = outbox.surplus(now)
    for (channel, hour), held in found.items():
        outbox.summarize(of_surplus(channel, hour, held, now), [each.id for each in held], now)
    return len(found)


def _side_by_side(work: Callable[[Any], None], items: Iterable[Any], ends: float) -> None:
    threads: Sequence[Thread] = [Thread(target=work, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - monotonic()))
