"""What each key of cleanup.yaml is, in a sentence, by the section that it stands in: for editors (json_schema.py)."""

from collections.abc import Mapping

from cleanup_pipeline.layouts.expiry_spec import (
    FieldSpec,
    HashFieldSpec,
    JsonSpec,
    JwtSpec,
    MsgpackSpec,
    PointerSpec,
    TtlSpec,
    ValueSpec,
)
from cleanup_pipeline.layouts.field_types import Section
from cleanup_pipeline.layouts.member_spec import ElementsSpec, MembersSpec, ScoreSpec
from cleanup_pipeline.layouts.table_spec import (
    ColumnSpec,
    EarliestSpec,
    EntriesSpec,
    GuardSpec,
    LatestSpec,
    LifetimeBySpec,
    LifetimeColumnSpec,
    RelatedSpec,
    StartSpec,
)
from cleanup_pipeline.settings.alerts import AlertsSection
from cleanup_pipeline.settings.brakes import BrakesSection
from cleanup_pipeline.settings.canaries import CanariesSection
from cleanup_pipeline.settings.chunks import ChunksSection
from cleanup_pipeline.settings.execution import ExecutionSection
from cleanup_pipeline.settings.history import HistorySection
from cleanup_pipeline.settings.keeping import QuarantineSection, RemovalsSection
from cleanup_pipeline.settings.notifications import ChannelSection, NotificationsSection
from cleanup_pipeline.settings.pace import GovernorSection
from cleanup_pipeline.settings.plans import PlansSection
from cleanup_pipeline.settings.schema import CleanupSection, Limits, PassSection, StoreSection, TargetSection

_UNIT = "Of a number: s, ms or ns since 1970."
_TTL_WINS = "True: a key that has a TTL is alive, whatever its value says."
_CODEC = "How a member is written: raw, utf8, json (a JSON string) or jdk (as Java serializes a string)."
_INDEX = "Takes the container's own key apart, such as user_sessions:{user}; its names can stand in the templates."
_MORE_THAN = "Whoever is above it waits; off: nobody does."

