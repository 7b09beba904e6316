"""A message as JSON by HTTP POST, signed by the scheme of Standard Webhooks (https://www.standardwebhooks.com).

Does not belong here: to which addresses a URL may lead (engine/outbound.py).
"""

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request

from cleanup_pipeline.engine.outbound import ForbiddenAddressError, open_checked
from cleanup_pipeline.ledger.outbox import Failure, Message
from cleanup_pipeline.settings.notifications import Channel

TIMEOUT_SECONDS = 5.0
_AGAIN = frozenset({408, 425, 429})
_GONE = 410
_PREFIX = "whsec_"


def send_webhook(channel: Channel, message: Message, now: datetime) -> Failure | None:
    """Post it; None: the receiver has it (2xx)."""
    body = content_of(message)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "cleanup-pipeline",
        **signed_headers(message.id, body, channel.secrets, now),
    }
    try:
        request = Request(channel.url, body, headers, method="POST")  # noqa: S310 - the settings let http(s) pass only
        with open_checked(request, TIMEOUT_SECONDS, channel.networks, by_proxy=True):
            return None
    except HTTPError as answer:
        with answer:
            return _refusal(answer.code, answer.headers.get("Retry-After"), now)
    # What these say may hold a part of the URL, so only what they are is told.
    except URLError as fault:
        reason = fault.reason
        if isinstance(reason, ForbiddenAddressError):
            return _not_allowed(reason)
        return Failure(f"not reached ({type(reason).__name__ if isinstance(reason, Exception) else 'URLError'})")
    except ForbiddenAddressError as fault:
        return _not_allowed(fault)
    except (OSError, HTTPException, ValueError) as fault:
        return Failure(f"not reached ({type(fault).__name__})")


def _not_allowed(fault: ForbiddenAddressError) -> Failure:
    # Tried again: DNS may say something else by then, or the setting.
    return Failure(f"not sent: its URL {fault}")


def content_of(message: Message) -> bytes:
    """The body of a message: the same bytes on each attempt."""
    return json.dumps({"id": message.id, **message.body}, sort_keys=True, separators=(",", ":")).encode()


def signed_headers(message_id: str, body: bytes, secrets: Sequence[str], now: datetime) -> Mapping[str, str]:
    """What a receiver needs to know the message again, and to know who it is from, if there is a secret.

    While a secret is changed there are several signatures, and one of them is right for whichever a receiver has.
    """
    stamp = str(int(now.timestamp()))
    headers = {"webhook-id": message_id, "webhook-timestamp": stamp}
    if secrets:
        headers["webhook-signature"] = " ".join(signature(secret, message_id, stamp, body) for secret in secrets)
    return headers


def signature(secret: str, message_id: str, stamp: str, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 of id, timestamp and body. `secret`: `whsec_` and base64, or any text as it is."""
    plain = secret.startswith(_PREFIX)
    key = b64decode(secret.removeprefix(_PREFIX)) if plain else secret.encode()
    digest = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, sha256).digest()
    return f"v1,{b64encode(digest).decode()}"


def _refusal(code: int, retry_after: str | None, now: datetime) -> Failure:
    told = f"HTTP {code}"
    if code == _GONE:
        return Failure(f"{told}: the receiver is gone for good", gone=True)
    if code in _AGAIN or code >= 500:
        return Failure(told, retry_after=wait_of(retry_after, now))
    if 300 <= code < 400:
        return Failure(f"{told}: a redirect, which is not followed", refused=True)
    return Failure(told, refused=True)


def wait_of(retry_after: str | None, now: datetime) -> timedelta | None:
    """What a Retry-After header asks for, in seconds or as a date; None: nothing that can be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
    return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
