"""Redis and Valkey: expired keys, lost TTLs and stale pointers."""

from cleanup_pipeline.stores.redis.store import RedisStore, open_redis

__all__ = ["RedisStore", "open_redis"]
