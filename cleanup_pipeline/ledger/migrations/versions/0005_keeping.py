"""What is kept of removed records, by shard; what was put back; what was erased."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cleanup_keepings",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("shard", sa.Integer(), primary_key=True),
        sa.Column("began_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("removal_records", sa.BigInteger()),
        sa.Column("removal_bytes", sa.BigInteger()),
        _count("removals_lost"),
        _count("uncertain"),
        sa.Column("quarantine_records", sa.BigInteger()),
        sa.Column("quarantine_bytes", sa.BigInteger()),
        sa.Column("error", sa.Text()),
    )
    op.create_index("cleanup_keepings_by_target", "cleanup_keepings", ["target", "began_at"])
    op.create_index("cleanup_keepings_by_begin", "cleanup_keepings", ["began_at"])
    op.create_table(
        "cleanup_undos",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        _name("by"),
        sa.Column("began_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        *(_count(name) for name in ("restored", "existing", "over", "refused", "left_out", "beside")),
        *(_count(name) for name in ("unconfirmed", "unreadable")),
        sa.Column("error", sa.Text()),
    )
    op.create_index("cleanup_undos_by_begin", "cleanup_undos", ["began_at"])
    op.create_table(
        "cleanup_erasures",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("erased_at", INSTANT, nullable=False),
        _name("by"),
        _count("entries"),
        _name("digest"),
        _count("quarantined"),
    )
    op.create_index("cleanup_erasures_by_time", "cleanup_erasures", ["erased_at"])


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))


def _name(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''"))
