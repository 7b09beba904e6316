"""Where webhooks and vetoes may lead, and how long that may take: every address of a name, no redirect, slow names."""

import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanup_pipeline.engine import veto
from cleanup_pipeline.engine.outbound import METADATA, ForbiddenAddressError, connect, forbidden, open_checked
from cleanup_pipeline.engine.signals import Hold
from cleanup_pipeline.engine.within import MOST_LEFT_BEHIND, StillHangingError, within
from tests.e2e.support import wait_for
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


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that does not come back while the test runs. Yields the names that it was asked for."""
    over, asked = Event(), list[str]()

    def hang(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "over")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    over.set()
    for thread in enumerate_threads():
        if thread.name == "within":
            thread.join(60)


def test_a_veto_whose_name_is_not_resolved_means_wait(hanging: list[str]) -> None:
    hold = veto.ask("http://hangs.test/check")
    assert hold == Hold("veto_unreachable", "veto_url does not answer (TimeoutError)")
    assert hanging == ["hangs.test"]


def test_a_resolver_that_hangs_costs_a_few_threads_and_nobody_else(
    hanging: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(veto, "TIMEOUT_SECONDS", 0.02)
    for _ in range(5 * MOST_LEFT_BEHIND):
        assert veto.ask("http://many.test/") is not None
    with pytest.raises(StillHangingError):
        open_checked(post("http://many.test/"), 5, ())
    wait_for("all of them", lambda: len(hanging) == MOST_LEFT_BEHIND)
    # Another name is asked for all the same.
    with pytest.raises(TimeoutError, match="no answer within"):
        open_checked(post("http://other.test/"), 0.02, ())
    wait_for("the other one", lambda: hanging[MOST_LEFT_BEHIND:] == ["other.test"])


def test_what_hangs_makes_room_again_once_it_has_ended() -> None:
    over = Event()
    for _ in range(MOST_LEFT_BEHIND):
        with pytest.raises(TimeoutError):
            within(0.01, "key", lambda: over.wait(60))
    with pytest.raises(StillHangingError):
        within(60, "key", lambda: True)
    over.set()
    for thread in enumerate_threads():
        if thread.name == "within":
            thread.join(60)
    assert within(60, "key", lambda: "again") == "again"


def test_a_webhook_by_a_proxy_whose_name_hangs(hanging: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(TimeoutError):
        open_checked(post("http://hook.test/"), 0.02, (), by_proxy=True)


def test_an_answer_that_trickles_in_is_none() -> None:
    """Each byte within the socket's timeout, and the headers never over."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, over = listening.getsockname()[1], Event()

        def trickle() -> None:
            taken, _ = listening.accept()
            with taken:
                try:
                    while not over.wait(0.05):
                        taken.sendall(b"H")
                except OSError:
                    return

        taker = Thread(target=trickle)
        taker.start()
        try:
            with pytest.raises(TimeoutError, match="no answer within"):
                open_checked(post(f"http://127.0.0.1:{port}/"), 0.3, LOOPBACK)
        finally:
            over.set()
            taker.join()


def test_what_comes_too_late_is_closed() -> None:
    closed, go_on = Event(), Event()

    class Late:
        def close(self) -> None:
            closed.set()

    def call() -> Late:
        go_on.wait(60)
        return Late()

    with pytest.raises(TimeoutError):
        within(0.01, "late", call)
    go_on.set()
    assert closed.wait(60)


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whose backlog is full does not answer.
    with socket.socket() as full, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        full.bind(("127.0.0.2", port))
        full.listen(0)
        with socket.create_connection(("127.0.0.2", port)):
            answers(monkeypatch, ["127.0.0.2", "127.0.0.1"])
            with connect("example.test", port, 1.0, [ip_network("127.0.0.0/8")]) as made:
                assert made.getpeername() == ("127.0.0.1", port)
