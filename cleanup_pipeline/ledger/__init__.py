"""The durable record of passes, targets and shards, apart from Dagster's own, which goes when runs are deleted.

Numbers, names of settings and one-line errors; never an identifier of a record.
"""

from cleanup_pipeline.ledger.connect import LedgerError
from cleanup_pipeline.ledger.ledger import Ledger, open_ledger
from cleanup_pipeline.ledger.recorder import Recorder
from cleanup_pipeline.ledger.rows import DayRow, PassDetail, PassRow, Pruned, ShardRow, TargetRow, Totals, WitnessRow

__all__ = [
    "DayRow",
    "Ledger",
    "LedgerError",
    "PassDetail",
    "PassRow",
    "Pruned",
    "Recorder",
    "ShardRow",
    "TargetRow",
    "Totals",
    "WitnessRow",
    "open_ledger",
]
