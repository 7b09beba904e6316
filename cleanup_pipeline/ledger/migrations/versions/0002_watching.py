"""More figures of a day; days that are added up once; what watches over passes: witnesses, alerts, messages."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add to `cleanup_days`, and make the tables."""
    for column in _later_figures():
        op.add_column("cleanup_days", column)
    op.create_index("cleanup_targets_by_time", "cleanup_targets", ["reported_at"])
    op.create_table("cleanup_sealed_days", *_day(), *_figures(), *_later_figures())
    op.create_table(
        "cleanup_seals",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("ends_at", INSTANT, nullable=False),
        sa.Column("sealed_at", INSTANT, nullable=False),
    )
    op.create_index("ix_cleanup_seals_ends_at", "cleanup_seals", ["ends_at"])
    _watching()
    _braking()


def _day() -> list[sa.Column[Any]]:
    return [
        sa.Column("day", sa.Date(), primary_key=True),
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("pass_name", "target", "store", "kind")),
    ]


def _count(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))


def _seconds(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Double(), nullable=False, server_default=sa.text("0"))


def _name(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''"))


def _figures() -> list[sa.Column[Any]]:
    """Those that `cleanup_days` has since 0001."""
    return [
        _count("passes"),
        _count("failed"),
        sa.Column("last_success", INSTANT),
        *(_count(name) for name in ("shards", "shards_failed", "deleted")),
        sa.Column("at_most", sa.BigInteger()),
        *(_count(name) for name in ("scanned", "live", "repaired", "children")),
        sa.Column("bytes_freed", sa.BigInteger()),
        *(_count(name) for name in ("batches", "largest_batch", "retries", "parked")),
        *(_seconds(name) for name in ("paused_seconds", "waited_seconds", "seconds")),
        sa.Column("latency_ms", sa.JSON()),
    ]


def _later_figures() -> list[sa.Column[Any]]:
    return [
        sa.Column("expired_found", sa.BigInteger()),
        sa.Column("survivors", sa.BigInteger()),
        sa.Column("reported_at", INSTANT),
        sa.Column("durations", sa.JSON()),
        sa.Column("outcomes", sa.JSON()),
        sa.Column("slowed", sa.JSON()),
        sa.Column("cpu_seconds", sa.Double()),
    ]


def _watching() -> None:
    op.create_table(
        "cleanup_witnesses",
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("checked_at", INSTANT, primary_key=True),
        _name("pass_name"),
        _name("store"),
        _name("kind"),
        sa.Column("run_id", sa.Text()),
        sa.Column("survivors", sa.BigInteger()),
        sa.Column("oldest_survivor", INSTANT),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("objective_seconds", sa.Double(), nullable=False),
        sa.Column("old_enough", sa.Boolean()),
        sa.Column("fresh", sa.Boolean()),
        sa.Column("last_success", INSTANT),
        sa.Column("reason", sa.Text()),
    )
    op.create_index("cleanup_witnesses_by_time", "cleanup_witnesses", ["checked_at"])
    op.create_table(
        "cleanup_alerts",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        _name("subject"),
        _name("severity"),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("value", sa.Double()),
        _name("summary"),
        sa.Column("start_told_at", INSTANT),
        sa.Column("end_told_at", INSTANT),
    )
    op.create_index("cleanup_alerts_by_start", "cleanup_alerts", ["started_at"])
    op.create_index("cleanup_alerts_by_end", "cleanup_alerts", ["ended_at"])
    firing = sa.text("ended_at IS NULL")
    op.create_index(
        "cleanup_alerts_firing",
        "cleanup_alerts",
        ["name", "subject"],
        unique=True,
        sqlite_where=firing,
        postgresql_where=firing,
    )
    op.create_table(
        "cleanup_messages",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        _count("attempts"),
        sa.Column("next_attempt_at", INSTANT),
        sa.Column("delivered_at", INSTANT),
        sa.Column("dead_at", INSTANT),
        sa.Column("error", sa.Text()),
    )
    op.create_index("ix_cleanup_messages_next_attempt_at", "cleanup_messages", ["next_attempt_at"])
    op.create_index("cleanup_messages_by_time", "cleanup_messages", ["created_at"])


def _braking() -> None:
    op.create_table(
        "cleanup_looks",
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("looked_at", INSTANT, nullable=False),
        sa.Column("cutoff", INSTANT, nullable=False),
        _name("rule"),
        *(sa.Column(name, sa.BigInteger()) for name in ("expired", "live", "without_expiry", "unparsable")),
        sa.Column("newest", INSTANT),
        sa.Column("shape", sa.Text()),
    )
    op.create_index("cleanup_looks_of_target", "cleanup_looks", ["target", "looked_at"])
    op.create_index("cleanup_looks_by_time", "cleanup_looks", ["looked_at"])
    op.create_table(
        "cleanup_brakes",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _name("run_id"),
        sa.Column("cutoff", INSTANT, nullable=False),
        *(_name(name) for name in ("what", "remedy", "about")),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("began_at", INSTANT, nullable=False),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("released_by", sa.Text()),
        sa.Column("released_at", INSTANT),
        sa.Column("released_until", INSTANT),
        sa.Column("once", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("used_by", sa.Text()),
    )
    op.create_index("cleanup_brakes_by_end", "cleanup_brakes", ["ended_at"])
    holds = sa.text("ended_at IS NULL")
    op.create_index(
        "cleanup_brakes_holding",
        "cleanup_brakes",
        ["target", "name"],
        unique=True,
        sqlite_where=holds,
        postgresql_where=holds,
    )