DESCRIPTIONS: Mapping[type[Section], Mapping[str, str]] = {
    Limits: {
        "batch_size": "Records per transaction, script or command, at most 1000.",
        "operation_timeout": "Most time for one shard of a target in one pass, waiting included; at most 5m.",
        "pause": "Between two batches; 0 to 5m.",
        "row_limit": "Most records of one target in one pass; none by default.",
        "max_shards": "Slices of a target, 1 to 50.",
        "census_timeout": "Most time for one count, at most 5m.",
        "governor": "What slows or holds back batches.",
        "run_window": "When deleting is allowed, such as 01:00-05:00 Europe/Berlin; off: always.",
        "veto_url": "An http(s) URL that is asked by GET before a batch: 200 is go, everything else is wait. Or off.",
        "brakes": "What holds a target back before anything is deleted.",
    },
    CleanupSection: {
        "enabled": "False: nothing is deleted, whoever starts a pass; it ends as skipped.",
        "allow_networks": "Addresses and networks where webhooks and vetoes may lead besides the Internet.",
        "parallel": "Steps that run at once, each in a process of its own; 1: one after another.",
        "budget": "Records a second that all targets may remove together, in all processes; no limit by default.",
        "session_interval": "The interval of the pass `sessions`, in whole minutes; 1h by default.",
        "session_cleanup_interval": "The same as session_interval.",
        "verification_interval": "The interval of the pass `verification_tokens`, in whole minutes; 30m by default.",
        "verification_cleanup_interval": "The same as verification_interval.",
    },
    GovernorSection: {
        "latency_target": "A batch that takes longer halves the next one; 25ms by default.",
        "min_batch": "Latency alone makes no batch smaller than this; 50 by default.",
        "pause_share": "After a batch, wait so many times as long as it took, besides `pause`; 1 by default.",
        "max_replica_lag": f"Of the slowest replica; 10s by default. {_MORE_THAN}",
        "max_replica_gap": f"Redis: bytes that the slowest replica has not got yet; 64 MiB by default. {_MORE_THAN}",
        "max_blocked": f"PostgreSQL and MongoDB: sessions that wait for a lock; 10 by default. {_MORE_THAN}",
        "max_blocked_clients": f"Redis: clients in BLPOP and its like; off by default. {_MORE_THAN}",
        "max_connections_share": f"Of the server's limit; 0.9 by default. {_MORE_THAN}",
        "max_memory_share": f"Redis: of maxmemory; off by default. {_MORE_THAN}",
        "max_ping": f"The time of an empty statement; 250ms by default. {_MORE_THAN}",
    },
    BrakesSection: {
        "unusual_count": "Times what the busiest passes on record found in the same time; 10 by default.",
        "unusual_share": "Expired ones among those that can be read, where it never was half as many; 0.8 by default.",
        "unusual_from": "With fewer expired records nothing is unusual; 1000 by default.",
        "clocks": "Between the stores of one pass, at most 2m; 1m by default.",
        "restored": "By which the newest records are older than those that earlier passes saw; 12h by default.",
        "changed": "The type of the expiry is another one than last time.",
        "unreadable_rise": "By which the share of unreadable expiries rose since last time; 0.1 by default.",
        "unreadable": "More expiries cannot be read than can, and 100 or more.",
    },
    StoreSection: {
        "type": "postgres, redis or mongo.",
        "url": "Where it is. A password has to come from outside, as ${VAR}.",
        "url_file": "In place of url: a file that holds nothing but the URL, relative to this file's folder.",
        "urls": "In place of url: several servers with the same tables, collections or keys in each.",
        "pool_size": "Connections of the cleaner's own.",
        "connect_timeout": "1ms to 1m.",
        "statement_timeout": "1ms to 5m; enforced by the server.",
        "lock_timeout": "PostgreSQL: 1ms to 1m.",
        "budget": "Records a second that all targets on it may remove together, in all processes; no limit by default.",
        "lease": "How long the right to clean a target outlives a silent cleaner, 1s to 10m; 0: there is none.",
        "write_concern": "MongoDB: majority, a number of members, or the name of a custom one.",
        "read_preference": "MongoDB: where a pass counts before it begins.",
    },
    PassSection: {
        "every": "Its interval, in whole minutes. Required for a pass of your own.",
        "enabled": "False: its schedule rests.",
        "start": "The day on which its first window begins, such as 2026-11-01.",
        "timezone": "utc or an IANA name: the clocks by which it starts and its windows begin.",
        "retries": "How often a scheduled run that failed is started again.",
        "retry_after": "The delay before the first time, 1s to 1h; four times as long before each further one.",
    },
    TargetSection: {
        "store": "One of `stores`.",
        "pass": "One of `passes`; the layout's, or else `sessions`.",
        "kind": "What the records are, such as session or refresh_token: reports and metrics are grouped by it.",
        "layout": "How a known framework stores its records (`cleanup-pipeline layouts list`).",
        "params": "What the layout asks for (`cleanup-pipeline layouts show NAME`).",
        "columns": "The layout's names of columns to yours, such as {expires: expires_at}.",
        "table": "PostgreSQL: a table, or schema.table.",
        "schema": "PostgreSQL: where the table is; else the connection's search_path finds it.",
        "collection": "MongoDB: a collection.",
        "database": "MongoDB: that of the URL by default.",
        "schemas": "PostgreSQL: the target is in each schema that is named so, such as tenant_*.",
        "databases": "PostgreSQL, MongoDB: the target is in each database of the server that is named so.",
        "exclude_members": "Schemas and databases that are none of them.",
        "types": "MongoDB: fields to BSON types, such as {_id: string}; what differs is another application's.",
        "keys": "Redis: a glob pattern that begins with at least two literal characters, such as session:*.",
        "key_type": "Redis: string, hash, zset, set or list; by default what the rule is read from.",
        "exclude": "Redis: glob patterns of keys that `keys` matches by accident.",
        "expires": "How a record says when it dies. A missing, null, zero or unreadable expiry is never.",
        "where": "Columns or fields to values: only such records belong to the target.",
        "guards": "What else has to hold for a record to go. PostgreSQL and MongoDB.",
        "set_null": "PostgreSQL: these columns become null, and the row stays.",
        "unset": "MongoDB: these fields go, the expiry among them, and the document stays.",
        "detach": "PostgreSQL: rows that refer to a record, whose referring column becomes null before it goes.",
        "grace": "How long a record is kept after it died.",
        "mode": "delete, or dry_run: only look and report.",
        "enabled": "False: described, but left alone.",
        "if_missing": "What it is when the table, collection or keys do not exist: error, or skip.",
        "cascade": "PostgreSQL: what becomes of a target whose deletes cascade to other tables: refuse, or allow.",
        "children": "PostgreSQL: rows that refer to a record: keep (it stays), or delete_first.",
        "vacuum": "PostgreSQL: VACUUM (ANALYZE) after a pass that removed a tenth of the table or more.",
        "drop_partitions": "PostgreSQL: partitions that lie wholly before the cutoff are detached and dropped.",
        "objective": "How long after expiry and grace a record may be there; two intervals of the pass by default.",
        "canaries": "Records that a pass plants and watches: true, or what they need.",
        "chunks": "MongoDB: ranges of a shard key, so that each deletion goes to one shard.",
        "client": "PostgreSQL, MongoDB: the client that a record was made for, such as client_id; plans count by it.",
        "removal_ledger": "True: what goes is entered into the removal ledger, as keyed hashes.",
        "quarantine": "True: what goes is kept, encrypted, and can be put back.",
        "identifier": "By what a removed record is asked for: the primary key or _id by default; not on Redis.",
        "owner": "Whose a record is: a column, a path in a document or in JSON, or a field of a hash.",
    },
    ChunksSection: {
        "key": "The first field of the collection's shard key.",
        "at": "Where ranges of it meet, ascending; without it the cluster's own list of chunks is read.",
    },
    CanariesSection: {
        "enabled": "False: none are planted.",
        "kinds": "Which are planted; `live` always is.",
        "values": "Columns or fields to values that the application requires of a record, such as {user_id: 1}.",
        "allow_triggers": "Plant them although the table has triggers, which then see them.",
    },
    ExecutionSection: {
        "executor": "Where steps run: in_process, multiprocess, celery or k8s.",
        "step_storage": "Where steps leave what they hand on: local, postgres, or a URL of fsspec.",
        "queue": "The queue of Celery that workers listen to.",
        "lost_after": "How long no worker of Celery may know of a step that it began, 5s to 10m.",
        "broker_retries": "How often handing a step to the broker is tried again.",
    },
    PlansSection: {
        "valid_for": "How long a plan may be applied, 1m to 7d.",
        "sample": "Records of each sort that a plan shows, 0 to 20.",
    },
    RemovalsSection: {
        "place": "A folder, or a URL such as s3://bucket/folder; beside Dagster's own files by default.",
        "keep": "How long an entry is kept; 400d by default, at least 1d.",
        "at_most": "What it may come to, such as 10GB; the oldest entries go first.",
    },
    QuarantineSection: {
        "place": "A folder, or a URL such as s3://bucket/folder; beside Dagster's own files by default.",
        "keep": "How long a record can be put back; 7d by default, at least 1h.",
        "at_most": "What it may come to, such as 10GB; a pass that needs more stops.",
        "keep_free": "What stays free on its disk, such as 2GB.",
    },
    AlertsSection: {
        "enabled": "False: none of them is looked at.",
        "late_after": "Intervals of a pass in which it has to end once; off: never told.",
        "error_share": "Of the operations of a day, of which at least two have to fail; off: never told.",
        "slow_after": "For one operation, 1ms to 1d; off: never told.",
        "survivors_too_old": "Against the objective of each target.",
        "backlog_growing": "Whether a growing backlog is told.",
        "held_back": "Whether a target that is held back is told.",
    },
    NotificationsSection: {
        "per_hour": "Messages to a channel in an hour; the rest is told as one.",
        "channels": "Who is told, by name.",
    },
    ChannelSection: {
        "type": "webhook or apprise.",
        "url": "Where to; as ${VAR}.",
        "url_file": "In place of url: a file that holds it.",
        # pragma: allowlist nextline secret
        "secret": "Webhook: what signs a message, as ${VAR}; a list of them while it is changed.",
        "secret_file": "In place of secret: a file with one a line.",  # pragma: allowlist secret
        "only": "What it hears of; all by default.",
        "min_severity": "The least severity of alerts that it hears of.",
    },
    HistorySection: {
        "keep": "How long passes one by one stay in the ledger; at least 1d.",
        "keep_runs": "How long Dagster's runs that have ended stay; at least 1d.",
        "keep_events": "How long what passes did stays on the pages of the assets; at least 1d.",
    },
    ColumnSpec: {
        "column": "A timestamptz; a timestamp or date with `zone`; a number or text with `unit`.",
        "zone": "Of a timestamp without zone or a date: utc, session (that of the database) or an IANA name.",
        "unit": _UNIT,
        "null_means": "What a record without a value is: never (it stays), or dead.",
        "never_values": "Values that stand for no expiry.",
        "of": "The column is one of another table's rows; the latest of them counts.",
    },
    StartSpec: {
        "start": "The column in which a record's beginning is, or a mapping with zone or unit.",
        "lifetime": "How long it lives from then on.",
        "lifetime_column": "A column says how long it lives; null, zero and less mean for ever.",
        "lifetime_by": "The value of a column says how long it lives.",
    },
    LifetimeColumnSpec: {
        "column": "A number.",
        "unit": "Of the number: s, ms or ns.",
        "of": "The column is one of another table's rows.",
    },
    LifetimeBySpec: {
        "column": "A column of text. What is not listed never dies.",
        "values": "Its values to lifetimes, such as {session: 14d}.",
        "prefixes": "What its values begin with, to lifetimes; the longest that fits counts.",
    },
    LatestSpec: {"latest": "Dead when all of these are; one that never dies keeps the record."},
    EarliestSpec: {"earliest": "Dead when the first of these is."},
    RelatedSpec: {
        "table": "The other table, or schema.table.",
        "key": "The column of the other table.",
        "by": "The column of this record that it equals.",
    },
    EntriesSpec: {
        "entries_of": "A json or jsonb column that holds an object, whose entries die one by one.",
        "at": "The field of an entry that says when it dies.",
        "unit": _UNIT,
    },
    GuardSpec: {
        "column": "PostgreSQL: only rows whose column is as `in` or `is_null` says.",
        "in": "One of these values.",
        "is_null": "True: is null. False: is not null.",
        "older_than": "PostgreSQL: only rows that began so long before the cutoff.",
        "since": "The column in which a record's beginning is.",
        "not_referenced_by": "PostgreSQL: only rows to which no row of this table refers.",
        "gone": "PostgreSQL: only rows that point to something that is no longer in this table.",
        "key": "The column of the other table.",
        "by": "The column of this record that it equals.",
        "where": "Only rows of the other table with these values count.",
        "field": "MongoDB: only documents whose field is as `in`, `exists`, `lacks` or `at_least` says.",
        "or_missing": "True: documents without the field go as well.",
        "exists": "True: is there, and not null. False: is missing or null.",
        "lacks": "Is text without this in it.",
        "at_least": "Is a number, this or more.",
    },
    FieldSpec: {
        "field": "A BSON date, or a number with `unit`; may be a dotted path.",
        "unit": _UNIT,
        "or_unit": "The field is a date in some documents and a number of milliseconds in others.",
        "lifetime": "The field is a record's beginning, and it lives so long.",
        "pull": "An array: what expires are its elements, and the document stays.",
        "ttl_index": "True: the plan warns where no TTL index does the same.",
    },
    HashFieldSpec: {
        "hash_field": "A field of the hash that holds an epoch number.",
        "unit": _UNIT,
        "repair_ttl": "True: a live hash that lost its TTL gets it back.",
    },
    JsonSpec: {
        "json": "A path in a JSON string: ISO 8601, or a number with `unit`.",
        "unit": _UNIT,
        "ttl_wins": _TTL_WINS,
    },
    MsgpackSpec: {
        "msgpack": "A path in a MessagePack value: a timestamp, ISO 8601, or a number with `unit`.",
        "unit": _UNIT,
        "ttl_wins": _TTL_WINS,
    },
    ValueSpec: {"value": "The whole value is an epoch number, in s or ms."},
    PointerSpec: {
        "pointer_to": "What the value begins with: the key of the record that it points to.",
        "prefix": "What the pointer's own key begins with.",
        "matches": "A field of the record that has to be the rest of the pointer's key.",
        "hash_field": "The field of the record that says when it dies.",
        "unit": _UNIT,
    },
    JwtSpec: {"jwt_key": "What the key begins with; the rest is a JWT, whose `exp` counts."},
    TtlSpec: {"ttl": "native: the key's own TTL alone; keys without one are counted and left."},
    MembersSpec: {
        "members_of": "The key that a member names, such as session:{member}: it dies when that is gone.",
        "member_codec": _CODEC,
        "index": _INDEX,
    },
    ElementsSpec: {
        "elements": "json: the value is a JSON array, whose elements die one by one.",
        "at": "Where in an element its expiry is: ISO 8601, or a number with `unit`.",
        "unit": _UNIT,
        "member": "Where in an element the name of its key is; by default the element is the name.",
        "target_key": "And only once this key is gone, too, such as session:{member}.",
        "member_codec": _CODEC,
        "index": _INDEX,
    },
    ScoreSpec: {
        "score": "Each member of a sorted set dies at its score, in s or ms.",
        "min": "A member with this score or a lower one never dies.",
        "target_key": "And only once this key is gone, too, such as session:{member}.",
        "member_codec": _CODEC,
        "index": _INDEX,
    },
}
"""A section also has the keys of those that it is made from."""


def description(section: type[Section], key: str) -> str:
    """Of a key as it is written in YAML. Raises KeyError for one that has none."""
    for made_from in section.__mro__:
        found = DESCRIPTIONS.get(made_from, {}).get(key)
        if found is not None:
            return found
    raise KeyError(f"{section.__name__}.{key}")
