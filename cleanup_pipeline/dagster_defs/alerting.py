"""The sensor `alerts`: looks at the figures, starts and ends alerts, and delivers what is to be told.

Does not belong here: judging (observability/alerts), what is said and how it is sent (observability/notifications).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from logging import Logger

import dagster as dg

from cleanup_pipeline.dagster_defs.resources import ledger_url
from cleanup_pipeline.ledger import Ledger, LedgerError, open_ledger
from cleanup_pipeline.ledger.alerting import AlertRow, Changes
from cleanup_pipeline.ledger.outbox import Message
from cleanup_pipeline.observability.alerts import judge, read_figures
from cleanup_pipeline.observability.alerts.figures import watched_passes
from cleanup_pipeline.observability.notifications import Delivery, deliver, of_changes, summarize_surplus
from cleanup_pipeline.observability.notifications.delivery import Clock, utc_now
from cleanup_pipeline.settings import Settings

EVERY_SECONDS = 60
KEEP_MESSAGES = timedelta(days=90)
KEEP_FOR_A_CHANNEL = timedelta(days=1)
"""How long messages wait for a channel that is not in the settings."""
KEEP_ALERTS = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Tick:
    """What one evaluation came to."""

    firing: Sequence[AlertRow]
    changes: Changes
    delivery: Delivery

    def __str__(self) -> str:
        named = [f"{row.name} {row.subject}" + (" (unknown now)" if row.value is None else "") for row in self.firing]
        parts = [f"firing: {', '.join(named)}" if named else "nothing fires"]
        parts += [f"{row.name} {row.subject} ended" for row in self.changes.ended]
        if self.delivery.delivered:
            parts.append(f"{self.delivery.delivered} messages delivered")
        if self.delivery.failed:
            parts.append(f"{self.delivery.failed} to be tried again")
        return "; ".join(parts)


def alerts_sensor(settings: Settings, prefix: str = "") -> dg.SensorDefinition:
    """Every minute; there also where nothing runs, because what was put into the outbox has to get out."""

    @dg.sensor(
        name=f"{prefix}alerts",
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says what is wrong with the cleaning as a whole (docs/alerts.md), and delivers notifications.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = datetime.now(UTC)
        try:
            ledger = open_ledger(ledger_url(context.instance))
        except LedgerError as fault:
            return dg.SkipReason(f"nothing is known: {fault}")
        try:
            cursor = looks(settings, context.cursor, now)
            tick = evaluate(ledger, settings, looked_since(cursor), now, context.log)
            _tidy(ledger, settings, context.cursor, cursor, now)
        except LedgerError as fault:
            return dg.SkipReason(f"nothing is known: {fault}")
        finally:
            ledger.close()
        context.update_cursor(cursor)
        return dg.SkipReason(str(tick))

    return alerts


def evaluate(
    ledger: Ledger, settings: Settings, since: dict[str, datetime], now: datetime, log: Logger, clock: Clock = utc_now
) -> Tick:
    """Judge, start and end alerts, tell of them, and deliver what is due. `since`: when each pass was first looked at.

    Raises LedgerError.
    """
    conditions = judge(read_figures(ledger, settings, now, since), settings.alerts, now)
    changes = ledger.set_alerts(conditions, now)
    for row in changes.started:
        log.error("alert %s started: %s", row.name, row.summary)
    for row in changes.ended:
        log.info("alert %s %s ended", row.name, row.subject)
    told = settings.notifications

    def compose(untold: Changes) -> Sequence[Message]:
        return list(of_changes(untold, told.channels.values(), now))

    ledger.tell_alerts(compose, told.per_hour, now)
    summarize_surplus(ledger.outbox, now)
    delivery = deliver(ledger.outbox, told.channels, clock=clock)
    for line in (*delivery.given_up, *delivery.trouble):
        log.error(line)
    return Tick(ledger.open_alerts(), changes, delivery)


def looks(settings: Settings, cursor: str | None, now: datetime) -> str:
    """The cursor: since when each pass that is on has been looked at, and the day."""
    before = looked_since(cursor)
    passes = {each.name: before.get(each.name, now).isoformat() for each in watched_passes(settings)}
    return json.dumps({"passes": passes, "day": now.date().isoformat()})


def looked_since(cursor: str | None) -> dict[str, datetime]:
    """Since when each pass has been looked at."""
    known = json.loads(cursor)["passes"] if cursor else {}
    return {name: datetime.fromisoformat(at) for name, at in known.items()}


def _tidy(ledger: Ledger, settings: Settings, before: str | None, cursor: str, now: datetime) -> None:
    if before is None or json.loads(before)["day"] != json.loads(cursor)["day"]:
        ledger.outbox.abandon(settings.notifications.channels, now - KEEP_FOR_A_CHANNEL, now)
        ledger.outbox.forget(now - KEEP_MESSAGES)
        ledger.forget_alerts(now - KEEP_ALERTS)
