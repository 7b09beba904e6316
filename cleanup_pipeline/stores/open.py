"""The store for a configuration. The one module that knows all three; each imports its driver only when it is used."""

from collections.abc import Callable
from importlib import import_module

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import Store

Opener = Callable[[StoreConfig], Store]

_OPENERS = {
    StoreType.POSTGRES: ("cleanup_pipeline.stores.postgres", "open_postgres"),
    StoreType.REDIS: ("cleanup_pipeline.stores.redis", "open_redis"),
    StoreType.MONGO: ("cleanup_pipeline.stores.mongo", "open_mongo"),
}


def open_store(config: StoreConfig) -> Store:
    """A store that connects on first use. Close it when done."""
    module, function = _OPENERS[config.type]
    opener: Opener = getattr(import_module(module), function)
    return opener(config)
