"""Which of a store's load signals lie over their thresholds. Unknown signals never do."""

from collections.abc import Iterator
from dataclasses import dataclass

from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.pace import Pace


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a batch may not go now."""

    reason: str
    """One word, for counting."""
    text: str
    """What was found and the setting to look at, for people."""


def over_threshold(load: Load, pace: Pace) -> Hold | None:
    """The first signal that asks for a wait."""
    return next(_holds(load, pace), None)


def _holds(load: Load, pace: Pace) -> Iterator[Hold]:
    if load.ping is not None and pace.max_ping is not None and load.ping > pace.max_ping.total_seconds():
        limit = pace.max_ping.total_seconds()
        yield Hold("ping", f"the store takes {load.ping:.3f} s to answer, governor.max_ping is {limit:g} s")
    lag, most_lag = load.replica_lag, pace.max_replica_lag
    if lag is not None and most_lag is not None and lag > most_lag.total_seconds():
        limit = most_lag.total_seconds()
        yield Hold("replica_lag", f"a replica is {lag:.1f} s behind, governor.max_replica_lag is {limit:g} s")
    for reason, found, most, what in (
        ("replica_gap", load.replica_gap, pace.max_replica_gap, "bytes a replica is behind"),
        ("blocked", load.blocked, pace.max_blocked, "sessions wait for a lock"),
        ("blocked_clients", load.blocked_clients, pace.max_blocked_clients, "clients are blocked"),
    ):
        if found is not None and most is not None and found > most:
            yield Hold(reason, f"{found} {what}, governor.max_{reason} is {most}")
    for reason, share, limit_share, what in (
        ("connections_share", load.connections_share, pace.max_connections_share, "connections"),
        ("memory_share", load.memory_share, pace.max_memory_share, "memory"),
    ):
        if share is not None and limit_share is not None and share > limit_share:
            yield Hold(reason, f"{share:.0%} of the {what} in use, governor.max_{reason} is {limit_share:g}")
