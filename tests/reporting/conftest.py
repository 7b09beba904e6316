"""Each test of a query runs on SQLite and on a real PostgreSQL."""

from tests.ledger.conftest import ledger, url

__all__ = ["ledger", "url"]
