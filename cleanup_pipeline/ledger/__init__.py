"""The durable record of passes, targets and shards, apart from Dagster's own, which goes when runs are deleted.

Numbers, names of settings and one-line errors; never an identifier of a record.
"""

from cleanup_pipeline.ledger.ledger import Ledger, LedgerError, PassRow, Totals, open_ledger
from cleanup_pipeline.ledger.recorder import Recorder

__all__ = ["Ledger", "LedgerError", "PassRow", "Recorder", "Totals", "open_ledger"]
