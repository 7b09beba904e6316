"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

INSTANT = sa.DateTime(timezone=True)
RUNNING = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cleanup_days",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("pass_name", sa.Text(), primary_key=True),
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("store", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("passes", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("failed", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("last_success", INSTANT),
        sa.Column("shards", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("shards_failed", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("deleted", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("at_most", sa.BigInteger()),
        sa.Column("scanned", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("live", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("repaired", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("children", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("bytes_freed", sa.BigInteger()),
        sa.Column("batches", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("largest_batch", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("retries", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("parked", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("paused_seconds", sa.Double(), nullable=False, server_default=sa.text("0")),
        sa.Column("waited_seconds", sa.Double(), nullable=False, server_default=sa.text("0")),
        sa.Column("seconds", sa.Double(), nullable=False, server_default=sa.text("0")),
        sa.Column("latency_ms", sa.JSON()),
    )
    op.create_table(
        "cleanup_passes",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("pass_name", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("window_key", sa.Text()),
        sa.Column("window_start", INSTANT),
        sa.Column("window_end", INSTANT),
        sa.Column("backfill", sa.Text()),
        sa.Column("parent_run_id", sa.Text()),
        sa.Column("root_run_id", sa.Text()),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("status", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("heartbeat_at", INSTANT, nullable=False),
    )
    op.create_index("cleanup_passes_by_name", "cleanup_passes", ["pass_name", "started_at"])
    op.create_index("cleanup_passes_by_start", "cleanup_passes", ["started_at"])
    op.create_index(
        "cleanup_passes_running", "cleanup_passes", ["run_id"], sqlite_where=RUNNING, postgresql_where=RUNNING
    )
    op.create_table(
        "cleanup_shards",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("store", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("kind", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("deleted", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("at_most", sa.BigInteger()),
        sa.Column("scanned", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("live", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("repaired", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("children", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("bytes_freed", sa.BigInteger()),
        sa.Column("batches", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("largest_batch", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("retries", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("parked", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("paused_seconds", sa.Double(), nullable=False, server_default=sa.text("0")),
        sa.Column("waited_seconds", sa.Double(), nullable=False, server_default=sa.text("0")),
        sa.Column("seconds", sa.Double(), nullable=False, server_default=sa.text("0")),
        sa.Column("cpu_seconds", sa.Double()),
        sa.Column("error", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("slowed", sa.JSON()),
        sa.Column("latency_ms", sa.JSON()),
    )
    op.create_index("cleanup_shards_by_end", "cleanup_shards", ["ended_at"])
    op.create_index("cleanup_shards_by_target", "cleanup_shards", ["target", "ended_at"])
    op.create_table(
        "cleanup_targets",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("store", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("store_type", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("kind", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("strategy", sa.Text()),
        sa.Column("cutoff", INSTANT),
        sa.Column("since", INSTANT),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("expired_found", sa.BigInteger()),
        sa.Column("oldest_expired", INSTANT),
        sa.Column("without_expiry", sa.BigInteger()),
        sa.Column("unparsable", sa.BigInteger()),
        sa.Column("survivors", sa.BigInteger()),
        sa.Column("survivors_known", sa.Boolean(), nullable=False),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("skipped", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("seconds", sa.Double(), nullable=False, server_default=sa.text("0")),
        sa.Column("bytes_freed", sa.BigInteger()),
        sa.Column("bytes_before", sa.BigInteger()),
        sa.Column("records_before", sa.BigInteger()),
        sa.Column("dead_records_before", sa.BigInteger()),
        sa.Column("bytes_after", sa.BigInteger()),
        sa.Column("records_after", sa.BigInteger()),
        sa.Column("dead_records_after", sa.BigInteger()),
        sa.Column("planned_at", INSTANT),
        sa.Column("reported_at", INSTANT),
    )
    op.create_index("cleanup_targets_by_report", "cleanup_targets", ["target", "reported_at"])
