"""How busy a Redis server is: PING and three sections of INFO, whose cost does not grow with the data."""

from time import monotonic
from typing import Any

from redis.exceptions import ResponseError

from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.stores.redis.connection import Client, primaries, send
from cleanup_pipeline.stores.redis.faults import translated


def look(client: Client, config: StoreConfig) -> Load:
    """The load of the server; unknown where the login may not send INFO. Raises the protocol's faults."""
    with translated(config, None):
        # Of a cluster, the first server speaks for all.
        node = primaries(client)[0]
        began = monotonic()
        send(client, "PING", node=node)
        ping = monotonic() - began
        info: dict[str, Any] = {}
        for section in ("clients", "memory", "replication"):
            try:
                # One section a command: Redis 6.2 takes no more.
                info |= send(client, "INFO", section, node=node)
            except ResponseError:
                continue
    replicas = [value for key, value in info.items() if key.startswith("slave") and isinstance(value, dict)]
    online = [replica for replica in replicas if replica.get("state") == "online"]
    behind = [
        info["master_repl_offset"] - r["offset"] for r in online if "offset" in r and "master_repl_offset" in info
    ]
    lags = [float(replica["lag"]) for replica in online if replica.get("lag", -1) >= 0]
    return Load(
        ping=ping,
        replica_lag=max(lags, default=None),
        replica_gap=max(behind, default=None),
        blocked_clients=info.get("blocked_clients"),
        connections_share=_share(info.get("connected_clients"), info.get("maxclients")),
        memory_share=_share(info.get("used_memory"), info.get("maxmemory")),
    )


def _share(used: int | None, most: int | None) -> float | None:
    """`maxmemory` 0 is no limit, and so no share."""
    return used / most if used is not None and most else None
