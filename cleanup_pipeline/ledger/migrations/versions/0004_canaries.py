"""The canaries that may be in a store."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "cleanup_canaries",
        sa.Column("mark", sa.Text(), primary_key=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("run_id", "target", "kind")),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("dies_at", INSTANT),
        sa.Column("planted_at", INSTANT, nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("gone_by", sa.Text()),
        sa.Column("removing_at", INSTANT),
    )
    op.create_index("cleanup_canaries_of_target", "cleanup_canaries", ["target"])
