"""How busy a MongoDB deployment is: hello, serverStatus without its long sections, and the replica set's own state."""

from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.stores.mongo.collection import Document
from cleanup_pipeline.stores.mongo.faults import translated

TIMEOUT_MS = 1000
_LONG_SECTIONS = ("metrics", "locks", "wiredTiger", "tcmalloc", "opLatencies", "transactions", "sharding", "opcounters")


def look(client: MongoClient[Document], config: StoreConfig) -> Load:
    """The load of the primary and the lag of its secondaries. Raises the protocol's faults.

    serverStatus and replSetGetStatus want the role clusterMonitor: what the login may not ask is unknown, as is what
    the server does not tell.
    """
    with translated(config, None):
        began = monotonic()
        hello = client.admin.command("hello")
        ping = monotonic() - began
        status = _command(client, "serverStatus", dict.fromkeys(_LONG_SECTIONS, 0))
        members = _command(client, "replSetGetStatus", {}).get("members") if hello.get("setName") else None
    return load_of(ping, status, members)


def load_of(ping: float, status: Mapping[str, Any], members: Any) -> Load:
    """The load that serverStatus and the members of replSetGetStatus (None outside a replica set) amount to."""
    queue = _mapping(_mapping(status.get("globalLock")).get("currentQueue")).get("total")
    return Load(
        ping=ping,
        replica_lag=_lag(members) if isinstance(members, list) else None,
        blocked=queue if isinstance(queue, int) else None,
        connections_share=_connections(_mapping(status.get("connections"))),
    )


def _command(client: MongoClient[Document], name: str, options: Mapping[str, int]) -> Document:
    try:
        return client.admin.command({name: 1, **options, "maxTimeMS": TIMEOUT_MS})
    except OperationFailure:
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _connections(counts: Mapping[str, Any]) -> float | None:
    current, available = counts.get("current"), counts.get("available")
    # A server with none available would not have let us in: it does not know, or does not say.
    if not isinstance(current, int) or not isinstance(available, int) or available <= 0:
        return None
    return current / (current + available)


def _lag(members: list[Any]) -> float | None:
    """Seconds that the slowest secondary in reach is behind the primary; None without one."""
    dates: dict[str, list[datetime]] = {}
    for member in members:
        optime = _mapping(member).get("optimeDate")
        if isinstance(optime, datetime):
            dates.setdefault(str(member.get("stateStr")), []).append(optime)
    if not dates.get("PRIMARY") or not dates.get("SECONDARY"):
        return None
    return max(0.0, (max(dates["PRIMARY"]) - min(dates["SECONDARY"])).total_seconds())
