"""A message by Apprise: Slack, e-mail, Teams, PagerDuty and whatever else it knows by URL."""

import logging
from functools import cache
from typing import Any

from cleanup_pipeline.ledger.outbox import Failure, Message
from cleanup_pipeline.settings.notifications import Channel

_KINDS = {"critical": "failure", "warning": "warning"}


def send_apprise(channel: Channel, message: Message) -> Failure | None:
    """Hand it over; None: Apprise says that it was sent. Why not is only known to Apprise's log, which is kept shut."""
    try:
        apprise = _module()
        sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="cleanup-pipeline", app_desc=""))
        if not sender.add(channel.url):
            return Failure("Apprise knows no such URL", refused=True)
        over = message.event == "alert_ended"
        kind = "success" if over else _KINDS.get(str(message.body.get("severity")), "info")
        title = f"{message.body['title']} ({message.body['host']})"
        sent = sender.notify(title=title, body=str(message.body["text"]), notify_type=apprise.NotifyType(kind))
    except Exception as fault:  # noqa: BLE001 - a hundred plugins, each with its own faults, whose words may hold the URL
        return Failure(f"Apprise failed ({type(fault).__name__})")
    return None if sent else Failure("Apprise could not send it")


@cache
def _module() -> Any:
    # A third of a second: only who has such a channel waits for it.
    import apprise

    # It names URLs, tokens and all.
    logging.getLogger("apprise").addFilter(lambda _: False)
    # So does what it asks by, at DEBUG.
    logging.getLogger("urllib3").setLevel(logging.INFO)
    return apprise
