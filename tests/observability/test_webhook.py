"""What a receiver of a webhook gets, and what is made of its answer."""

import base64
import socket
from datetime import UTC, datetime, timedelta

import pytest

from cleanup_pipeline.ledger.outbox import Failure, Message
from cleanup_pipeline.observability.notifications.webhook import send_webhook, wait_of
from cleanup_pipeline.settings.notifications import Channel, ChannelType

from .receiver import CANARY, LOOPBACK, Receiver, is_signed

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
MESSAGE = Message(
    "msg_1", "ops", "test", {"title": "t", "text": "Überfällig: 1 of 2", "severity": "warning", "host": "h"}
)
PLAIN = "a plain secret"
CODED = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def channel(url: str, *secrets: str) -> Channel:
    return Channel("ops", ChannelType.WEBHOOK, url, secrets, networks=LOOPBACK)


@pytest.mark.parametrize("secret", [PLAIN, CODED])
def test_it_is_signed_as_the_standard_says(receiver: Receiver, secret: str) -> None:
    assert send_webhook(channel(receiver.url, secret), MESSAGE, NOW) is None
    [asked] = receiver.asked
    assert is_signed(asked, secret)
    assert not is_signed(asked, "another secret")
    # A message that is sent again later by somebody who listened has the old time in what is signed.
    assert asked.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert not is_signed(asked, secret, stamp=str(int(NOW.timestamp()) + 3600))
    assert asked.id == "msg_1" and asked.json == {"id": "msg_1", **MESSAGE.body}
    assert asked.headers["content-type"] == "application/json"


def test_while_a_secret_is_changed_both_are_right(receiver: Receiver) -> None:
    assert send_webhook(channel(receiver.url, PLAIN, CODED), MESSAGE, NOW) is None
    [asked] = receiver.asked
    assert is_signed(asked, PLAIN) and is_signed(asked, CODED) and not is_signed(asked, "third")


def test_without_a_secret_nothing_claims_to_be_signed(receiver: Receiver) -> None:
    assert send_webhook(channel(receiver.url), MESSAGE, NOW) is None
    assert "webhook-signature" not in receiver.asked[0].headers


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (503, Failure("HTTP 503")),
        (500, Failure("HTTP 500")),
        (429, Failure("HTTP 429")),
        (410, Failure("HTTP 410: the receiver is gone for good", gone=True)),
        (404, Failure("HTTP 404", refused=True)),
        (302, Failure("HTTP 302: a redirect, which is not followed", refused=True)),
        (307, Failure("HTTP 307: a redirect, which is not followed", refused=True)),
    ],
)
def test_what_an_answer_means(receiver: Receiver, code: int, failure: Failure) -> None:
    receiver.answers = [code]
    receiver.extra = {"Location": receiver.url}
    assert send_webhook(channel(receiver.url), MESSAGE, NOW) == failure
    assert len(receiver.asked) == 1


def test_the_receiver_may_ask_for_time(receiver: Receiver) -> None:
    receiver.answers, receiver.extra = [429], {"Retry-After": "120"}
    assert send_webhook(channel(receiver.url), MESSAGE, NOW) == Failure("HTTP 429", retry_after=timedelta(minutes=2))


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", timedelta(seconds=7)),
        ("Wed, 25 Nov 2026 12:01:30 GMT", timedelta(seconds=90)),
        ("Wed, 25 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("soon", None),
        ("-5", None),
        ("9" * 40, None),
        ("", None),
        (None, None),
    ],
)
def test_how_long_it_asks_for(text: str | None, wait: timedelta | None) -> None:
    assert wait_of(text, NOW) == wait


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:CLOSED/{CANARY}",
        f"http://{CANARY}.invalid/x",
        f"http://{CANARY * 20}.invalid/x",
        f"http://127.0.0.1:99999/{CANARY}",
        f"https://127.0.0.1:CLOSED/{CANARY}",
    ],
)
def test_what_cannot_be_reached_is_said_without_the_url(url: str) -> None:
    url = url.replace("CLOSED", str(closed_port()))
    failure = send_webhook(channel(url, CANARY), MESSAGE, NOW)
    assert failure is not None and failure.reason.startswith("not reached (") and not failure.gone
    assert CANARY not in repr(failure) and CANARY not in repr(channel(url, CANARY))


def test_https_does_not_fall_back_to_http(receiver: Receiver) -> None:
    failure = send_webhook(channel(receiver.url.replace("http:", "https:")), MESSAGE, NOW)
    assert failure is not None and "SSL" in failure.reason and receiver.asked == []
