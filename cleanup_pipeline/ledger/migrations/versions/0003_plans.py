"""Plans: what was going to be removed, for `apply` and for whoever asks later."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cleanup_plans",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("made_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("run_id", sa.Text()),
    )
    op.create_index("cleanup_plans_by_time", "cleanup_plans", ["made_at"])
    op.create_index("cleanup_plans_of_run", "cleanup_plans", ["run_id"])
    op.create_table(
        "cleanup_planned",
        sa.Column("plan_id", sa.Text(), primary_key=True),
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("made_at", INSTANT, nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''"))
            for name in ("pass_name", "store", "kind")
        ),
        sa.Column("cutoff", INSTANT, nullable=False),
        sa.Column("expired", sa.BigInteger()),
        sa.Column("skipped", sa.Text()),
        sa.Column("undated", sa.Boolean(), nullable=False),
        sa.Column("facets", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("cover", sa.LargeBinary()),
        sa.Column("covered", sa.BigInteger()),
        sa.Column("applied_at", INSTANT),
        sa.Column("applied_run", sa.Text()),
        sa.Column("drift", sa.JSON()),
    )
    op.create_index("cleanup_planned_by_time", "cleanup_planned", ["made_at"])
    op.create_index("cleanup_planned_by_run", "cleanup_planned", ["applied_run"])
    op.create_table(
        "cleanup_keys",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", INSTANT, nullable=False),
    )
