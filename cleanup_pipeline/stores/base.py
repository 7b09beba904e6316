"""The one protocol that every store keeps, and the faults it may raise.

Stores know no Dagster, no settings file and no other store. They find, judge and delete; when to stop, how long to
pause and what to try again is the engine's business.
"""

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from cleanup_pipeline.model.advice import Advice
from cleanup_pipeline.model.canary import Canary
from cleanup_pipeline.model.lease import Holder, Lease
from cleanup_pipeline.model.load import Load
from cleanup_pipeline.model.members import MemberTotals
from cleanup_pipeline.model.outcome import BatchOutcome, Cursor, Remains
from cleanup_pipeline.model.outline import Clients, Sighting
from cleanup_pipeline.model.plan import Census, Finding, Shard, Storage, Work
from cleanup_pipeline.model.removed import Lot, PutBack
from cleanup_pipeline.model.seen import Seen
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.survey import Asked, Survey
from cleanup_pipeline.model.target import Source, Target
from cleanup_pipeline.model.words import EpochUnit


class StoreError(Exception):
    """A fault with one line that names the target, the setting to look at and the remedy.

    Never built from a driver's message that may hold the store's URL without passing it through `redact` first.
    """

    at_most: int | None = 0
    """The most records that the batch which met it may have removed all the same; None: as many as it was asked for."""

    def __init__(self, problem: str, *, setting: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}; {remedy}")
        self.problem = problem
        self.setting = setting
        self.remedy = remedy


class ImplausibleError(StoreError):
    """No expiry can be right, so that its column, field or unit is wrong."""


class UnavailableError(StoreError):
    """The store cannot be reached, refuses the login, or went away. Worth another try within the same pass."""

    at_most = None


class TransientError(StoreError):
    """A fault that another try may well not meet: deadlock, serialization, lock wait, failover."""


class BatchTimeoutError(TransientError):
    """The batch took longer than the server-side limit; a smaller one may not."""

    at_most = None


class RecordError(StoreError):
    """One record of the batch cannot be removed, and so none of the batch was. Smaller batches find out which one."""


class SourceMissingError(StoreError):
    """The table, collection or keyspace of a target does not exist."""


class LeaseLostError(StoreError):
    """The lease that a batch was given has run out or was taken away. Nothing of the batch was deleted."""


class Store(Protocol):
    """A backend that can find and delete its own expired records.

    All instants are time-zone aware. `cutoff` is frozen for a pass: a record is expired when its expiry lies strictly
    before it. A missing, NULL, zero or unparsable expiry is never expired.
    """

    config: StoreConfig

    def clock(self) -> datetime:
        """The store's own time, in UTC. Raises UnavailableError."""
        ...

    def preflight(self, target: Target) -> Sequence[Finding]:
        """Look at what is there without changing it; a finding of severity error forbids deleting.

        Raises SourceMissingError, UnavailableError, or StoreError for what can be named (type, permission).
        """
        ...

    def census(self, target: Target, cutoff: datetime, timeout: timedelta) -> Census:
        """Count live, expired, without expiry and unparsable records, giving up after `timeout`."""
        ...

    def survivors(self, target: Target, cutoff: datetime, timeout: timedelta) -> int | None:
        """Recount the expired records by a query of its own; None when it could not finish within `timeout`."""
        ...

    def remains(self, target: Target, cutoff: datetime, timeout: timedelta) -> Remains:
        """Find the oldest expired record and count them all, by queries of its own that end within `timeout`.

        By an index on the expiry where there is one. What they did not come to is unknown.
        """
        ...

    def plan(self, target: Target, cutoff: datetime, census: Census) -> Work:
        """Choose the strategy and cut the target into at most `target.max_shards` disjoint shards."""
        ...

    def delete_batch(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, size: int, cutoff: datetime
    ) -> BatchOutcome:
        """Find and delete at most `size` expired records of a shard, re-checking the expiry where it deletes.

        `cursor` None starts the shard. Raises BatchTimeoutError, TransientError, UnavailableError, StoreError. After a
        fault, the same cursor may be given again: what was deleted is gone, what was not is found again.
        """
        ...

    def close(self) -> None:
        """Give back every connection. Safe to call twice."""
        ...


