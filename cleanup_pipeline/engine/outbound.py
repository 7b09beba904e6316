"""HTTP to a place that a setting names, and only to addresses that it may lead to.

A URL that somebody else may choose, or a name whose DNS somebody else answers, would otherwise make this program ask
whatever it can reach: the metadata service of a cloud, a database, an admin page on loopback. Every address of the name
is looked at, and the connection is made to an address that was looked at, so that a second answer of DNS changes
nothing. Redirects are not followed.

Does not belong here: what Apprise and OpenTelemetry connect to by themselves (docs/security.md).
"""

import socket
import ssl
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
    getproxies,
    proxy_bypass,
)

from cleanup_pipeline.engine.within import within
from cleanup_pipeline.model.pace import Network

RESOLVE_SECONDS = 5.0
METADATA = frozenset(
    ip_address(text)
    # AWS, Google, Azure and most others; AWS by IPv6; Alibaba; Oracle; Azure's WireServer, which is a public address.
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)
"""Where clouds hand out credentials to whoever asks from inside."""
_NAT64 = IPv6Network("64:ff9b::/96")
_KINDS = (
    ("is_loopback", "a loopback address"),
    ("is_link_local", "a link-local address"),
    ("is_multicast", "a multicast address"),
    ("is_unspecified", "no address"),
    ("is_private", "a private address"),
)
Address = IPv4Address | IPv6Address


class ForbiddenAddressError(OSError):
    """The name leads where it may not. The message holds neither the name nor the address."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"leads to {kind}; name its network in cleanup.allow_networks if that is meant")


def forbidden(address: Address, allowed: Sequence[Network]) -> str | None:
    """What kind of address it is when it may not be connected to, else None.

    An address within `allowed` may be; one of METADATA only when it is named by itself, not by a network around it.
    """
    plain = _inner(address)
    named = [network for network in allowed if plain.version == network.version and plain in network]
    if plain in METADATA:
        alone = any(network.num_addresses == 1 for network in named)
        return None if alone else "the metadata service of a cloud"
    if named or (plain.is_global and not plain.is_multicast):
        return None
    return next((words for name, words in _KINDS if getattr(plain, name)), "a reserved address")


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does: mapped, NAT64, 6to4 or Teredo."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def resolve(host: str, allowed: Sequence[Network], seconds: float = RESOLVE_SECONDS) -> list[tuple[Any, ...]]:
    """What getaddrinfo() says of a name within so many seconds, all of it allowed.

    Raises ForbiddenAddressError, TimeoutError, OSError.
    """
    return within(seconds, host, lambda: _resolve(host, 0, allowed))


def _resolve(host: str, port: int, allowed: Sequence[Network]) -> list[tuple[Any, ...]]:
    # The resolver has no timeout that could be set: only for who is bounded from outside.
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as fault:
        raise OSError("no host name") from fault
    for *_, place in found:
        # A scope (fe80::1%eth0) is a matter of the host, not of the address.
        kind = forbidden(ip_address(str(place[0]).partition("%")[0]), allowed)
        if kind is not None:
            raise ForbiddenAddressError(kind)
    return list(found)


def connect(host: str, port: int, timeout: float, allowed: Sequence[Network]) -> socket.socket:
    """A connection to the first address of a name that answers, within `timeout` once the name is known.

    An address that does not answer leaves the others their share of it. Raises as `resolve` does.
    """
    last: OSError = OSError("no address")
    found = _resolve(host, port, allowed)
    ends = monotonic() + timeout
    for number, (family, kind, protocol, _, place) in enumerate(found):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(max(0.001, (ends - monotonic()) / (len(found) - number)))
            opened.connect(place)
        except OSError as fault:
            opened.close()
            last = fault
        else:
            opened.settimeout(timeout)
            return opened
    raise last


def open_checked(
    request: Request, timeout: float, allowed: Sequence[Network], *, by_proxy: bool = False
) -> HTTPResponse:
    """The answer to a request, within `timeout` seconds in all: name, connection, TLS, and an answer's headers.

    `by_proxy`: by the proxy that the environment names for its host, if it does. Then it is the proxy who resolves the
    name; it is refused here as well where it leads to a forbidden address, as far as this host can tell. Raises
    ForbiddenAddressError in a URLError, TimeoutError, and whatever urllib raises.
    """
    host = urlsplit(request.full_url).hostname or ""
    return within(timeout, host, lambda: _open(request, host, timeout, allowed, by_proxy=by_proxy))


def _open(request: Request, host: str, timeout: float, allowed: Sequence[Network], *, by_proxy: bool) -> HTTPResponse:
    if by_proxy and request.type in getproxies() and not proxy_bypass(host):
        _judge_by_name(host, allowed)
        opener = build_opener(_NoRedirect)
    else:
        opener = _direct(allowed)
    answer: HTTPResponse = opener.open(request, timeout=timeout)
    return answer


def _judge_by_name(host: str, allowed: Sequence[Network]) -> None:
    try:
        _resolve(host, 0, allowed)
    except ForbiddenAddressError:
        raise
    except OSError:
        return  # A name that only the proxy knows.


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an answer like any other: who is asked is what the settings say."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _direct(allowed: Sequence[Network]) -> OpenerDirector:
    class Plain(HTTPConnection):
        def connect(self) -> None:
            self.sock = connect(self.host, self.port, _seconds(self.timeout), allowed)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            context = ssl.create_default_context()
            opened = connect(self.host, self.port, _seconds(self.timeout), allowed)
            try:
                self.sock = context.wrap_socket(opened, server_hostname=self.host)
            except BaseException:
                opened.close()
                raise

    class PlainHandler(HTTPHandler):
        def http_open(self, req: Request) -> HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(HTTPSHandler):
        def https_open(self, req: Request) -> HTTPResponse:
            return self.do_open(Secure, req)

    return build_opener(ProxyHandler({}), _NoRedirect, PlainHandler, SecureHandler)


def _seconds(timeout: object) -> float:
    return float(timeout) if isinstance(timeout, int | float) else 10.0
