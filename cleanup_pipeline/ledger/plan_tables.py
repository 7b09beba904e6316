"""What the ledger keeps of plans. Changing anything here takes a migration (migrations/versions)."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, LargeBinary, Table, Text, text

from cleanup_pipeline.ledger.tables import Instant, metadata


def _name(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="", server_default=text("''"))


plans = Table(
    "cleanup_plans",
    metadata,
    Column("id", Text, primary_key=True),
    Column("made_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    # user@host; empty: a pass.
    _name("made_by"),
    # The run that is its own plan; NULL: somebody asked for it.
    Column("run_id", Text),
    Index("cleanup_plans_by_time", "made_at"),
    Index("cleanup_plans_of_run", "run_id"),
)

planned = Table(
    "cleanup_planned",
    metadata,
    Column("plan_id", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    # That of the plan, so that old ones are found without it.
    Column("made_at", Instant, nullable=False),
    _name("pass_name"),
    _name("store"),
    _name("kind"),
    Column("cutoff", Instant, nullable=False),
    # NULL: nobody counted all of them.
    Column("expired", BigInteger),
    Column("skipped", Text),
    Column("undated", Boolean, nullable=False),
    # Setting -> fingerprint of what it was (engine/applying.py).
    Column("facets", JSON, nullable=False),
    # The plan as reporting/codec.py writes it.
    Column("body", JSON, nullable=False),
    # Which key its hashes were made with.
    _name("key_id"),
    # Keyed hashes of the records that it covers (engine/cover.py); NULL: not kept, or not needed any more.
    Column("cover", LargeBinary),
    Column("covered", BigInteger),
    Column("applied_at", Instant),
    Column("applied_run", Text),
    Column("drift", JSON(none_as_null=True)),
    Index("cleanup_planned_by_time", "made_at"),
    Index("cleanup_planned_by_run", "applied_run"),
)

keys = Table(
    "cleanup_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("made_at", Instant, nullable=False),
)
