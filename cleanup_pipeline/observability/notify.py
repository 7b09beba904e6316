"""Telling somebody outside: one JSON object by HTTP POST to CLEANUP_NOTIFY_URL.

The URL may hold a token, so it is in no message. What cannot be delivered is logged by the caller, and stops nothing.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.request import Request, urlopen

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

VARIABLE = "CLEANUP_NOTIFY_URL"
TIMEOUT_SECONDS = 5.0
ATTEMPTS = 3


def notify(event: str, text: str, details: Mapping[str, str]) -> str | None:
    """Send `{"event", "text", "at", ...details}`; why it could not be delivered, or None.

    None, too, where nobody wants to be told. Tried three times within seconds.
    """
    url = os.environ.get(VARIABLE)
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        return f"{VARIABLE}: found no http:// or https:// URL"
    body = {"event": event, "text": text, "at": datetime.now(UTC).isoformat(timespec="seconds"), **details}
    headers = {"Content-Type": "application/json", "User-Agent": "cleanup-pipeline"}
    request = Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the scheme was looked at above
    trying = Retrying(
        retry=retry_if_exception_type((OSError, HTTPException)),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(initial=0.5, max=3),
        reraise=True,
    )
    try:
        trying(_send, request)
    except (OSError, HTTPException, ValueError) as fault:
        return f"{VARIABLE}: nobody was told ({type(fault).__name__})"
    return None


def _send(request: Request) -> None:
    with urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
        return
