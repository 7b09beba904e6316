"""What a target is: where its records are, how they say when they die, and what is allowed.

Plain frozen data. Nothing here reads a settings file or talks to a store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from cleanup_pipeline.model.brake import BrakeSettings
from cleanup_pipeline.model.canary import CanarySettings
from cleanup_pipeline.model.lease import Lease
from cleanup_pipeline.model.members import Members
from cleanup_pipeline.model.pace import Pace
from cleanup_pipeline.model.removed import Handover
from cleanup_pipeline.model.rules import (
    ColumnExpiry,
    EarliestExpiry,
    Guard,
    JsonEntriesExpiry,
    LatestExpiry,
    LifetimeColumn,
    Related,
    RowGuard,
    Scalar,
    StartExpiry,
)
from cleanup_pipeline.model.words import EpochUnit, Mode, StoreType

__all__ = [
    "MAX_BATCH",
    "Chunks",
    "CollectionSource",
    "ColumnExpiry",
    "ElementsExpiry",
    "Expiry",
    "FieldExpiry",
    "HashFieldExpiry",
    "JsonExpiry",
    "JwtKeyExpiry",
    "KeySource",
    "MembersExpiry",
    "MsgpackExpiry",
    "NativeTtl",
    "PointerExpiry",
    "Scalar",
    "ScoreExpiry",
    "Source",
    "TableSource",
    "Target",
    "ValueExpiry",
]

MAX_BATCH = 1000
"""Most records that one transaction, script or command may remove. A ceiling, not a default."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """A PostgreSQL table or partitioned table."""

    table: str
    schema: str | None = None
    """None: found by the connection's search_path."""
    required_columns: tuple[str, ...] = ()
    """Columns that tell this framework's table from another one of the same name."""


@dataclass(frozen=True, slots=True)
class CollectionSource:
    """A MongoDB collection."""

    collection: str
    database: str | None = None
    """None: the database named in the store's URL."""
    required_fields: tuple[str, ...] = ()
    """Fields that tell this framework's collection from another one of the same name."""
    field_types: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The same by BSON type: a field, and the types, by alias, of which it has to have one."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """Redis keys that match a glob pattern and have one type."""

    pattern: str
    key_type: str
    """As the TYPE command names it: string, hash, zset, set, list."""
    exclude: tuple[str, ...] = ()
    """Glob patterns of keys that the pattern matches by accident."""
    required_fields: tuple[str, ...] = ()
    """Fields that tell this framework's hashes from another application's under the same pattern."""


Source = TableSource | CollectionSource | KeySource


@dataclass(frozen=True, slots=True)
class FieldExpiry:
    """MongoDB: the record dies at the instant in a field (dotted path), a BSON date unless `unit` is set."""

    field: str
    unit: EpochUnit | None = None
    pull: str | None = None
    """Path of an array, a prefix of `field`: the records are its elements, which are pulled; documents stay."""
    lifetime: timedelta = timedelta(0)
    """The field is the beginning of a record that lives so long."""
    or_unit: EpochUnit | None = None
    """The field is a date in some documents and a number in this unit in others. Only without `unit`."""
    ttl_index: bool = False
    """The framework means the server to expire its documents by a TTL index; where none does, a pass says so."""


@dataclass(frozen=True, slots=True)
class HashFieldExpiry:
    """Redis: a field of the hash holds the expiry as an epoch number."""

    field: str
    unit: EpochUnit = EpochUnit.SECONDS
    repair_ttl: bool = False
    """A live hash that lost its TTL gets one back. Only for applications that set the TTL again whenever they prolong
    the hash: HSET keeps it, and the server would end a session that was prolonged in the field alone."""


@dataclass(frozen=True, slots=True)
class JsonExpiry:
    """Redis: a string holding JSON, with the expiry at a path in it as ISO 8601 (unit None) or an epoch number."""

    path: tuple[str, ...]
    unit: EpochUnit | None = None
    ttl_wins: bool = False
    """Judge only keys without TTL: a key that has one is alive, whatever its value says. For frameworks that prolong
    the TTL on every request and leave the value as it was, as connect-redis does."""


@dataclass(frozen=True, slots=True)
class ValueExpiry:
    """Redis: the string value is itself the expiry, an epoch number."""

    unit: EpochUnit = EpochUnit.SECONDS


@dataclass(frozen=True, slots=True)
class PointerExpiry:
    """Redis: the string value is the key of a record; the pointer's own key ends in an identifier the record must hold.

    The pointer is alive while the record's `matches` field equals the part of the pointer's key after `prefix` and the
    record's own `expires` has not passed. It is dead when the record is gone, or names another identifier
    ("superseded"). Only the pointer is ever removed; the record is read, never followed to be deleted.
    """

    prefix: str
    target_prefix: str
    """What the value has to start with; any other value is unparsable."""
    matches: str | None = None
    """None, as `expires`: the record may be of any type, and the pointer dies only when it is gone."""
    expires: HashFieldExpiry | None = None


@dataclass(frozen=True, slots=True)
class JwtKeyExpiry:
    """Redis: the key, after `prefix`, is a JWT (RFC 7519) whose `exp` claim says when the record stops to matter."""

    prefix: str


@dataclass(frozen=True, slots=True)
class NativeTtl:
    """Redis: the value says nothing; only the key's own TTL does. Keys without TTL are counted and left."""


