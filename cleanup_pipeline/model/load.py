"""How busy a store is, as far as it says so."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """Signals of one look at a store. None means unknown, which is not zero: nothing is concluded from it."""

    ping: float | None = None
    """Seconds that a statement without work took, the way there and back included."""
    replica_lag: float | None = None
    """Seconds that the slowest replica is behind."""
    replica_gap: int | None = None
    """Bytes of the replication stream that the slowest replica has not got yet (Redis)."""
    blocked: int | None = None
    """Sessions or operations that wait for a lock."""
    blocked_clients: int | None = None
    """Clients of Redis in a blocking command such as BLPOP. Often just idle workers."""
    connections_share: float | None = None
    """Connections in use, as a share of the most that the server takes."""
    memory_share: float | None = None
    """Used memory as a share of the limit, where there is a limit (Redis)."""
