"""Leases in Redis: a hash a target, a field a holder, each with an end by the server's clock.

Scripts that delete get the lease as a fence (lua/fence.lua): one whose time is over, or whose field is gone, removes
nothing. In a cluster a script may not read the lease's key, and goes by the time alone.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.redis.connection import Client, in_cluster
from cleanup_pipeline.stores.redis.scripts import NO_FENCE, Argument, Fence, load_script, run_script

PREFIX = "cleanup-pipeline:lease:"


@dataclass(frozen=True, slots=True)
class LeaseBook:
    """The leases of one server."""

    client: Client
    lasting: timedelta

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        """`Leases.acquire`."""
        answer = self._ask(target, "acquire", lease)
        if int(answer[0]) > 0:
            return replace(lease, until=_instant(answer[0]))
        return _holder(answer[1])

    def renew(self, target: Target, lease: Lease) -> Lease | None:
        """The same lease, longer; None when it was lost."""
        answer = self._ask(target, "renew", lease)
        return replace(lease, until=_instant(answer[0])) if int(answer[0]) > 0 else None

    def release(self, target: Target, lease: Lease) -> None:
        """`Leases.release`."""
        self._ask(target, "release", lease)

    def holders(self, target: Target) -> list[Holder]:
        """`Leases.holders`."""
        return sorted((_holder(value) for value in self._ask(target, "holders")), key=str)

    def free(self, target: Target) -> int:
        """`Leases.free`."""
        return int(self._ask(target, "free")[0])

    def _ask(self, target: Target, what: str, lease: Lease | None = None) -> list[Any]:
        words: list[Argument] = [what]
        if lease is not None:
            lasting = self.lasting // timedelta(milliseconds=1)
            words += [lease.token, lasting, lease.run, lease.window, lease.host]
        answer: list[Any] = run_script(self.client, load_script("lease"), [key_of(target)], words, fence=None)
        return answer


def key_of(target: Target) -> bytes:
    """The key of a target's lease. Two projects may clean one server: a target's name alone is not enough."""
    name, _, source = target.lease_key.partition("/")
    return f"{PREFIX}{name}:{sha256(source.encode()).hexdigest()[:8]}".encode()


def fence_of(client: Client, target: Target) -> Fence:
    """What the scripts of a batch check first."""
    if target.lease is None or target.lease.until is None:
        return NO_FENCE
    until = int(target.lease.until.timestamp() * 1000)
    return Fence(b"" if in_cluster(client) else key_of(target), target.lease.token, str(until))


def _instant(ms: Any) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)


def _holder(value: bytes) -> Holder:
    _, since, run, window, host = value.decode("utf-8", "replace").split(" ", 4)
    return Holder(host, _instant(since), run, window)
