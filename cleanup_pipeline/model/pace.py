"""How gentle a target's deleting has to be: what slows it, shrinks it or makes it wait."""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from cleanup_pipeline.model.run_window import RunWindow

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Pace:
    """Thresholds of the governor. None: this signal never makes it wait."""

    latency_target: timedelta = timedelta(milliseconds=25)
    """A batch that takes longer halves the next one; every other one lets it grow by a twentieth of batch_size."""
    min_batch: int = 50
    """Records; latency alone does not shrink a batch below this. What a batch costs whatever its size (the way to the
    server and back) would only be paid more often."""
    pause_share: float = 1.0
    """Added to each pause, as a share of the last batch's latency."""
    max_replica_lag: timedelta | None = timedelta(seconds=10)
    max_replica_gap: int | None = 64 * 1024 * 1024
    """Bytes."""
    max_blocked: int | None = 10
    max_blocked_clients: int | None = None
    max_connections_share: float | None = 0.9
    max_memory_share: float | None = None
    """Not set by default: deleting is what frees memory."""
    max_ping: timedelta | None = timedelta(milliseconds=250)
    run_window: RunWindow | None = None
    """None: at any hour."""
    veto_url: str | None = field(default=None, repr=False)
    """Asked before batches; anything but 200 means wait."""
    budget: int | None = None
    """Records a second that all shards of all processes may remove together; None: as many as can be."""
    store_budget: int | None = None
    """The same, of the shards that work on one store."""
    networks: tuple[Network, ...] = ()
    """To which veto_url may lead besides addresses of the Internet."""
    look_every: timedelta = timedelta(seconds=1)
    """Shortest time between two looks at the store's load, or two questions to the veto; also how long a wait lasts."""