@runtime_checkable
class ShowsLoad(Protocol):
    """A store that can say how busy it is."""

    def load(self) -> Load:
        """A cheap look at the server: never anything that grows with the data.

        What the server or the login's rights do not show is None. Raises UnavailableError, StoreError.
        """
        ...


@runtime_checkable
class StepsOver(Protocol):
    """A store that can go on behind a record that cannot be removed."""

    def step_over(
        self, target: Target, work: Work, shard: Shard, cursor: Cursor | None, cutoff: datetime
    ) -> Cursor | None:
        """Where the shard goes on when the record that a batch of one would take at `cursor` is left where it is.

        None when nothing comes after it. Deletes nothing. Raises StoreError.
        """
        ...


@runtime_checkable
class ShowsShape(Protocol):
    """A store that can say cheaply what the expiries of a target are like, whatever their number."""

    def newest(self, target: Target, rank: int, timeout: timedelta) -> datetime | None:
        """The expiry of the record that comes `rank`th from the newest, expired or not; None: there is none, or it
        would take reading the target, or longer than `timeout`. Raises UnavailableError, StoreError."""
        ...

    def shape(self, target: Target) -> str | None:
        """The type of the expiry, in one line; None where its records have more than one. Raises UnavailableError,
        StoreError."""
        ...


@runtime_checkable
class NamesRecords(Protocol):
    """A store that can name its records one by one. Reads only, and leaves `target.spared` in as well."""

    def sightings(self, target: Target, cutoff: datetime, timeout: timedelta) -> Generator[Sighting, None, None]:
        """Every record of the target, in no order. None twice, except where the store itself says one twice.

        Raises BatchTimeoutError after `timeout`, UnavailableError, and StoreError where its records have no names.
        """
        ...


@runtime_checkable
class ShowsTheLine(Protocol):
    """A store that finds records by their expiry without naming all of them. Reads only.

    Raises BatchTimeoutError after `timeout`, UnavailableError, StoreError.
    """

    def nearest(self, target: Target, cutoff: datetime, count: int, timeout: timedelta) -> Sequence[Sighting]:
        """The `count` oldest and youngest expired records, and the live ones that die next."""
        ...

    def odd(self, target: Target, cutoff: datetime, count: int, timeout: timedelta) -> Sequence[Sighting]:
        """Up to `count` records without expiry, and with one that cannot be read."""
        ...

    def by_client(self, target: Target, cutoff: datetime, most: int, timeout: timedelta) -> Clients:
        """Expired records by `target.client`, the `most` largest by name."""
        ...


@runtime_checkable
class ChecksUp(Protocol):
    """A store that can tell a person more than preflight needs. Reads only."""

    def check_server(self) -> Sequence[Finding]:
        """What is worth knowing of the server. Raises UnavailableError, StoreError."""
        ...

    def check_source(self, target: Target) -> Sequence[Finding]:
        """What is worth knowing of the target's records, also where preflight refuses it. Raises as `check_server`."""
        ...


@runtime_checkable
class Surveys(Protocol):
    """A store that can say what kinds of records it holds. Reads only, by catalog or a small sample."""

    def survey(self, asked: Asked) -> Survey:
        """What is there. Raises UnavailableError, StoreError."""
        ...


@runtime_checkable
class Describes(Protocol):
    """A store that can say what it holds, to somebody who describes a target. Reads only, by catalog or a sample."""

    def describe(self) -> Sequence[Seen]:
        """Tables, collections or shapes of keys, as far as the login may see them. Raises StoreError."""
        ...

    def magnitude(self, source: Source, name: str) -> EpochUnit | None:
        """The unit in which the numbers in a column would be plausible instants, by a sample; None: in none, or in
        none alone. Raises StoreError."""
        ...


@runtime_checkable
class KeepsHouse(Protocol):
    """A store whose records leave something behind that takes up space."""

    def storage(self, target: Target) -> Storage:
        """What the target takes up, without reading it. Raises UnavailableError, StoreError."""
        ...

    def vacuum(self, target: Target, at_most: timedelta) -> None:
        """Make what deleted records took up usable again, gently. Raises BatchTimeoutError, StoreError."""
        ...


