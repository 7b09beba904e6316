"""A look at what ought to be gone by now, apart from any pass. Changes nothing."""

from datetime import datetime

from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.model.outcome import Remains
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import Severity
from cleanup_pipeline.stores.base import SourceMissingError, Store, StoreError
from cleanup_pipeline.stores.open import store_for


def remains_of(store: Store, target: Target) -> tuple[datetime, Remains]:
    """The store's own time, and what of the target was past its grace by then, found within `target.census_timeout`.

    Raises StoreError, also where preflight forbids to delete: what cannot be cleaned cannot be judged. Faults that may
    pass are tried again. A source that need not exist and does not holds nothing.
    """
    return retrying()(_look, store_for(store, target), target)


def _look(store: Store, target: Target) -> tuple[datetime, Remains]:
    now = store.clock()
    try:
        findings = store.preflight(target)
    except SourceMissingError:
        if not target.if_missing_skip:
            raise
        return now, Remains(0, None, known=True)
    for finding in findings:
        if finding.severity is Severity.ERROR:
            remedy = finding.remedy or "see the findings"
            raise StoreError(finding.what, setting=f"targets.{target.name}", remedy=remedy)
    return now, store.remains(target, now - target.grace, target.census_timeout)
