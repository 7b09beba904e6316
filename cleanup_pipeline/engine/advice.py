"""What a store could do alone for a target: a census of what is there, and the store's own word. Reads only."""

from cleanup_pipeline.engine.retry import retrying
from cleanup_pipeline.model.advice import Advice, Native
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import Advises, SourceMissingError, Store
from cleanup_pipeline.stores.open import store_for


def advise(store: Store, target: Target) -> Advice:
    """Raises StoreError for what keeps a target from being looked at."""
    return retrying()(_advise, store_for(store, target), target)


def _advise(store: Store, target: Target) -> Advice:
    if not isinstance(store, Advises):
        return Advice(target.name, Native.NO, ("nothing is known of what this store could do alone",))
    now = store.clock()
    try:
        store.preflight(target)
    except SourceMissingError as fault:
        if not target.if_missing_skip:
            raise
        return Advice(target.name, Native.NO, (fault.problem,))
    census = store.census(target, now - target.grace, target.census_timeout)
    return store.advise(target, census, now)
