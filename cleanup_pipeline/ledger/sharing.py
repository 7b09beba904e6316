"""How many shards are at work in all processes that write into one ledger: what a common budget is divided by."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import func, select

from cleanup_pipeline.ledger.connect import Place
from cleanup_pipeline.ledger.tables import passes, shards

SILENT = timedelta(minutes=2)
"""After which a pass that wrote nothing counts no more: its process may be gone, and waits for nobody."""


def at_work(place: Place, now: datetime) -> Mapping[str, int]:
    """Shards that delete at present, by store. Raises LedgerError."""
    running = (
        select(shards.c.store, func.count())
        .join(passes, passes.c.run_id == shards.c.run_id)
        .where(passes.c.ended_at.is_(None), passes.c.heartbeat_at >= now - SILENT, shards.c.ended_at.is_(None))
        .group_by(shards.c.store)
    )
    with place.reading() as connection:
        return {store: int(count) for store, count in connection.execute(running)}