@dataclass(frozen=True, slots=True)
class MembersExpiry:
    """Redis: a set, sorted set, hash or list whose members (or field names) name other keys.

    A member dies with its key.

    Only the member is ever removed. It never had an instant of death, so no grace applies to it.
    """

    keys: tuple[str, ...]
    """Templates such as `session:{member}`: a member is alive while any of them names a key that exists."""
    codec: str = "raw"
    """How a member is written: raw, utf8, json (a JSON string) or jdk (a string as Java serializes it)."""
    index: str | None = None
    """Template of the container's own key, such as `user_sessions:{user}`, whose names the other templates may use."""


@dataclass(frozen=True, slots=True)
class ScoreExpiry:
    """Redis: a sorted set whose scores are the instants at which its members die."""

    unit: EpochUnit = EpochUnit.SECONDS
    above: float = 0
    """In `unit`; a member with this score or a lower one never dies, as at -1 in the tags of Laravel's cache."""
    members: MembersExpiry | None = None
    """Set: a member also has to be without its key."""


@dataclass(frozen=True, slots=True)
class ElementsExpiry:
    """Redis: a string that holds a JSON array, whose elements die one by one. The key goes with its last element."""

    path: tuple[str, ...] | None = None
    """In an element: its expiry, as ISO 8601 (unit None) or an epoch number. None: it dies with what it names."""
    unit: EpochUnit | None = None
    member: tuple[str, ...] = ()
    """In an element: the text that stands for `{member}`; empty: the element is the text."""
    members: MembersExpiry | None = None
    """Set: an element also has to be without its key."""


@dataclass(frozen=True, slots=True)
class MsgpackExpiry:
    """Redis: a string holding MessagePack, with the expiry at a path in it as a timestamp or text in ISO 8601 (unit
    None), or as an epoch number."""

    path: tuple[str, ...]
    unit: EpochUnit | None = None
    ttl_wins: bool = False
    """As for JSON."""


Expiry = (
    ColumnExpiry
    | StartExpiry
    | LatestExpiry
    | EarliestExpiry
    | JsonEntriesExpiry
    | FieldExpiry
    | HashFieldExpiry
    | JsonExpiry
    | ValueExpiry
    | PointerExpiry
    | JwtKeyExpiry
    | NativeTtl
    | MembersExpiry
    | ScoreExpiry
    | ElementsExpiry
    | MsgpackExpiry
)