@runtime_checkable
class Leases(Protocol):
    """A store that keeps the right to clean a target with the target's own records.

    A batch whose `target.lease` has run out, or was taken away, deletes nothing and raises LeaseLostError. All of these
    raise UnavailableError, TransientError and StoreError.
    """

    def acquire(self, target: Target, lease: Lease) -> Lease | Holder:
        """The lease as it is held for `config.lease` from now on, or who keeps it from being had.

        Atomic: of two that ask at the same time one has it. Asking again is harmless.
        """
        ...

    def renew(self, target: Target, lease: Lease) -> Lease:
        """The same lease for `config.lease` from now on. Raises LeaseLostError."""
        ...

    def release(self, target: Target, lease: Lease) -> None:
        """Give it back; harmless when it is no longer held."""
        ...

    def holders(self, target: Target) -> Sequence[Holder]:
        """Who holds the target now."""
        ...

    def free(self, target: Target) -> int:
        """Take every lease of the target away; how many there were."""
        ...


@runtime_checkable
class Advises(Protocol):
    """A store that knows whether it could do without a pass. Reads only."""

    def advise(self, target: Target, census: Census, now: datetime) -> Advice:
        """What the store could do for a target that was found so. Raises UnavailableError, StoreError."""
        ...


@runtime_checkable
class HasMembers(Protocol):
    """A store that cleans many members as one target."""

    def totals(self, target: Target, shard: Shard) -> MemberTotals | None:
        """What came of the members of a shard so far; None: nothing was begun. Asks no server."""
        ...

    def members(self, target: Target) -> Sequence[str]:
        """The names of all members, as the catalogs have them now. Raises UnavailableError, StoreError."""
        ...


class Canaries(Protocol):
    """The planted records of one target in one store. All of these raise UnavailableError, TransientError, StoreError.

    None of them but `plant` and `remove` changes anything.
    """

    counted: bool
    """Whether batches count canaries among what they delete; False where the store leaves them out by itself."""

    def refusals(self) -> Sequence[Finding]:
        """What keeps canaries from being planted here (severity error), and what is worth knowing of them."""
        ...

    def make(self, several: Sequence[Canary]) -> Sequence[Canary]:
        """The same with identities, without the kinds that the target's records cannot be of."""
        ...

    def plant(self, several: Sequence[Canary], cutoff: datetime) -> None:
        """Write them all, and see that the target's own rule takes each for what it is meant to be."""
        ...

    def present(self, several: Sequence[Canary]) -> frozenset[str]:
        """The marks of those that are there."""
        ...

    def remove(self, several: Sequence[Canary]) -> None:
        """Take away those that are still there, each by its identity and its mark."""
        ...


@runtime_checkable
class PlantsCanaries(Protocol):
    """A store in which records can be planted."""

    def canaries(self, target: Target) -> Canaries:
        """Those of a target. Raises as its methods do."""
        ...


@runtime_checkable
class PutsBack(Protocol):
    """A store that takes records back that its batches handed over (`Target.handover`)."""

    def put_back(self, target: Target, lot: Lot, *, dry_run: bool) -> PutBack:
        """Write the records of a lot again, each as it was, with its expiry and TTL, unless there is one again.

        A dry run looks at what is there and changes nothing. Raises LeaseLostError, UnavailableError, StoreError.
        """
        ...


def lease_lost(target: Target) -> LeaseLostError:
    """The fault of a batch that came too late."""
    return LeaseLostError(
        "the lease on it ran out or was taken away, so that somebody else may be cleaning it",
        setting=f"targets.{target.name}",
        remedy="the next pass goes on; raise the store's `lease` if its batches or the network are that slow",
    )


def redact(message: str, config: StoreConfig) -> str:
    """A driver's message as one line without the store's URL, its login or any spelling of its password."""
    line = " ".join(message.split()).replace(config.url, f"{config.type}://{config.where}")
    for secret in config.secrets:
        line = line.replace(secret, "***")
    return line
