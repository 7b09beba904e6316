"""What the ledger says of records that were kept, put back and erased: numbers, never an identifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import and_, delete, func, select

from cleanup_pipeline.ledger.connect import LONGEST_LINE, Place, one_line
from cleanup_pipeline.ledger.tables import erasures, keepings, shards, undos
from cleanup_pipeline.ledger.writing import insert


@dataclass(frozen=True, slots=True)
class KeepingRow:
    """What one shard kept. None: that was not on, or it has not ended."""

    run_id: str
    target: str
    shard: int
    began_at: datetime
    ended_at: datetime | None = None
    removal_records: int | None = None
    removal_bytes: int | None = None
    removals_lost: int = 0
    uncertain: int = 0
    quarantine_records: int | None = None
    quarantine_bytes: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class UndoRow:
    """What came of putting back what one run removed of one target."""

    run_id: str
    target: str
    by: str
    began_at: datetime
    ended_at: datetime | None
    restored: int = 0
    existing: int = 0
    over: int = 0
    refused: int = 0
    left_out: int = 0
    beside: int = 0
    unconfirmed: int = 0
    unreadable: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """That something was erased, and the proof."""

    erased_at: datetime
    by: str
    entries: int
    digest: str
    quarantined: int


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """What shards removed from a target while its removal ledger was off."""

    records: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Keepings:
    """Questions to a ledger and writes. Each method is one transaction and raises LedgerError."""

    place: Place

    def record(self, row: KeepingRow) -> None:
        """What a shard keeps; again at its end."""
        values = _values(keepings, row)
        with self.place.writing() as connection:
            statement = insert(connection.dialect.name, keepings).values(values)
            keys = ["run_id", "target", "shard"]
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))

    def of(self, target: str, limit: int = 20) -> Sequence[KeepingRow]:
        """What shards of a target kept, the newest first."""
        chosen = select(keepings).where(keepings.c.target == target).order_by(keepings.c.began_at.desc()).limit(limit)
        with self.place.reading() as connection:
            return [KeepingRow(**row) for row in connection.execute(chosen).mappings()]

    def bytes_each(self, target: str) -> float | None:
        """How many bytes a record of a target took in the quarantine lately; None: nothing is known."""
        rows = [row for row in self.of(target) if row.quarantine_records and row.quarantine_bytes]
        records = sum(row.quarantine_records or 0 for row in rows)
        return sum(row.quarantine_bytes or 0 for row in rows) / records if records else None

    def unrecorded(self, target: str) -> Unrecorded | None:
        """What is known to have gone without an entry, as far back as the ledger goes; None: nothing."""
        on = and_(
            keepings.c.run_id == shards.c.run_id,
            keepings.c.target == shards.c.target,
            keepings.c.shard == shards.c.shard,
            keepings.c.removal_records.is_not(None),
        )
        chosen = select(
            func.sum(shards.c.deleted),
            func.min(shards.c.started_at),
            func.max(func.coalesce(shards.c.ended_at, shards.c.started_at)),
        ).where(shards.c.target == target, shards.c.deleted > 0, ~select(keepings.c.run_id).where(on).exists())
        with self.place.reading() as connection:
            row = connection.execute(chosen).one()
            return Unrecorded(int(row[0]), row[1], row[2]) if row[0] else None

    def add_undo(self, row: UndoRow) -> str:
        """Write down that something was put back; the id of the entry."""
        entry = uuid4().hex[:12]
        with self.place.writing() as connection:
            connection.execute(undos.insert().values(id=entry, **_values(undos, row)))
        return entry

    def undone(self, limit: int = 20) -> Sequence[UndoRow]:
        """What was put back, the newest first."""
        with self.place.reading() as connection:
            rows = connection.execute(select(undos).order_by(undos.c.began_at.desc()).limit(limit)).mappings()
            return [UndoRow(**{name: value for name, value in row.items() if name != "id"}) for row in rows]

    def add_erasure(self, row: ErasureRow) -> str:
        """Write down that something was erased; the id of the entry."""
        entry = uuid4().hex[:12]
        with self.place.writing() as connection:
            connection.execute(erasures.insert().values(id=entry, **_values(erasures, row)))
        return entry

    def erased(self, limit: int = 20) -> Sequence[ErasureRow]:
        """What was erased, the newest first."""
        with self.place.reading() as connection:
            rows = connection.execute(select(erasures).order_by(erasures.c.erased_at.desc()).limit(limit)).mappings()
            return [ErasureRow(**{name: value for name, value in row.items() if name != "id"}) for row in rows]

    def prune(self, before: datetime) -> int:
        """Delete what shards kept that began before an instant, and old undos; how many. Erasures stay, as proof."""
        with self.place.writing() as connection:
            gone = connection.execute(delete(keepings).where(keepings.c.began_at < before)).rowcount
            return gone + connection.execute(delete(undos).where(undos.c.began_at < before)).rowcount


def _values(table: Any, row: Any) -> dict[str, Any]:
    values = {column.name: getattr(row, column.name) for column in table.c if column.name != "id"}
    if values.get("error"):
        values["error"] = one_line(values["error"])[:LONGEST_LINE]
    return values
