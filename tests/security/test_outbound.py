"""Where webhooks and vetoes may lead: every address of a name, the one that is connected to, and no redirect."""

import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanup_pipeline.engine import veto
from cleanup_pipeline.engine.outbound import METADATA, ForbiddenAddressError, connect, forbidden, open_checked
from tests.observability.receiver import LOOPBACK, Receiver, running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as made:
        yield made


def post(url: str) -> Request:
    return Request(url, b"{}", method="POST")  # noqa: S310 - to a server of this test


INSIDE = """
127.0.0.1 127.9.9.9 ::1 0.0.0.0 :: 10.0.0.1 172.16.0.1 192.168.1.1 169.254.1.1 fe80::1 fd00::1 100.64.0.1 224.0.0.1
ff02::1 255.255.255.255 198.18.0.1 240.0.0.1 192.0.2.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1
64:ff9b::a9fe:a9fe 2002:7f00:1:: 2001:0:4136:e378:8000:63bf:80ff:fffe 169.254.169.254 100.100.100.200 192.0.0.192
168.63.129.16 fd00:ec2::254
"""


@pytest.mark.parametrize("text", INSIDE.split())
def test_what_is_not_of_the_internet_is_refused(text: str) -> None:
    assert forbidden(ip_address(text), ()) is not None


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_the_internet_is_not(text: str) -> None:
    assert forbidden(ip_address(text), ()) is None


def test_what_is_named_may_be_and_metadata_only_by_itself() -> None:
    assert forbidden(ip_address("10.1.2.3"), [ip_network("10.1.0.0/16")]) is None
    assert forbidden(ip_address("::ffff:10.1.2.3"), [ip_network("10.1.0.0/16")]) is None
    assert forbidden(ip_address("10.2.0.1"), [ip_network("10.1.0.0/16")]) == "a private address"
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    for address in METADATA:
        assert forbidden(address, everything) == "the metadata service of a cloud"
        assert forbidden(address, [ip_network(address)]) is None


@given(st.ip_addresses())
def test_any_address_is_judged(address: Any) -> None:
    kind = forbidden(address, ())
    assert (kind is None) <= (address.is_global or address in ip_network("64:ff9b::/96"))


def test_loopback_is_refused_and_allowed_where_it_is_named(receiver: Receiver) -> None:
    with pytest.raises(URLError) as caught:
        open_checked(post(receiver.url), 5, ())
    assert isinstance(caught.value.reason, ForbiddenAddressError)
    assert "loopback" in str(caught.value.reason) and "allow_networks" in str(caught.value.reason)
    assert receiver.asked == []
    with open_checked(post(receiver.url), 5, LOOPBACK) as answer:
        assert answer.status == 204
    assert len(receiver.asked) == 1


@pytest.mark.parametrize(
    "url", ["http://0x7f.1:{}/", "http://2130706433:{}/", "http://localhost:{}/", "http://[::1]:{}/"]
)
def test_other_spellings_of_loopback(receiver: Receiver, url: str) -> None:
    with pytest.raises((URLError, OSError)):
        open_checked(post(url.format(receiver.port)), 5, ())
    assert receiver.asked == []


def answers(monkeypatch: pytest.MonkeyPatch, *several: list[str]) -> list[str]:
    """DNS that says something else each time it is asked. Returns who was asked for."""
    left, asked = list(several), list[str]()

    def say(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", say)
    return asked


def test_one_forbidden_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["1.1.1.1", "10.0.0.7"])
    with pytest.raises(ForbiddenAddressError, match="a private address"):
        connect("example.test", 80, 1, ())


def test_a_name_is_resolved_once(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer would lead elsewhere, and is never asked for."""
    asked = answers(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    with open_checked(post(f"http://example.test:{receiver.port}/"), 5, LOOPBACK):
        pass
    assert asked == ["example.test"]
    assert receiver.asked[0].headers["host"] == f"example.test:{receiver.port}"


def test_a_redirect_is_an_answer(receiver: Receiver) -> None:
    receiver.answers, receiver.extra = [302], {"Location": receiver.url}
    with pytest.raises(HTTPError, match="302"):
        open_checked(post(receiver.url), 5, LOOPBACK)
    assert len(receiver.asked) == 1


def test_by_a_proxy_a_forbidden_name_is_refused_as_well(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ForbiddenAddressError):
        open_checked(post("http://10.0.0.1/x"), 5, (), by_proxy=True)
    assert receiver.asked == []
    with open_checked(post("http://1.1.1.1/x"), 5, (), by_proxy=True):
        pass
    assert receiver.asked[0].path == "http://1.1.1.1/x"


def test_a_veto_at_a_forbidden_address_means_wait(receiver: Receiver) -> None:
    hold = veto.ask(f"{receiver.url}&more=1")
    assert hold is not None and hold.reason == "veto_unreachable"
    assert "a loopback address" in hold.text and "allow_networks" in hold.text and receiver.url not in hold.text
    assert receiver.asked == []


def test_a_connection_that_one_address_refuses_goes_on_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        answers(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        taker = Thread(target=lambda: listening.accept()[0].close())
        taker.start()
        connect("example.test", port, 5, [ip_network("127.0.0.0/8")]).close()
        taker.join()