@dataclass(frozen=True, slots=True)
class Chunks:
    """MongoDB: ranges of a shard key, so that each deletion goes to one shard of the cluster."""

    key: str
    """The first field of the shard key."""
    at: tuple[int | str, ...] = ()
    """Where one range ends and the next begins, ascending and of one type; empty: as the cluster lists its chunks."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of expiring record in one store, and what a pass may do to it."""

    name: str
    store: str
    store_type: StoreType
    pass_name: str
    kind: str
    source: Source
    expiry: Expiry
    where: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """Equality guards, by column or field: a record outside them does not belong to the target."""
    guards: tuple[Guard, ...] = ()
    """PostgreSQL and MongoDB: further conditions, of which each has to hold."""
    set_null: tuple[str, ...] = ()
    """PostgreSQL: what expires are these columns of a row that stays. Empty: the row itself."""
    unset: tuple[str, ...] = ()
    """MongoDB: what expires are these fields of a document that stays. Empty: the document itself."""
    detach: tuple[Related, ...] = ()
    """PostgreSQL: rows that refer to a record, whose referring column (`key`) is set to null before it goes."""
    grace: timedelta = timedelta(0)
    mode: Mode = Mode.DRY_RUN
    layout: str | None = None
    turn: int = 0
    """Among the targets that one layout makes: those with a lower one are cleaned before, where steps take turns."""
    cascade: bool = False
    """PostgreSQL: rows of other tables that go with a record (ON DELETE CASCADE) are meant to go, however many."""
    children_first: bool = False
    """PostgreSQL: rows that refer to a record are deleted with it, before it, within the limits of a batch."""
    vacuum: bool = False
    """PostgreSQL: VACUUM (ANALYZE) after a pass that removed a tenth of the table or more."""
    drop_partitions: bool = False
    """PostgreSQL: partitions by range of the expiry that lie wholly before the cutoff are detached and dropped."""
    if_missing_skip: bool = False
    """A source that does not exist is skipped in silence, not an error (for targets that nobody wrote down)."""
    batch_size: int = MAX_BATCH
    pause: timedelta = timedelta(milliseconds=30)
    operation_timeout: timedelta = timedelta(minutes=5)
    row_limit: int | None = None
    """Most records that one pass removes, over all shards together."""
    max_shards: int = 4
    census_timeout: timedelta = timedelta(seconds=10)
    """Most time that one census or one recount of survivors may take."""
    pace: Pace = field(default_factory=Pace)
    brakes: BrakeSettings = field(default_factory=BrakeSettings)
    canaries: CanarySettings | None = None
    """What passes plant to be watched by; None: nothing."""
    report_only: str | None = None
    """Why its layout only reports: then no mode, plan or approval lets a record of it go."""
    objective: timedelta | None = None
    """How long after its expiry and grace a record may still be there. None: two intervals of the pass."""
    since: datetime | None = None
    """The lower end of the window that a pass keeps to, inclusive and time-zone aware: what expired before it is left.
    None is open. Never a setting: the run says it."""
    client: str | None = None
    """Column or field that names the application's client which a record was made for, such as an OAuth client id."""
    spared: tuple[str, ...] = field(default=(), repr=False)
    """Records that are left whatever their expiry says, as `stores.base.NamesRecords` names them. Never a setting."""
    chunks: Chunks | None = None
    members: Members | None = None
    """It stands for many: the same in each schema, database or server that these mean. None: for itself."""
    template: str = ""
    """Of a member: the `lease_key` of the target that it belongs to. Never a setting."""
    removals: bool = False
    """What goes is entered into the removal ledger."""
    quarantine: bool = False
    """What goes is kept, encrypted, to be put back."""
    identifier: str | None = None
    """Column or field by which a removed record is asked for. None: the primary key, `_id` or the key itself."""
    owner: str | None = None
    """Column or field that says whose a record is. None: nobody's."""
    handover: Handover | None = field(default=None, repr=False, compare=False)
    """Who is told of what batches remove; None: nobody. Never a setting: the run says it."""
    lease: Lease | None = None
    """What a batch has to hold to delete anything; None: nothing. Never a setting."""

    @property
    def judged_by_others(self) -> bool:
        """Rows of other tables decide about its records, so that more of them may die while a pass runs."""
        parts = self.expiry.of if isinstance(self.expiry, LatestExpiry | EarliestExpiry) else (self.expiry,)
        columns = [part.start if isinstance(part, StartExpiry) else part for part in parts]
        lifetimes = [part.lifetime for part in parts if isinstance(part, StartExpiry)]
        return (
            any(isinstance(guard, RowGuard) for guard in self.guards)
            or any(isinstance(column, ColumnExpiry) and column.of for column in columns)
            or any(isinstance(lifetime, LifetimeColumn) and lifetime.of for lifetime in lifetimes)
        )

    @property
    def fingerprint(self) -> str:
        """Changes whenever another set of records would be deleted by the same words."""
        rule: tuple[object, ...] = (self.store, self.source, self.expiry, sorted(self.where.items()), self.grace)
        if self.guards or self.set_null or self.detach:
            rule = (*rule, self.guards, self.set_null, self.detach)
        if self.unset:
            rule = (*rule, self.unset)
        if self.members is not None:
            rule = (*rule, self.members)
        return sha256(repr(rule).encode()).hexdigest()[:16]

    @property
    def lease_key(self) -> str:
        """What leases of it are known by. Two projects may clean one store: its name alone is not enough."""
        return self.template or f"{self.name}/{self.source!r}"

    @property
    def source_name(self) -> str:
        """The table, collection or key pattern, as the user wrote it."""
        match self.source:
            case TableSource(table=table, schema=schema):
                return f"{schema}.{table}" if schema else table
            case CollectionSource(collection=collection, database=database):
                return f"{database}.{collection}" if database else collection
            case KeySource(pattern=pattern):
                return pattern
