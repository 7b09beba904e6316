"""What the ledger keeps. All instants are UTC; sizes are in records unless the name says bytes.

Names start with `cleanup_`, because the ledger may live in Dagster's own database. Changing anything here takes a
migration (migrations/versions).
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)

VERSION_TABLE = "cleanup_alembic_version"
"""Dagster keeps an `alembic_version` of its own in the same database."""

metadata = MetaData()


class Instant(TypeDecorator[datetime]):
    """A time-zone aware datetime in UTC, also where the database has none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database. Raises ValueError for a datetime without time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"an instant needs a time zone, found {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        instant: datetime = value
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, default=0, server_default=text("0"))


def _seconds(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, default=0.0, server_default=text("0"))


def _name(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="", server_default=text("''"))


passes = Table(
    "cleanup_passes",
    metadata,
    Column("run_id", Text, primary_key=True),
    # Empty: something was recorded of a run that never said which pass it is.
    _name("pass_name"),
    Column("window_key", Text),
    Column("window_start", Instant),
    Column("window_end", Instant),
    Column("backfill", Text),
    Column("parent_run_id", Text),
    Column("root_run_id", Text),
    Column("dry_run", Boolean, nullable=False),
    _name("host"),
    Column("pid", BigInteger),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    # NULL while it runs.
    Column("status", Text),
    Column("reason", Text),
    # Not indexed, so that PostgreSQL can renew it in place.
    Column("heartbeat_at", Instant, nullable=False),
    Index("cleanup_passes_by_name", "pass_name", "started_at"),
    Index("cleanup_passes_by_start", "started_at"),
    Index(
        "cleanup_passes_running",
        "run_id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

targets = Table(
    "cleanup_targets",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    _name("store"),
    _name("store_type"),
    _name("kind"),
    Column("strategy", Text),
    Column("cutoff", Instant),
    Column("since", Instant),
    Column("dry_run", Boolean, nullable=False),
    Column("expired_found", BigInteger),
    Column("oldest_expired", Instant),
    Column("without_expiry", BigInteger),
    Column("unparsable", BigInteger),
    Column("survivors", BigInteger),
    Column("survivors_known", Boolean, nullable=False),
    Column("stop_reason", Text),
    Column("skipped", Text),
    Column("error", Text),
    _seconds("seconds"),
    Column("bytes_freed", BigInteger),
    Column("bytes_before", BigInteger),
    Column("records_before", BigInteger),
    Column("dead_records_before", BigInteger),
    Column("bytes_after", BigInteger),
    Column("records_after", BigInteger),
    Column("dead_records_after", BigInteger),
    Column("planned_at", Instant),
    Column("reported_at", Instant),
    Index("cleanup_targets_by_report", "target", "reported_at"),
    Index("cleanup_targets_by_time", "reported_at"),
)

shards = Table(
    "cleanup_shards",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    # Repeated, so that statistics need no join.
    _name("store"),
    _name("kind"),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    # NULL while it runs.
    Column("stop_reason", Text),
    _count("deleted"),
    # The most that may have been deleted by now: more than `deleted` while a shard runs, or when it was killed.
    # NULL: nobody knows.
    Column("at_most", BigInteger),
    _count("scanned"),
    _count("live"),
    _count("repaired"),
    _count("children"),
    Column("bytes_freed", BigInteger),
    _count("batches"),
    _count("largest_batch"),
    _count("retries"),
    _count("parked"),
    _seconds("paused_seconds"),
    _seconds("waited_seconds"),
    _seconds("seconds"),
    Column("cpu_seconds", Double),
    Column("error", Text),
    # Why a shard stopped that did not fail.
    Column("note", Text),
    Column("slowed", JSON(none_as_null=True)),
    Column("latency_ms", JSON(none_as_null=True)),
    Index("cleanup_shards_by_end", "ended_at"),
    Index("cleanup_shards_by_target", "target", "ended_at"),
)


def _day_columns() -> list[Column[Any]]:
    """What a day, pass, target, store and kind came to."""
    return [
        # The UTC day on which a pass began (all but what shards say) and on which a shard ended (all that it did).
        Column("day", Date, primary_key=True),
        Column("pass_name", Text, primary_key=True),
        # Empty: the pass as a whole, of which are only `passes`, `failed`, `last_success`, `seconds`, `durations` and
        # `outcomes`.
        Column("target", Text, primary_key=True),
        Column("store", Text, primary_key=True),
        Column("kind", Text, primary_key=True),
        # Dry runs, and targets that were skipped, are in none of these three.
        _count("passes"),
        _count("failed"),
        Column("last_success", Instant),
        _count("shards"),
        _count("shards_failed"),
        _count("deleted"),
        # NULL: of some shard nobody knows.
        Column("at_most", BigInteger),
        _count("scanned"),
        _count("live"),
        _count("repaired"),
        _count("children"),
        # NULL: of no shard known.
        Column("bytes_freed", BigInteger),
        _count("batches"),
        _count("largest_batch"),
        _count("retries"),
        _count("parked"),
        _seconds("paused_seconds"),
        _seconds("waited_seconds"),
        _seconds("seconds"),
        Column("latency_ms", JSON(none_as_null=True)),
        # Expired records that were found; NULL: of no pass known.
        Column("expired_found", BigInteger),
        # As of the last report of the day, which was at `reported_at`; NULL: unknown then, or nothing was reported.
        Column("survivors", BigInteger),
        Column("reported_at", Instant),
        # Upper bound in ms (model/histogram.py) -> passes, or targets of passes, that took so long.
        Column("durations", JSON(none_as_null=True)),
        # Passes by status; shards by stop reason.
        Column("outcomes", JSON(none_as_null=True)),
        # Slow-downs by reason.
        Column("slowed", JSON(none_as_null=True)),
        Column("cpu_seconds", Double),
    ]


days = Table("cleanup_days", metadata, *_day_columns())
"""What retention made of passes that it deleted."""

sealed_days = Table("cleanup_sealed_days", metadata, *_day_columns())
"""What passes, targets and shards that are still there come to, of the days in `seals`: only so as not to add them up
again each time."""

seals = Table(
    "cleanup_seals",
    metadata,
    Column("day", Date, primary_key=True),
    # The first instant after the day.
    Column("ends_at", Instant, nullable=False, index=True),
    # A seal that was broken and made anew is another one.
    Column("sealed_at", Instant, nullable=False),
)

witnesses = Table(
    "cleanup_witnesses",
    metadata,
    Column("target", Text, primary_key=True),
    Column("checked_at", Instant, primary_key=True),
    _name("pass_name"),
    _name("store"),
    _name("kind"),
    # The pass that it looked behind; NULL: somebody asked.
    Column("run_id", Text),
    # NULL: unknown.
    Column("survivors", BigInteger),
    # Since when the oldest expired record ought to be gone; NULL: there is none, or unknown (`known`).
    Column("oldest_survivor", Instant),
    Column("known", Boolean, nullable=False),
    Column("objective_seconds", Double, nullable=False),
    # NULL: nobody knows.
    Column("old_enough", Boolean),
    Column("fresh", Boolean),
    Column("last_success", Instant),
    Column("reason", Text),
    Index("cleanup_witnesses_by_time", "checked_at"),
)

alerts = Table(
    "cleanup_alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    # A target, a pass, or empty: the whole.
    _name("subject"),
    _name("severity"),
    Column("started_at", Instant, nullable=False),
    # NULL: it still fires.
    Column("ended_at", Instant),
    # NULL: whether it should still fire is unknown.
    Column("value", Double),
    _name("summary"),
    # When a message about it was put into `messages`; NULL: none was, or not yet.
    Column("start_told_at", Instant),
    Column("end_told_at", Instant),
    Index("cleanup_alerts_by_start", "started_at"),
    # Those that fire are in the next one.
    Index("cleanup_alerts_by_end", "ended_at"),
    Index(
        "cleanup_alerts_firing",
        "name",
        "subject",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

messages = Table(
    "cleanup_messages",
    metadata,
    # What a receiver knows it by: the same message sent twice has the same.
    Column("id", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    _count("attempts"),
    # NULL: not to be sent any more; or, where it was neither delivered nor given up, only to be told of in a summary.
    Column("next_attempt_at", Instant, index=True),
    Column("delivered_at", Instant),
    # Given up; `error` says why.
    Column("dead_at", Instant),
    Column("error", Text),
    Index("cleanup_messages_by_time", "created_at"),
)

looks = Table(
    "cleanup_looks",
    metadata,
    # What a pass found that then went on to delete: what later ones are compared with. Windows are none.
    Column("target", Text, primary_key=True),
    Column("run_id", Text, primary_key=True),
    Column("looked_at", Instant, nullable=False),
    Column("cutoff", Instant, nullable=False),
    # Fingerprint of the target's rule (model/target.py).
    _name("rule"),
    # NULL: unknown.
    Column("expired", BigInteger),
    Column("live", BigInteger),
    Column("without_expiry", BigInteger),
    Column("unparsable", BigInteger),
    Column("newest", Instant),
    Column("shape", Text),
    Index("cleanup_looks_of_target", "target", "looked_at"),
    Index("cleanup_looks_by_time", "looked_at"),
)

brakes = Table(
    "cleanup_brakes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("target", Text, nullable=False),
    Column("name", Text, nullable=False),
    # The pass that it held back first, and the cutoff of that.
    _name("run_id"),
    Column("cutoff", Instant, nullable=False),
    _name("what"),
    _name("remedy"),
    _name("about"),
    Column("figures", JSON, nullable=False),
    Column("began_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    # NULL: it holds, or was let go and not used up.
    Column("ended_at", Instant),
    # user@host.
    Column("released_by", Text),
    Column("released_at", Instant),
    Column("released_until", Instant),
    Column("once", Boolean, nullable=False, default=False, server_default=text("false")),
    # The pass that a release for one pass let go on.
    Column("used_by", Text),
    Index("cleanup_brakes_by_end", "ended_at"),
    Index(
        "cleanup_brakes_holding",
        "target",
        "name",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

canaries = Table(
    "cleanup_canaries",
    metadata,
    # The only records that are in here by name: they are the pipeline's own, random, and gone when their row is.
    Column("mark", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # Columns and values, `_id`, or the key.
    Column("identity", JSON, nullable=False),
    # NULL: without an expiry that can be read.
    Column("dies_at", Instant),
    Column("planted_at", Instant, nullable=False),
    # Shards of the run had begun already.
    Column("late", Boolean, nullable=False, default=False, server_default=text("false")),
    # The run whose shard removed an expired one and subtracted it.
    Column("gone_by", Text),
    # From then on a missing one means nothing.
    Column("removing_at", Instant),
    Index("cleanup_canaries_of_target", "target"),
)

keepings = Table(
    "cleanup_keepings",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("began_at", Instant, nullable=False),
    # NULL while it runs, or when it was cut off.
    Column("ended_at", Instant),
    # In the removal ledger; NULL: it was not on.
    Column("removal_records", BigInteger),
    Column("removal_bytes", BigInteger),
    # That went and could not be entered.
    _count("removals_lost"),
    # That may have gone besides, by batches whose answer was lost.
    _count("uncertain"),
    # In the quarantine, with rows that went with them; NULL: it was not on.
    Column("quarantine_records", BigInteger),
    Column("quarantine_bytes", BigInteger),
    Column("error", Text),
    Index("cleanup_keepings_by_target", "target", "began_at"),
    Index("cleanup_keepings_by_begin", "began_at"),
)

undos = Table(
    "cleanup_undos",
    metadata,
    Column("id", Text, primary_key=True),
    # The pass that was undone.
    Column("run_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    # user@host, or the run of Dagster.
    _name("by"),
    Column("began_at", Instant, nullable=False),
    Column("ended_at", Instant),
    *(_count(name) for name in ("restored", "existing", "over", "refused", "left_out", "beside")),
    *(_count(name) for name in ("unconfirmed", "unreadable")),
    Column("error", Text),
    Index("cleanup_undos_by_begin", "began_at"),
)

erasures = Table(
    "cleanup_erasures",
    metadata,
    Column("id", Text, primary_key=True),
    Column("erased_at", Instant, nullable=False),
    # user@host. Whose entries went is not written anywhere.
    _name("by"),
    _count("entries"),
    _name("digest"),
    _count("quarantined"),
    Index("cleanup_erasures_by_time", "erased_at"),
)
