"""The store for a configuration. The one module that knows all three; each imports its driver only when it is used."""

from collections.abc import Callable
from importlib import import_module

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import Store
from cleanup_pipeline.stores.fleet import Fleet

Opener = Callable[[StoreConfig], Store]

_OPENERS = {
    StoreType.POSTGRES: ("cleanup_pipeline.stores.postgres", "open_postgres"),
    StoreType.REDIS: ("cleanup_pipeline.stores.redis", "open_redis"),
    StoreType.MONGO: ("cleanup_pipeline.stores.mongo", "open_mongo"),
}


def open_store(config: StoreConfig) -> Store:
    """A store that connects on first use. Close it when done."""
    if config.urls:
        return Fleet(config, open_store)
    module, function = _OPENERS[config.type]
    opener: Opener = getattr(import_module(module), function)
    return opener(config)


def store_for(store: Store, target: Target) -> Store:
    """The store as a target sees it: the store itself, or all members that the target stands for as one.

    What is opened for them is closed with `store`, which the caller goes on to own.
    """
    if target.members is None or isinstance(store, Fleet):
        return store
    fleet = Fleet(store.config, open_store, store)
    beside: list[Store] | None = getattr(store, "beside", None)
    if beside is None:
        return fleet
    if not beside:
        beside.append(fleet)
    return beside[0]
