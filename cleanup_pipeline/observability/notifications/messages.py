"""What a message says: what happened, since when, the figure, what to do, and where. What came together is one.

Names of settings and figures only: no URL, no secret, no identifier of a record.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from platform import node
from typing import Any

from cleanup_pipeline.ledger.alerting import AlertRow, Changes
from cleanup_pipeline.ledger.outbox import SUMMARY, Kept, Message
from cleanup_pipeline.model.alert import AlertSeverity
from cleanup_pipeline.observability.words import span
from cleanup_pipeline.settings.notifications import Channel

STARTED, ENDED, CHANGED = "alert_started", "alert_ended", "alerts_changed"
TEST = "test"
MOST_LINES = 20
"""Alerts, or messages of a summary, that a text tells of one by one."""


def docs_of(alert: str) -> str:
    """Where it says what to do about an alert."""
    return f"docs/alerts.md#{alert.lower()}"


def of_changes(changes: Changes, channels: Iterable[Channel], now: datetime) -> Iterator[Message]:
    """One message for each channel that wants to hear of any of it."""
    for channel in channels:
        started = [row for row in changes.started if _wants(channel, row.name, row.severity)]
        ended = [row for row in changes.ended if _wants(channel, row.name, row.severity)]
        if not started and not ended:
            continue
        event = CHANGED if started and ended else STARTED if started else ENDED
        severity = _worst(row.severity for row in started or ended)
        lines = [*_start_lines(started), *_shortened([_end_line(row, now) for row in ended])]
        body = _body(event, _title(started, ended), lines, severity, now)
        body["alerts"] = [_as_json(row, now) for row in (*started, *ended)]
        yield Message(
            _id(channel, event, *(f"{row.id}/{row.ended_at is None}" for row in (*started, *ended))),
            channel.name,
            event,
            body,
        )


def of_event(
    event: str, text: str, key: str, channels: Iterable[Channel], now: datetime, severity: str = AlertSeverity.WARNING
) -> Iterator[Message]:
    """A message for each channel that wants it. The same `key` is the same message, however often it is put."""
    for channel in channels:
        if _wants(channel, event, severity):
            body = _body(event, event.replace("_", " "), [text], severity, now)
            yield Message(_id(channel, event, key), channel.name, event, body)


def of_test(channel: Channel, now: datetime) -> Message:
    """A message that only shows that it gets there."""
    body = _body(TEST, "test", ["this is a test: notifications get here, and nothing is wrong"], "info", now)
    return Message(_id(channel, TEST, now.isoformat()), channel.name, TEST, body)


def of_surplus(channel: str, hour: datetime, held: Sequence[Kept], now: datetime) -> Message:
    """What stands for the messages of an hour that were over the limit."""
    lines = [str(each.body.get("title", each.event)) for each in held]
    title = f"{len(held)} more message{'s' if len(held) != 1 else ''} in the hour from {hour:%H:%M} UTC"
    severity = _worst(str(each.body.get("severity", "")) for each in held)
    body = _body(SUMMARY, title, _shortened(lines), severity, now)
    key = "|".join((SUMMARY, channel, hour.isoformat(), *(each.id for each in held)))
    return Message(f"msg_{sha256(key.encode()).hexdigest()[:32]}", channel, SUMMARY, body)


def _wants(channel: Channel, name: str, severity: str) -> bool:
    loud = channel.min_severity is not AlertSeverity.CRITICAL or severity == AlertSeverity.CRITICAL
    return loud and (channel.only is None or name in channel.only)


def _worst(severities: Iterable[str]) -> str:
    return str(max((AlertSeverity.WARNING, *severities), key=lambda each: each == AlertSeverity.CRITICAL))


def _title(started: Sequence[AlertRow], ended: Sequence[AlertRow]) -> str:
    if len(started) + len(ended) == 1:
        row = (*started, *ended)[0]
        return f"{row.name} {row.subject} {'started' if started else 'ended'}"
    parts = [*([f"{len(started)} started"] if started else []), *([f"{len(ended)} ended"] if ended else [])]
    return f"alerts: {', '.join(parts)}"


def _start_lines(started: Sequence[AlertRow]) -> Iterator[str]:
    if not started:
        return
    since = sorted({_clock(row.started_at) for row in started})
    for row in started[:MOST_LINES]:
        yield f"{row.name}: {row.summary}" + (f", since {_clock(row.started_at)}" if len(since) > 1 else "")
    if len(started) > MOST_LINES:
        yield f"and {len(started) - MOST_LINES} more"
    what = f"What to do: {', '.join(dict.fromkeys(docs_of(row.name) for row in started))}"
    yield f"Since {since[0]}. {what}" if len(since) == 1 else what


def _end_line(row: AlertRow, now: datetime) -> str:
    return f"{row.name} {row.subject} is over. It lasted {span(_lasted(row, now))}, from {_clock(row.started_at)}"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _lasted(row: AlertRow, now: datetime) -> timedelta:
    return (row.ended_at or now) - row.started_at


def _body(event: str, title: str, lines: Sequence[str], severity: str, now: datetime) -> dict[str, Any]:
    return {
        "event": event,
        "title": title,
        "text": "\n".join(lines),
        "severity": str(severity),
        "host": node(),
        "at": now.astimezone(UTC).isoformat(timespec="seconds"),
    }


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]


def _as_json(row: AlertRow, now: datetime) -> Mapping[str, Any]:
    over = row.ended_at is not None
    return {
        "name": row.name,
        "subject": row.subject,
        "state": "ended" if over else "started",
        "severity": row.severity,
        "summary": row.summary,
        "value": row.value,
        "started_at": row.started_at.isoformat(timespec="seconds"),
        "ended_at": row.ended_at.isoformat(timespec="seconds") if row.ended_at else None,
        "lasted_seconds": round(_lasted(row, now).total_seconds()) if over else None,
        "docs": docs_of(row.name),
    }


def _id(channel: Channel, event: str, *keys: str) -> str:
    return f"msg_{sha256('|'.join((channel.name, event, *keys)).encode()).hexdigest()[:32]}"
