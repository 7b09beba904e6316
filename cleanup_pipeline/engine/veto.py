"""Somebody else's word on whether to go on: one HTTP GET, answered as freno does.

https://github.com/github/freno/blob/master/doc/http.md: 200 go, 404 unknown, 417 refused, 429 too busy, 500 in error.
"""

from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from cleanup_pipeline.engine.signals import Hold

TIMEOUT_SECONDS = 1.0
GO = 200


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an answer other than 200: the setting names the place that answers."""
        return


def _opener() -> OpenerDirector:
    # No proxy: whoever may hold back the cleaner is near the store.
    return build_opener(ProxyHandler({}), _NoRedirect)


def ask(url: str) -> Hold | None:
    """None to go on. Anything but 200 within a second means wait, also when nobody answers.

    Whoever sets a veto wants to be asked; silence is no permission. The URL is in no message, since its query may hold
    a token.
    """
    request = Request(url, headers={"User-Agent": "cleanup-pipeline"})  # noqa: S310 - settings allow http and https only
    try:
        with _opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
            status: int = answer.status
    except HTTPError as answer:
        status = answer.code
        answer.close()
    except (OSError, HTTPException, ValueError) as fault:
        return Hold("veto_unreachable", f"veto_url does not answer ({type(fault).__name__})")
    return None if status == GO else Hold("veto", f"veto_url answered {status}")
