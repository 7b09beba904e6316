"""Removes expired sessions and tokens from Redis, PostgreSQL and MongoDB while they serve live logins."""

__version__ = "0.1.0"
