"""Messages on their way out: kept until they are delivered or given up, each sent by one process at a time.

Who picks a message up puts its next attempt off in the same transaction, so that nobody else does; a process that dies
with it leaves it to whoever looks after that. Does not belong here: what a message says, how it is sent.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update

from cleanup_pipeline.ledger.alerting import one_at_a_time
from cleanup_pipeline.ledger.connect import LONGEST_LINE, Place, one_line
from cleanup_pipeline.ledger.tables import messages
from cleanup_pipeline.ledger.writing import insert

DELAYS = tuple(timedelta(seconds=n) for n in (10, 30, 120, 600, 3600, 3 * 3600, 6 * 3600))
"""Between one attempt and the next, give or take JITTER."""
ATTEMPTS = len(DELAYS) + 1
ATTEMPTS_IF_REFUSED = 3
"""For what the receiver says is wrong with the message, and may yet take back."""
JITTER = 0.2
LONGEST_RETRY_AFTER = timedelta(hours=1)
CLAIM = timedelta(minutes=2)
"""For how long a message belongs to who picked it up; longer than any attempt takes."""
HOUR = timedelta(hours=1)
SUMMARY = "summary"
"""The event of a message that stands for those over the limit of an hour."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one channel."""

    id: str
    """Which message it is: putting it twice puts it once, and a receiver sees the same one on each attempt."""
    channel: str
    event: str
    body: Mapping[str, Any]
    """JSON; names and figures, no secret and no identifier of a record."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message and what became of it."""

    id: str
    channel: str
    event: str
    body: Mapping[str, Any]
    created_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    dead_at: datetime | None
    error: str | None
    """Why the last attempt failed; or the message that it was told of in."""

    @property
    def state(self) -> str:
        """`waiting`, `delivered`, `dead`, or `summarized`: over the limit of its hour."""
        if self.delivered_at is not None:
            return "delivered"
        if self.dead_at is not None:
            return "dead"
        return "summarized" if self.next_attempt_at is None else "waiting"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `reason` never holds a part of a URL or a secret."""

    reason: str
    gone: bool = False
    """There is nobody there for good: not to be tried again."""
    refused: bool = False
    """The receiver says that the message is wrong."""
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """The messages of a ledger. Each method is one transaction and raises LedgerError."""

    place: Place

    def put(self, several: Sequence[Message], per_hour: int, now: datetime) -> int:
        """Keep messages to be sent at once; how many are new. Of a channel that had `per_hour` of them since the hour
        began, they wait for the summary of that hour."""
        with self.place.writing() as connection:
            return put(connection, several, per_hour, now)

    def surplus(self, now: datetime) -> Mapping[tuple[str, datetime], Sequence[Kept]]:
        """What waits for the summary of an hour that is over, by channel and beginning of the hour."""
        with self.place.reading() as connection:
            return surplus(connection, now)

    def summarize(self, summary: Message, told: Sequence[str], now: datetime) -> None:
        """Put one message that stands for those with the ids `told`."""
        with self.place.writing() as connection:
            one_at_a_time(connection)
            _insert(connection, summary, now, now)
            those = and_(messages.c.id.in_(told), _in_surplus())
            connection.execute(update(messages).where(those).values(error=f"told in {summary.id}"))

    def claim(self, channel: str, now: datetime) -> Kept | None:
        """The message of a channel that has been due the longest, for this process alone for as long as CLAIM."""
        with self.place.writing() as connection:
            due = (
                select(messages)
                .where(messages.c.channel == channel, messages.c.next_attempt_at <= now)
                .order_by(messages.c.next_attempt_at, messages.c.created_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            row = connection.execute(due).mappings().one_or_none()
            if row is None:
                return None
            taken = {"attempts": row["attempts"] + 1, "next_attempt_at": now + CLAIM}
            connection.execute(update(messages).where(messages.c.id == row["id"]).values(taken))
            return Kept(**{**row, **taken})

    def delivered(self, message: Kept, now: datetime) -> None:
        """It arrived."""
        with self.place.writing() as connection:
            values = {"delivered_at": now, "next_attempt_at": None, "dead_at": None, "error": None}
            connection.execute(update(messages).where(messages.c.id == message.id).values(values))

    def failed(self, message: Kept, failure: Failure, now: datetime) -> bool:
        """An attempt failed; whether there will be another. Does nothing when somebody else has taken over."""
        most = ATTEMPTS_IF_REFUSED if failure.refused else ATTEMPTS
        again = not failure.gone and message.attempts < most
        values: dict[str, Any] = {"error": one_line(failure.reason)[:LONGEST_LINE]}
        if again:
            values["next_attempt_at"] = now + delay(message.attempts, failure.retry_after)
        else:
            values |= {"next_attempt_at": None, "dead_at": now}
        with self.place.writing() as connection:
            still_mine = and_(
                messages.c.id == message.id,
                messages.c.attempts == message.attempts,
                messages.c.delivered_at.is_(None),
                messages.c.dead_at.is_(None),
            )
            connection.execute(update(messages).where(still_mine).values(values))
        return again

    def kept(self, *, limit: int = 20, dead: bool = False) -> Sequence[Kept]:
        """The newest messages first; `dead`: only those that were given up."""
        chosen = select(messages).order_by(messages.c.created_at.desc(), messages.c.id).limit(limit)
        with self.place.reading() as connection:
            return _kept(connection, chosen.where(messages.c.dead_at.is_not(None)) if dead else chosen)

    def retry(self, now: datetime, prefix: str | None = None) -> int:
        """Bring given up messages back, due at once and with all attempts before them; how many.

        `prefix` None: all of them, else those whose id begins with it.
        """
        dead: ColumnElement[bool] = messages.c.dead_at.is_not(None)
        if prefix is not None:
            dead = and_(dead, messages.c.id.startswith(prefix, autoescape=True))
        with self.place.writing() as connection:
            values = {"dead_at": None, "attempts": 0, "next_attempt_at": now}
            return connection.execute(update(messages).where(dead).values(values)).rowcount

    def abandon(self, channels: Collection[str], before: datetime, now: datetime) -> int:
        """Give up messages that were due before an instant to a channel that is not among these; how many."""
        lost = and_(messages.c.next_attempt_at < before, messages.c.channel.not_in(list(channels)))
        with self.place.writing() as connection:
            values = {"next_attempt_at": None, "dead_at": now, "error": "the settings have no such channel any more"}
            return connection.execute(update(messages).where(lost).values(values)).rowcount

    def forget(self, before: datetime) -> int:
        """Delete messages that were put before an instant and are not to be sent any more; how many."""
        with self.place.writing() as connection:
            old = and_(messages.c.created_at < before, messages.c.next_attempt_at.is_(None))
            return connection.execute(delete(messages).where(old)).rowcount


def put(connection: Connection, several: Sequence[Message], per_hour: int, now: datetime) -> int:
    """See Outbox.put."""
    one_at_a_time(connection)
    count = 0
    for message in several:
        of_hour = select(func.count()).where(
            messages.c.channel == message.channel,
            messages.c.created_at >= hour_of(now),
            messages.c.event != SUMMARY,
            ~_in_surplus(),
        )
        full = connection.execute(of_hour).scalar_one() >= per_hour
        count += _insert(connection, message, now, None if full else now)
    return count


def surplus(connection: Connection, now: datetime) -> dict[tuple[str, datetime], list[Kept]]:
    """See Outbox.surplus."""
    over = and_(_in_surplus(), messages.c.error.is_(None), messages.c.created_at < hour_of(now))
    found: dict[tuple[str, datetime], list[Kept]] = {}
    for each in _kept(connection, select(messages).where(over).order_by(messages.c.created_at, messages.c.id)):
        found.setdefault((each.channel, hour_of(each.created_at)), []).append(each)
    return found


def hour_of(at: datetime) -> datetime:
    """The beginning of the hour of an instant, in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def delay(attempts: int, retry_after: timedelta | None = None) -> timedelta:
    """How long to wait after so many attempts (at least 1), or longer if the receiver asked for it."""
    jittered = DELAYS[min(attempts, len(DELAYS)) - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return max(jittered, min(retry_after or timedelta(0), LONGEST_RETRY_AFTER))


def _in_surplus() -> ColumnElement[bool]:
    return and_(messages.c.next_attempt_at.is_(None), messages.c.delivered_at.is_(None), messages.c.dead_at.is_(None))


def _insert(connection: Connection, message: Message, now: datetime, due: datetime | None) -> int:
    statement = insert(connection.dialect.name, messages).values(
        id=message.id,
        channel=message.channel,
        event=message.event,
        body=dict(message.body),
        created_at=now,
        next_attempt_at=due,
    )
    return len(connection.execute(statement.on_conflict_do_nothing().returning(messages.c.id)).all())


def _kept(connection: Connection, chosen: Any) -> list[Kept]:
    return [Kept(**row) for row in connection.execute(chosen).mappings()]
