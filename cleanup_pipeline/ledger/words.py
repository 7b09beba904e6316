"""The words of the ledger beside those of the model."""

from cleanup_pipeline.model.words import PassStatus, StopReason

LOST = "lost"
"""Status of a pass whose process was gone, and stop reason of a shard that so never said how it ended."""
TERMINATED = "terminated"
"""Status of a pass that somebody ended."""

GREEN = frozenset({str(PassStatus.SUCCEEDED), str(PassStatus.DRY_RUN), str(PassStatus.SKIPPED)})
RED = frozenset({str(PassStatus.PARTIAL), str(PassStatus.FAILED), TERMINATED, LOST})
STATUSES = GREEN | RED

UNDONE = frozenset({str(StopReason.SKIPPED), str(StopReason.DRY_RUN)})
"""Stop reasons of targets that nothing was done to: neither a success nor a failure."""
UNTRIED = UNDONE | {str(StopReason.BRAKED)}
"""Those, and those that a brake held: told once by the brake itself, and no operation that failed."""
FAILED_SHARD = frozenset({str(StopReason.ERROR), str(StopReason.CANARY), LOST})
