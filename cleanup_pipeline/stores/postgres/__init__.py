"""PostgreSQL 14 and newer, through psycopg."""

from cleanup_pipeline.stores.postgres.store import PostgresStore, open_postgres

__all__ = ["PostgresStore", "open_postgres"]
