"""MongoDB 4.4 and newer, through PyMongo."""

from cleanup_pipeline.stores.mongo.store import MongoStore, open_mongo

__all__ = ["MongoStore", "open_mongo"]
