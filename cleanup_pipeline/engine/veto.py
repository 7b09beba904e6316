"""Somebody else's word on whether to go on: one HTTP GET, answered as freno does.

https://github.com/github/freno/blob/master/doc/http.md: 200 go, 404 unknown, 417 refused, 429 too busy, 500 in error.
"""

from collections.abc import Sequence
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request

from cleanup_pipeline.engine.outbound import ForbiddenAddressError, open_checked
from cleanup_pipeline.engine.signals import Hold
from cleanup_pipeline.model.pace import Network

TIMEOUT_SECONDS = 1.0
GO = 200


def ask(url: str, networks: Sequence[Network] = ()) -> Hold | None:
    """None to go on. Anything but 200 within a second means wait, also when nobody answers.

    Whoever sets a veto wants to be asked; silence is no permission, and neither is an address outside the Internet and
    `networks`. The URL is in no message, since its query may hold a token. By no proxy: whoever may hold back the
    cleaner is near the store.
    """
    request = Request(url, headers={"User-Agent": "cleanup-pipeline"})  # noqa: S310 - settings allow http and https only
    try:
        with open_checked(request, TIMEOUT_SECONDS, networks) as answer:
            status: int = answer.status
    except HTTPError as answer:
        status = answer.code
        answer.close()
    except (OSError, HTTPException, ValueError) as fault:
        reason = fault.reason if isinstance(fault, URLError) else fault
        if isinstance(reason, ForbiddenAddressError):
            return Hold("veto_unreachable", f"veto_url {reason}")
        return Hold("veto_unreachable", f"veto_url does not answer ({type(fault).__name__})")
    return None if status == GO else Hold("veto", f"veto_url answered {status}")
