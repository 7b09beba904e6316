"""A message by Apprise: Slack, e-mail, Teams, PagerDuty and whatever else it knows by URL."""

import logging
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from cleanup_pipeline.engine.outbound import ForbiddenAddressError, resolve
from cleanup_pipeline.ledger.outbox import Failure, Message
from cleanup_pipeline.settings.notifications import Channel

_OF_ANY_HOST = frozenset({"json", "jsons", "form", "forms", "xml", "xmls"})
_KINDS = {"critical": "failure", "warning": "warning"}


def send_apprise(channel: Channel, message: Message) -> Failure | None:
    """Hand it over; None: Apprise says that it was sent. Why not is only known to Apprise's log, which is kept shut."""
    try:
        apprise = _module()
        scheme = channel.url.partition("://")[0].lower()
        if scheme in _OF_ANY_HOST:
            _judge(channel)
        # Redirects could lead anywhere.
        asset = apprise.AppriseAsset(app_id="cleanup-pipeline", app_desc="", http_redirects=False)
        sender = apprise.Apprise(asset=asset)
        if not sender.add(channel.url):
            return Failure("Apprise knows no such URL", refused=True)
        over = message.event == "alert_ended"
        kind = "success" if over else _KINDS.get(str(message.body.get("severity")), "info")
        title = f"{message.body['title']} ({message.body['host']})"
        sent = sender.notify(title=title, body=str(message.body["text"]), notify_type=apprise.NotifyType(kind))
    except ForbiddenAddressError as fault:
        return Failure(f"not sent: its URL {fault}")
    except Exception as fault:  # noqa: BLE001 - a hundred plugins, each with its own faults, whose words may hold the URL
        return Failure(f"Apprise failed ({type(fault).__name__})")
    return None if sent else Failure("Apprise could not send it")


def _judge(channel: Channel) -> None:
    """Raise ForbiddenAddressError where the host leads where it may not, as far as this host can tell.

    Apprise resolves the name once more, so that DNS may say something else by then: a channel of type webhook connects
    to what was looked at. Other services have hosts of their own, and their URLs hold tokens where others have a host.
    """
    try:
        resolve(urlsplit(channel.url).hostname or "", channel.networks)
    except ForbiddenAddressError:
        raise
    except OSError:
        return  # Apprise finds out by itself.


@cache
def _module() -> Any:
    # A third of a second: only who has such a channel waits for it.
    import apprise

    # It names URLs, tokens and all.
    logging.getLogger("apprise").addFilter(lambda _: False)
    # So does what it asks by, at DEBUG.
    logging.getLogger("urllib3").setLevel(logging.INFO)
    return apprise
