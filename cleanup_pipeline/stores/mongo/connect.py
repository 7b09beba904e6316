"""The one client of a store: small pool, short patience, values decoded so that they go back unchanged."""

from datetime import timedelta
from typing import Any

from pymongo import MongoClient, ReadPreference
from pymongo.database import Database
from pymongo.errors import ConfigurationError, PyMongoError

from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo.collection import Document, source_of
from cleanup_pipeline.stores.mongo.tls import tls_options

READ_PREFERENCES = {
    "primary": ReadPreference.PRIMARY,
    "primaryPreferred": ReadPreference.PRIMARY_PREFERRED,
    "secondary": ReadPreference.SECONDARY,
    "secondaryPreferred": ReadPreference.SECONDARY_PREFERRED,
    "nearest": ReadPreference.NEAREST,
}
"""By the names that MongoDB's URLs have for them."""


def open_client(config: StoreConfig) -> MongoClient[Document]:
    """A client that connects on first use. Raises StoreError for a URL that cannot be used, never quoting it."""
    connect = milliseconds(config.connect_timeout)
    options: dict[str, Any] = {
        "appname": config.application_name,
        "maxPoolSize": config.pool_size,
        "connectTimeoutMS": connect,
        "serverSelectionTimeoutMS": connect,
        # Only for a server that no longer answers at all: it ends a slow command itself, by maxTimeMS.
        "socketTimeoutMS": milliseconds(config.statement_timeout) + 5_000,
        # A secondary may lag behind: it would count what is gone and offer what has been renewed.
        "readPreference": "primary",
        "tz_aware": True,
        # What can be sent again safely is, after a failover; whole batches are by the engine.
        "retryWrites": True,
        "retryReads": True,
        # Dates beyond year 9999 are a way to say "never"; Python's datetime cannot hold them.
        "datetime_conversion": "DATETIME_AUTO",
        "uuidRepresentation": "unspecified",
    }
    options |= tls_options(config.url)
    if config.write_concern is not None:
        options["w"] = int(config.write_concern) if config.write_concern.isdigit() else config.write_concern
        # Without a limit, a write concern that cannot be met is waited for until the socket's.
        options["wTimeoutMS"] = milliseconds(config.statement_timeout)
    try:
        client: MongoClient[Document] = MongoClient(config.url, **options)
    except (PyMongoError, ValueError, TypeError):
        # A password with an unescaped "/" or "@" ends up in PyMongo's message, in pieces that no redaction finds.
        raise StoreError(
            "the value is not a MongoDB URL with valid options",
            setting=config.url_setting,
            remedy="write mongodb://USER:PASSWORD@HOST:PORT/DATABASE with user and password percent-encoded",
        ) from None
    if not client.write_concern.acknowledged:
        client.close()
        raise StoreError(
            "w=0 in the URL keeps the server from saying what it deleted",
            setting=config.url_setting,
            remedy="leave w out, or set w=1 or w=majority",
        )
    return client


def database_of(client: MongoClient[Document], target: Target) -> Database[Document]:
    """The target's own database or else the URL's. Raises StoreError when neither names one."""
    source, _ = source_of(target)
    if source.database:
        return client[source.database]
    try:
        return client.get_default_database()
    except ConfigurationError:
        raise StoreError(
            "neither the URL nor the target names a database",
            setting=f"targets.{target.name}.database",
            remedy=f"set `database`, or end the URL of store {target.store} with /NAME",
        ) from None


def milliseconds(timeout: timedelta) -> int:
    """For MongoDB's maxTimeMS and its like, where 0 would mean no limit."""
    return max(1, int(timeout.total_seconds() * 1000))
