"""`cleanup.allow_networks` -> networks: where webhooks and vetoes may lead besides the Internet."""

from ipaddress import ip_network
from typing import Any

from cleanup_pipeline.layouts.field_types import refuse
from cleanup_pipeline.model.pace import Network

_MOST = 100


def read_networks(value: Any) -> tuple[Network, ...]:
    """A list, or text with commas (environment variables are text), of addresses and networks in CIDR notation."""
    expected = f"up to {_MOST} addresses or networks such as 10.1.0.0/16, 127.0.0.1 or fd00:1::/64"
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list) or len(several) > _MOST or not all(isinstance(one, str) for one in several):
        raise refuse(expected)
    try:
        return tuple(dict.fromkeys(ip_network(one.strip()) for one in several if one.strip()))
    except ValueError:
        raise refuse(expected, remedy="a network begins at its first address, so not 10.1.2.3/16") from None
